"""What importing all estimators costs, next to what its dependencies alone cost.

`timeraw` runs each sample in an interpreter of its own; in one process only the first import would
be one.
"""


class Import:
    number = 1
    repeat = (5, 20, 20.0)
    rounds = 1
    warmup_time = 0
    version = "2"

    def timeraw_skglrm(self) -> str:
        return "from skglrm import GLRM, FPSGFactorizer, ImplicitALS"

    def timeraw_dependencies(self) -> str:
        """The floor: skglrm should cost no more than this and a little."""
        return "import numba, scipy.sparse, sklearn.base, sklearn.utils.validation"

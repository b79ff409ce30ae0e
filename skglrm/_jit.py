"""The one place where numba's options are written.

``fastmath`` leaves out ``nnan`` and ``ninf``: NaN means missing here, and a compiler that may
assume there is no NaN counts missing cells as observed.  There is no ``parallel=True`` anywhere:
backends run these serial kernels side by side, so no threading layer can abort or survive a fork.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import config, njit

from ._kernel_cache import KernelCache

_compiled = njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})


def kernel(function: Any) -> Any:
    """Compile a function when it is called first, and keep the result on disk."""
    compiled = _compiled(function)
    if not config.DISABLE_JIT:
        compiled._cache = KernelCache(function)
    return compiled


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a contiguous view that cannot be written to: how kernels are given what they read.

    Numba compiles a kernel anew for strided and for read-only arrays, such as memory maps; if all
    inputs are alike, there is one version.  A kernel that writes where it should not then fails to
    compile.  A copy is made only of strided arrays.
    """
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view

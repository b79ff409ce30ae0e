"""Who may import whom, and what may be written where: read off the syntax trees."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "skglrm"

# What the lower layers may import of the package.  A name stands for a module or a folder.
LOWER = {
    "_kernel_cache": set(),
    "_jit": {"_kernel_cache"},
    "_record": set(),
    "_simd": {"_record"},
    "domains": {"_record"},
    "losses": {"_record", "domains", "losses"},
    "regularizers": {"_record", "regularizers"},
    "kernels": {"_jit", "_record", "_simd", "kernels"},
    "_spark": {"_spark"},
    "backends": {"_spark", "backends"},
    "solvers": {
        "_jit",
        "_simd",
        "domains",
        "losses",
        "regularizers",
        "kernels",
        "backends",
        "solvers",
    },
}
# What the user calls, and what that is made of.
UPPER = {
    "__init__", "_atomic", "_block_format", "_block_reader", "_block_writer", "_certificate",
    "_cluster", "_column_losses", "_columns", "_components", "_container", "_factorizer",
    "_fpsg_cluster", "_fpsg_fold_in", "_fpsg_model", "_fpsg_outputs", "_fpsg_start",
    "_fpsg_task", "_fpsg_updates", "_glrm_cluster", "_growth", "_held_out", "_ids",
    "_implicit_cluster", "_implicit_updates", "_interactions", "_later", "_observations",
    "_old_callbacks", "_out_of_core", "_parameters", "_path", "_persistence", "_progress",
    "_ranking", "_sampling", "_state", "_table_model", "_tables", "_updates", "_weights",
    "block_file", "callbacks", "conversions", "datasets", "displays", "entries",
    "entry_regressor", "fpsg", "glrm", "implicit_als", "io", "metrics", "model_selection",
    "presets", "spark", "testing", "weighting",
}  # fmt: skip
NUMBA = {"_jit", "_kernel_cache", "_record", "_simd"}
PYSPARK = {"_cluster", "_fpsg_cluster", "_glrm_cluster", "_implicit_cluster", "backends.spark"}
NEVER_AT_IMPORT = {"matplotlib", "pandas", "polars", "pyarrow", "pyspark", "rich"}


class Module:
    """The syntax tree of a file, and what it imports."""

    def __init__(self, path: Path):
        self.path = path
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        self.name = ".".join(inside)
        self.layer = inside[0]
        self.package = [PACKAGE.name, *inside[:-1]]
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = [(target, node) for node in ast.walk(self.tree) for target in self._of(node)]
        prefix = PACKAGE.name + "."
        self.inner = {t.removeprefix(prefix) for t, _ in imported if t.startswith(prefix)}
        self.outer = {t.split(".")[0] for t, _ in imported} - {PACKAGE.name}
        lazy = set()
        for function in ast.walk(self.tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                lazy.update(map(id, ast.walk(function)))
        self.outer_at_import = {t.split(".")[0] for t, node in imported if id(node) not in lazy}

    def _of(self, node: ast.AST) -> list[str]:
        """Full names of the modules that a node imports."""
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if not isinstance(node, ast.ImportFrom):
            return []
        base = node.module.split(".") if node.module else []
        if node.level:
            base = self.package[: len(self.package) - node.level + 1] + base
        if base[0] != PACKAGE.name:
            return [".".join(base)]
        # ``from .a import b`` may name the module a.b, or something in the module a.
        found = []
        for alias in node.names:
            folder = PACKAGE.joinpath(*base[1:])
            is_module = (folder / f"{alias.name}.py").exists() or (folder / alias.name).is_dir()
            found.append(".".join([*base, alias.name] if is_module else base))
        return found

    def __repr__(self) -> str:
        return self.name


MODULES = [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]
each_module = pytest.mark.parametrize("module", MODULES, ids=repr)


def test_every_module_has_its_layer():
    assert {module.layer for module in MODULES} == set(LOWER) | UPPER


def test_what_is_read_is_what_is_there():
    by_name = {module.name: module for module in MODULES}
    assert {"_jit", "_record", "_simd"} <= by_name["kernels.sgd"].inner
    assert {"backends.base", "kernels.sgd", "losses"} <= by_name["solvers.block_sgd"].inner
    assert {"losses", "regularizers", "entries", "fpsg"} <= by_name["__init__"].inner
    assert "sklearn" in by_name["fpsg"].outer_at_import
    assert "narwhals" in by_name["entries"].outer


@each_module
def test_a_lower_layer_never_imports_an_upper_one(module):
    if module.layer in LOWER:
        layers = {name.split(".")[0] for name in module.inner}
        assert layers <= LOWER[module.layer]


@each_module
def test_an_upper_module_never_imports_the_laws(module):
    assert "testing" not in module.inner


def test_imports_have_no_cycles():
    graph = {module.name: module.inner for module in MODULES if module.name != "__init__"}
    while graph:
        free = {name for name, inner in graph.items() if not any(i in graph for i in inner)}
        assert free, f"these modules import each other: {graph}"
        graph = {name: inner for name, inner in graph.items() if name not in free}


@each_module
def test_siblings_do_not_import_one_another(module):
    if module.layer == "backends" and module.name not in ("backends.__init__", "backends.base"):
        assert {name for name in module.inner if not name.startswith("_spark.")} <= {
            "backends.base"
        }
    if module.name == "backends.base":
        assert not {name for name in module.inner if name.startswith(module.layer)}


@each_module
def test_numba_and_llvmlite_are_imported_in_few_places(module):
    assert "numba" not in module.outer or module.name in NUMBA
    assert "llvmlite" not in module.outer or module.name == "_simd"


def names_and_attributes(module):
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name


@each_module
def test_numba_options_are_written_once(module):
    forbidden = {"jit", "prange", "generated_jit", "vectorize", "guvectorize", "jitclass"}
    forbidden |= set() if module.name == "_jit" else {"njit"}
    assert not forbidden & set(names_and_attributes(module))
    options = {"parallel", "nogil", "fastmath", "cache", "error_model", "nopython"}
    used = {
        keyword.arg
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    }
    if module.name == "_jit":
        assert "parallel" not in used
    else:
        assert not options & used


@each_module
def test_kernels_are_decorated_functions_of_modules(module):
    """Not closures, and without options: ``@kernel`` above a top-level function."""
    decorated = [
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef)
        and any("kernel" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    for node in decorated:
        assert [ast.unparse(decorator) for decorator in node.decorator_list] == ["kernel"]
        assert node in module.tree.body
        assert ast.get_docstring(node) or node.name.startswith("_")
        assert not node.args.defaults
        assert node.args.vararg is node.args.kwarg is None
    uses = "kernel" in set(names_and_attributes(module)) and module.name != "_jit"
    assert not uses or module.layer in ("kernels", "testing")


@each_module
def test_heavy_or_optional_packages_are_imported_when_needed(module):
    assert not NEVER_AT_IMPORT & module.outer_at_import
    assert "pyspark" not in module.outer or module.layer == "_spark" or module.name in PYSPARK


@each_module
def test_scikit_learn_lives_in_the_upper_layer(module):
    assert "sklearn" not in module.outer or module.layer in UPPER
    assert "joblib" not in module.outer or module.layer == "backends"


@each_module
def test_lower_layers_need_little(module):
    allowed = {
        "_jit": {"numba", "numpy", "typing"},
        "domains": {"__future__", "dataclasses", "math", "numpy", "typing"},
        "losses": {"__future__", "collections", "dataclasses", "math", "numpy", "typing"},
        "regularizers": {
            "__future__",
            "collections",
            "dataclasses",
            "math",
            "numpy",
            "scipy",
            "typing",
        },
        "kernels": {"__future__", "dataclasses", "math", "numpy", "typing"},
    }
    if module.layer in allowed:
        assert module.outer <= allowed[module.layer]


def test_one_function_prints():
    printing = [
        f"{module.name}.{function.name}"
        for module in MODULES
        for function in ast.walk(module.tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and node.id == "print"
    ]
    calls = sum(list(names_and_attributes(module)).count("print") for module in MODULES)
    assert len(printing) == calls <= 1
    assert all(name.split(".")[0] in UPPER for name in printing)


def concrete_classes():
    """Losses and regularizers themselves, not their bases."""
    for module in MODULES:
        if module.layer in ("losses", "regularizers"):
            for node in module.tree.body:
                if isinstance(node, ast.ClassDef) and node.decorator_list:
                    yield node.name


def test_concrete_losses_and_regularizers_are_known():
    assert {"Quadratic", "Huber", "L1", "Sum"} <= set(concrete_classes())
    assert not {"Loss", "Regularizer"} & set(concrete_classes())


@each_module
def test_nobody_asks_which_loss_it_is(module):
    concrete = set(concrete_classes())
    for node in ast.walk(module.tree):
        asked = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
            "isinstance", "issubclass",
        ):  # fmt: skip
            asked = node.args[1:]
        elif isinstance(node, ast.Compare) and "type(" in ast.unparse(node):
            asked = [node]
        elif isinstance(node, ast.MatchClass):
            asked = [node.cls]
        named = {
            getattr(part, "id", getattr(part, "attr", None))
            for one in asked
            for part in ast.walk(one)
        }
        assert not named & concrete, ast.unparse(node)


@each_module
def test_concrete_losses_are_named_in_few_places(module):
    """A solver knows ``Loss``; names of concrete losses belong to where parameters are read."""
    if module.layer in ("kernels", "solvers", "backends", "_record", "_simd", "_jit"):
        assert not set(concrete_classes()) & set(names_and_attributes(module))


def test_what_a_spark_worker_imports_does_without_scikit_learn():
    # Every worker of every machine imports it before its first task.
    code = (
        "import sys, skglrm._spark.work\n"
        "import skglrm.solvers.block_sgd, skglrm.solvers.half_step, skglrm.solvers.implicit\n"
        "print(sorted({'sklearn', 'pandas', 'narwhals'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_all_names_of_the_package_are_found_where_they_are_promised():
    import skglrm

    assert set(skglrm.__all__) <= set(dir(skglrm))
    for name in skglrm.__all__:
        assert getattr(skglrm, name).__name__.split(".")[-1] == name
    with pytest.raises(AttributeError, match="'skglrm' has no attribute 'PCA'"):
        skglrm.PCA  # noqa: B018

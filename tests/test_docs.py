"""The pages hang together: every public name has its entry, every page its place."""

import ast
import importlib
import pkgutil
import re
import runpy
from pathlib import Path

import skglrm

DOCS = Path(__file__).resolve().parents[1] / "docs"
INDEX = (DOCS / "index.md").read_text(encoding="utf-8")
CONF = (DOCS / "conf.py").read_text(encoding="utf-8")


def entries_of_the_reference():
    """Full names that docs/api.md lists."""
    module, names = "", set()
    for line in (DOCS / "api.md").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split()[-1]
        elif re.fullmatch(r"   \w+", line):
            names.add(f"{module}.{line.strip()}")
    return names


def public_modules():
    yield "skglrm", skglrm
    for found in pkgutil.iter_modules(skglrm.__path__):
        if not found.name.startswith("_") and found.name not in ("kernels", "solvers"):
            yield f"skglrm.{found.name}", importlib.import_module(f"skglrm.{found.name}")


def test_every_entry_of_the_reference_exists_and_is_public():
    for entry in entries_of_the_reference():
        module, name = entry.rsplit(".", 1)
        assert name in importlib.import_module(module).__all__, entry


def test_every_public_name_has_an_entry():
    listed = {entry.rsplit(".", 1)[1] for entry in entries_of_the_reference()}
    within = {
        "Scattered",
        "SparkEntries",
        "effective_threads",
        "get_backend",
    }  # not called by users
    for module, found in public_modules():
        public = {
            name
            for name in getattr(found, "__all__", ())
            if callable(getattr(found, name)) and not name.startswith("_")
        }
        assert public - within <= listed, f"{module} has names that docs/api.md does not list"


def test_public_names_have_docstrings():
    for name, module in public_modules():
        for one in getattr(module, "__all__", ()):
            documented = getattr(module, one)
            if callable(documented):
                assert (documented.__doc__ or "").strip(), f"{name}.{one}"


def test_every_page_is_in_the_index():
    (tree,) = re.findall(r"```{toctree}\n(.*?)```", INDEX, flags=re.DOTALL)
    named = {line for line in tree.splitlines() if line and not line.startswith(":")}
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert named == pages | {"auto_examples/index"}


def test_the_gallery_runs_examples_that_are_there():
    (pattern,) = re.findall(r'"filename_pattern": r"(.*)"', CONF)
    examples = sorted((DOCS.parent / "examples").glob("*.py"))
    left_out = {path.stem for path in examples if not re.search(pattern, str(path))}
    assert left_out == {"movielens_grid_search", "spark_stream"}
    for path in examples:
        title = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()
        assert set(title[1]) == {"="}, (
            f"{path.name}: the gallery takes its title from the docstring"
        )


def test_the_docs_need_no_network():
    assert "intersphinx" not in CONF


def test_the_page_on_compatibility_says_which_configurations_are_checked():
    page = (DOCS / "compatibility.md").read_text(encoding="utf-8")
    suites = [
        runpy.run_path(str(Path(__file__).with_name(f"{name}.py")))
        for name in ("test_glrm_sklearn", "test_implicit_sklearn", "test_sklearn")
    ]
    checked = [" ".join(repr(one).split()) for suite in suites for one in suite["CONFIGS"]]
    assert re.findall(r"^- `(.*)`$", page, re.MULTILINE) == checked
    racy = suites[-1]
    assert f"one estimator, `{racy['RACY']!r}`" in page
    assert set(re.findall(r"`(check_\w+)` sees it", page)) == racy["MAY_DIFFER"]
    assert {len(suite["FURTHER_CHECKS"]) for suite in suites} == {10} and "with ten checks" in page

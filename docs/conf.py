"""How sphinx builds the pages: ``python -m sphinx -W --keep-going docs docs/_build``.

Nothing is fetched: the pages of other projects are not linked to.
"""

from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # an example names it

import skglrm

project = "skglrm"
author = "The skglrm developers"
copyright = f"2026, {author}"
version = release = skglrm.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "sg_execution_times.rst"]
html_theme = "pydata_sphinx_theme"

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 2

autosummary_generate = True
numpydoc_show_class_members = False
# Inherited docstrings refer to labels of scikit-learn's pages.
suppress_warnings = ["ref.ref"]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    # All but two: one needs data that may not be redistributed, one needs Java.
    "filename_pattern": r"/(?!movielens_grid_search|spark_stream)\w+\.py",
    "download_all_examples": False,
    "within_subsection_order": "ExampleTitleSortKey",
}

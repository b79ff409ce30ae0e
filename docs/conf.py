"""How sphinx builds the pages: ``sphinx-build -W --keep-going docs docs/_build``."""

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
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 2

autosummary_generate = True
numpydoc_show_class_members = False

intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "scipy": ("https://docs.scipy.org/doc/scipy", None),
    "sklearn": ("https://scikit-learn.org/stable", None),
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    # The grid search needs data that may not be redistributed: shown, not run.
    "filename_pattern": r"/(quickstart|own_loss)\.py",
    "within_subsection_order": "ExampleTitleSortKey",
}

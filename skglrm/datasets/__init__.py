"""Public ratings and plays, fetched and checked, and generated data with a planted truth."""

from ._generated import make_mixed_table, make_ratings
from ._lastfm import fetch_lastfm
from ._movielens import fetch_movielens

__all__ = ["fetch_lastfm", "fetch_movielens", "make_mixed_table", "make_ratings"]

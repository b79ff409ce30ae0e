"""Ratings of films by the users of MovieLens."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from ._fetch import Archive, Files, entries_of_ids, names_of, read_numbers

__all__ = ["fetch_movielens"]

ADDRESS = "https://files.grouplens.org/datasets/movielens/"


@dataclass(frozen=True)
class Variant:
    """One release: its archive, and how its files are written."""

    archive: Archive
    ratings: str
    films: str
    separator: str
    has_header: bool = True
    encoding: str = "utf-8"


def _release(name: str, sha256: str) -> Variant:
    archive = Archive(f"{ADDRESS}{name}.zip", sha256)
    return Variant(archive, f"{name}/ratings.csv", f"{name}/movies.csv", ",")


VARIANTS = {
    "100k": Variant(
        Archive(
            f"{ADDRESS}ml-100k.zip",
            "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        ),
        "ml-100k/u.data", "ml-100k/u.item", "\t", False, "latin-1",
    ),
    "1m": Variant(
        Archive(
            f"{ADDRESS}ml-1m.zip",
            "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        ),
        "ml-1m/ratings.dat", "ml-1m/movies.dat", "::", False, "latin-1",
    ),
    "20m": _release(
        "ml-20m", "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"
    ),
    "25m": _release(
        "ml-25m", "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa"
    ),
    "latest-small": _release(
        "ml-latest-small", "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"
    ),
}  # fmt: skip

DESCRIPTION = """MovieLens {variant}: {n} ratings of {n_films} films by {n_users} users.

Collected by GroupLens at the University of Minnesota; its terms of use forbid redistribution, and
want this cited: F. M. Harper and J. A. Konstan, "The MovieLens datasets: history and context",
ACM Transactions on Interactive Intelligent Systems 5(4), 2015.
"""


def fetch_movielens(
    variant: str = "100k",
    *,
    source: str | os.PathLike[str] | None = None,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    as_frame: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch:
    """Load ratings of films, and download them the first time.

    ============== ========== ======= ======= ==================
    variant        ratings    users   films   values
    ============== ========== ======= ======= ==================
    "100k"         100,000    943     1,682   1 to 5
    "1m"           1,000,209  6,040   3,706   1 to 5
    "20m"          20,000,263 138,493 26,744  0.5 to 5 by halves
    "25m"          25,000,095 162,541 59,047  0.5 to 5 by halves
    "latest-small" 100,836    610     9,724   0.5 to 5 by halves
    ============== ========== ======= ======= ==================

    Parameters
    ----------
    variant : {"100k", "1m", "20m", "25m", "latest-small"}, default="100k"
        The release.
    source : str or path-like, default=None
        Where to take it from: the path of the archive, of the folder that it was unpacked to, or of
        its file of ratings, which is read as it is; or the address of a copy of the archive, whose
        checksum must be that of the original.
    data_home : str or path-like, default=None
        Where downloads are kept; by default where scikit-learn keeps them.
    download_if_missing : bool, default=True
        If false, raise an error in place of a download.
    as_frame : bool, default=False
        Return the ratings as a pandas data frame as well.
    n_retries : int, default=3
        Number of further attempts if the download fails.
    delay : float, default=1.0
        Seconds between attempts.

    Returns
    -------
    Bunch
        ``data``: the ratings as :class:`~skglrm.Entries`, with the ids of users and films.
        ``time``: when each rating was given, ndarray of datetime64[s].
        ``names``: titles of the films in the order of ``data.col_ids``, or ``None`` if the source
        has none.  ``frame``: the columns user, item, rating and time, or ``None``.
        ``DESCR``: what it is, and whom to cite.

    Raises
    ------
    OSError
        If there is no file, no network, or the checksum is wrong; the message says which file to
        put where.
    ValueError
        If the variant is unknown.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {sorted(VARIANTS)}. Got {variant!r} instead.")
    form = VARIANTS[variant]
    files = form.archive.get(source, data_home, download_if_missing, n_retries, delay)
    content = files.read(form.ratings)
    assert content is not None
    user, item, rating, time = read_numbers(content, form.separator, 4, header=form.has_header).T
    data = entries_of_ids(user, item, rating)
    time = time.astype(np.int64).view("M8[s]")
    n_users, n_films = data.matrix_shape
    return Bunch(
        data=data,
        time=time,
        names=_titles(files, form, data.col_ids),
        frame=_frame(data, time) if as_frame else None,
        DESCR=DESCRIPTION.format(variant=variant, n=len(data), n_users=n_users, n_films=n_films),
    )


def _titles(files: Files, form: Variant, ids: Any) -> Any:
    content = files.read(form.films, optional=True)
    if content is None:
        return None
    text = content.decode(form.encoding)
    if form.has_header:
        lines = list(csv.reader(io.StringIO(text)))[1:]
    else:
        separator = "|" if form.films.endswith("u.item") else form.separator
        lines = [line.split(separator) for line in text.splitlines()]
    return names_of(ids, {int(line[0]): line[1] for line in lines if line})


def _frame(data: Any, time: Any) -> Any:
    frame = data.to_frame(row="user", col="item", value="rating")
    return frame.assign(time=time)

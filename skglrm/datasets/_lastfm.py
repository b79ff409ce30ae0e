"""Plays of artists by the users of Last.fm."""

from __future__ import annotations

import os

from sklearn.utils import Bunch

from ._fetch import Archive, entries_of_ids, names_of, read_numbers

__all__ = ["fetch_lastfm"]

ARCHIVE = Archive(
    "https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",
    "6738f48195667ff03caaab4d32ca9a3133d8cc026b7c3cdaf6ce1010e913c59c",
)

DESCRIPTION = """Last.fm, HetRec 2011: how often {n_users} users played {n_artists} artists.

The {n} most played pairs, collected by the Information Retrieval Group of the Universidad Autónoma
de Madrid, for non-commercial use.  To cite: I. Cantador, P. Brusilovsky and T. Kuflik, "Second
workshop on information heterogeneity and fusion in recommender systems", RecSys 2011.
"""


def fetch_lastfm(
    *,
    source: str | os.PathLike[str] | None = None,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    as_frame: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch:
    """Load counts of plays, and download them the first time.

    92,834 counts of 1,892 users and 17,632 artists: implicit feedback.

    Parameters
    ----------
    source : str or path-like, default=None
        Where to take it from: the path of the archive, of the folder that it was unpacked to, or of
        its file user_artists.dat, which is read as it is; or the address of a copy of the archive,
        whose checksum must be that of the original.
    data_home : str or path-like, default=None
        Where downloads are kept; by default where scikit-learn keeps them.
    download_if_missing : bool, default=True
        If false, raise an error in place of a download.
    as_frame : bool, default=False
        Return the counts as a pandas data frame as well.
    n_retries : int, default=3
        Number of further attempts if the download fails.
    delay : float, default=1.0
        Seconds between attempts.

    Returns
    -------
    Bunch
        ``data``: the counts as :class:`~skglrm.Entries`, with the ids of users and artists.
        ``names``: the artists in the order of ``data.col_ids``, or ``None`` if the source has none.
        ``frame``: the columns user, item and plays, or ``None``.
        ``DESCR``: what it is, and whom to cite.

    Raises
    ------
    OSError
        If there is no file, no network, or the checksum is wrong; the message says which file to
        put where.
    """
    files = ARCHIVE.get(source, data_home, download_if_missing, n_retries, delay)
    content = files.read("user_artists.dat")
    assert content is not None
    data = entries_of_ids(*read_numbers(content, "\t", 3, header=True).T)
    artists, names = files.read("artists.dat", optional=True), None
    if artists is not None:
        lines = [line.split("\t") for line in artists.decode("utf-8").splitlines()[1:]]
        names = names_of(data.col_ids, {int(line[0]): line[1] for line in lines})  # type: ignore[arg-type]
    n_users, n_artists = data.matrix_shape
    return Bunch(
        data=data,
        names=names,
        frame=data.to_frame(row="user", col="item", value="plays") if as_frame else None,
        DESCR=DESCRIPTION.format(n=len(data), n_users=n_users, n_artists=n_artists),
    )

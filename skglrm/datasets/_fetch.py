"""Getting the files of a public data set: from the cache, the net, or where the user says."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import numpy.typing as npt

from .._ids import codes_of, unique_ids
from ..entries import Entries

__all__ = ["Archive", "Files", "entries_of_ids", "names_of", "read_numbers"]


@dataclass(frozen=True)
class Archive:
    """Where a data set is published, and the checksum of what must be found there."""

    url: str
    sha256: str

    def get(
        self,
        source: str | os.PathLike[str] | None,
        data_home: str | os.PathLike[str] | None,
        download_if_missing: bool,
        n_retries: int,
        delay: float,
    ) -> Files:
        """Return the files: of a path as they are, of a download if the checksum is right."""
        if source is not None and "://" not in os.fspath(source):
            path = Path(source)
            if not path.exists():
                raise OSError(f"source={os.fspath(source)!r} does not exist.")
            return Files(path)
        from sklearn.datasets import fetch_file, get_data_home  # takes long to import

        url = self.url if source is None else os.fspath(source)
        folder = Path(get_data_home(data_home)) / "skglrm"
        target = folder / self.url.rpartition("/")[2]
        by_hand = (
            f"Download {self.url} where there is a network, and put it at {target}; or pass "
            "source= the path of the archive, or of the file of ratings in it."
        )
        if not download_if_missing and not target.exists():
            raise OSError(f"{target} is not there, and download_if_missing=False. {by_hand}")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            fetch_file(
                url, folder=folder, local_filename=target.name, sha256=self.sha256,
                n_retries=n_retries, delay=delay,
            )  # fmt: skip
        except (URLError, TimeoutError, ConnectionError) as error:
            raise OSError(f"{url} could not be downloaded: {error}. {by_hand}") from error
        return Files(target)


class Files:
    """The members of an archive, or of a folder that it was unpacked to, or a single file."""

    def __init__(self, path: Path):
        self._path = path
        self._is_archive = path.is_file() and zipfile.is_zipfile(path)

    def read(self, member: str, *, optional: bool = False) -> bytes | None:
        """Return the content of a member; a single file is the one that is not optional."""
        name = member.rpartition("/")[2]
        if self._path.is_dir():
            for path in (self._path / member, self._path / name):
                if path.exists():
                    return path.read_bytes()
        elif self._is_archive:
            with zipfile.ZipFile(self._path) as archive:
                for known in (member, name):
                    if known in archive.namelist():
                        return archive.read(known)
        elif not optional:
            return self._path.read_bytes()
        if optional:
            return None
        raise OSError(f"{self._path} has no {member}: it is not the data set that was asked for.")


def read_numbers(
    content: bytes, separator: str, n_columns: int, *, header: bool
) -> npt.NDArray[np.float64]:
    """Read a table (n_lines, n_columns) of numbers."""
    if len(separator) > 1:
        content, separator = content.replace(separator.encode(), b"\t"), "\t"
    try:
        return np.loadtxt(
            io.BytesIO(content), delimiter=separator, skiprows=int(header), ndmin=2,
            usecols=range(n_columns), comments=None,
        )  # fmt: skip
    except ValueError as error:
        raise OSError(f"The file is not of the format of the data set: {error}") from error


def entries_of_ids(rows: Any, columns: Any, values: Any) -> Entries:
    """Cells of rows and columns with integer ids."""
    rows, columns = rows.astype(np.int64), columns.astype(np.int64)
    row_ids, col_ids = unique_ids("row", rows), unique_ids("col", columns)
    row, col = codes_of(rows, row_ids), codes_of(columns, col_ids)
    entries = Entries(row, col, values, shape=(len(row_ids), len(col_ids)))
    entries.row_ids, entries.col_ids = row_ids, col_ids
    return entries


def names_of(ids: npt.NDArray[Any], known: dict[int, str]) -> npt.NDArray[Any]:
    """Return the name of each id, or its number where there is none."""
    out = np.empty(len(ids), object)
    out[:] = [known.get(one, str(one)) for one in ids.tolist()]
    return out

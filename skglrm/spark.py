"""What is done with Spark beyond ``backend="spark"``.

======================== ==========================================================================
``use_session``          the session of the fits in a ``with`` block
``recommend``            the best columns of all rows, written as a data frame
``transform``            factors of rows that are folded in, written as a data frame
``score``                of an ``ImplicitALS`` that knows no cells
``ModelVersions``        versions of a model in a directory, one of them current
``update_exactly_once``  ``partial_fit`` of the batches of a stream
``use_bundled_java``     a Java from a wheel, where there is none
``SparkBackendError``    what is raised when a job fails or cannot run
======================== ==========================================================================
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._cluster import score_of_rows, write_factors, write_recommendations
from ._persistence import load
from ._spark.errors import SparkBackendError
from ._spark.java import use_bundled_java
from ._spark.session import use_session
from .entries import Entries, SparkEntries
from .implicit_als import ImplicitALS

__all__ = [
    "ModelVersions",
    "SparkBackendError",
    "recommend",
    "score",
    "transform",
    "update_exactly_once",
    "use_bundled_java",
    "use_session",
]


def recommend(
    model: Any,
    X: SparkEntries,
    *,
    path: str,
    n: int = 10,
    exclude_seen: bool = True,
    mode: str = "errorifexists",
) -> Any:
    """Write the columns with the highest predicted values for each row as a data frame.

    As ``model.recommend(X)``, but rows are ranked by the executors, and neither entries nor results
    come to the driver.

    Parameters
    ----------
    model : GLRM, ImplicitALS or FPSGFactorizer
        A fitted estimator.
    X : SparkEntries
        What :meth:`skglrm.Entries.from_spark` returns; its rows are looked up in the fitted matrix.
    path : str
        Where to write Parquet files, on storage that all machines see.
    n : int, default=10
        Number of columns per row, at most.
    exclude_seen : bool, default=True
        Leave out the cells that are in ``X``.
    mode : {"errorifexists", "overwrite"}, default="errorifexists"
        What to do if there is something at ``path``.

    Returns
    -------
    pyspark.sql.DataFrame
        Columns ``row`` (id, or position), ``items`` (ids, or positions, best first) and ``scores``,
        read from ``path``.

    Raises
    ------
    TypeError
        If ``X`` is not on Spark.
    """
    _check_entries(X, "model.recommend(X)")
    return write_recommendations(model, X, int(n), exclude_seen, path, mode)


def transform(model: Any, X: SparkEntries, *, path: str, mode: str = "errorifexists") -> Any:
    """Fold rows in where their cells are, and write their factors as a data frame.

    As ``model.transform(X)``, but neither entries nor factors come to the driver.

    Parameters
    ----------
    model : GLRM, ImplicitALS or FPSGFactorizer
        A fitted estimator.
    X : SparkEntries
        What :meth:`skglrm.Entries.from_spark` returns, with the columns of the fitted matrix: pass
        it ``col_ids=model.col_ids_``.
    path : str
        Where to write Parquet files, on storage that all machines see.
    mode : {"errorifexists", "overwrite"}, default="errorifexists"
        What to do if there is something at ``path``.

    Returns
    -------
    pyspark.sql.DataFrame
        Columns ``row`` (id, or position) and ``factors``, read from ``path``.

    Raises
    ------
    TypeError
        If ``X`` is not on Spark.
    ValueError
        If the columns are not those of the fitted matrix.
    """
    _check_entries(X, "model.transform(X)")
    check_is_fitted(model)
    return write_factors(model, X, path, mode)


def score(model: ImplicitALS, X: SparkEntries, *, seen: SparkEntries) -> float:
    """Return the mean NDCG@10 of cells that were not fitted on, of a model that knows no cells.

    An ``ImplicitALS`` that was fitted on Spark does not know what to leave out of a ranking;
    ``model.score(X)`` is for all other models, and is computed by the executors as well.

    Parameters
    ----------
    model : ImplicitALS
        A fitted estimator.
    X : SparkEntries
        Cells that were held out, numbered by the ids of ``seen``.
    seen : SparkEntries
        The cells that the model was fitted on.

    Returns
    -------
    float
        Between 0 and 1; the mean over rows with positive cells to find.

    Raises
    ------
    TypeError
        If ``X`` or ``seen`` are not on Spark, or the model is of another kind.
    ValueError
        If the rows of ``X`` are not those of ``seen``.
    """
    if not isinstance(model, ImplicitALS):
        raise TypeError(f"{type(model).__name__} needs no seen cells: call model.score(X).")
    for one in (X, seen):
        _check_entries(one, "model.score(X)")
    check_is_fitted(model)
    same = X.matrix_shape[0] == seen.matrix_shape[0]
    if not same or not np.array_equal(np.asarray(X.row_ids), np.asarray(seen.row_ids)):
        raise ValueError(
            "X and seen number their rows differently. Pass row_ids=seen.row_ids to "
            "Entries.from_spark."
        )
    return model._mean_score(score_of_rows(model, X, seen=seen))


def _check_entries(X: Any, otherwise: str) -> None:
    if not isinstance(X, SparkEntries):
        raise TypeError(
            f"X must be what Entries.from_spark returns; got {type(X).__name__}. For entries on "
            f"the driver use {otherwise}."
        )


# ------------------------------------------------------------------ streams


class ModelVersions:
    """Versions of a model in a directory; servers read the one that is current.

    A version is a directory that is written aside and renamed, and then named in the file
    ``CURRENT``, which is replaced in one step: a reader sees the old model or the new one, a crash
    leaves the old.

    Parameters
    ----------
    root : path
        The directory; made if need be.  On one file system.
    keep : int, default=3
        Number of versions to keep.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skglrm import ImplicitALS
    >>> from skglrm.spark import ModelVersions
    >>> versions = ModelVersions(tempfile.mkdtemp())
    >>> model = ImplicitALS(2, random_state=0).fit(np.eye(5))
    >>> versions.publish(model, source="nightly")
    'v000001'
    >>> versions.notes()["source"], versions.load().n_features_in_
    ('nightly', 5)
    """

    def __init__(self, root: str | os.PathLike[str], keep: int = 3):
        self.root, self.keep = Path(root), keep
        self.root.mkdir(parents=True, exist_ok=True)

    @property
    def current(self) -> str | None:
        """Name of the current version; a server reloads when it changes."""
        try:
            return (self.root / "CURRENT").read_text().strip()
        except FileNotFoundError:
            return None

    def publish(self, model: Any, **notes: Any) -> str:
        """Make a model the current version, with notes that can be written as JSON."""
        last = self.current
        name = f"v{int(last[1:]) + 1 if last else 1:06d}"
        aside = self.root / f"aside-{uuid.uuid4().hex}"
        aside.mkdir()
        try:
            model.save(aside / "model")
            _write(aside / "notes.json", json.dumps(notes))
            if (self.root / name).exists():  # left by a crash before it became current
                shutil.rmtree(self.root / name)
            aside.rename(self.root / name)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        _write(self.root / "CURRENT.aside", name)
        os.replace(self.root / "CURRENT.aside", self.root / "CURRENT")
        for old in sorted(self.root.glob("v*"))[: -self.keep]:
            if old.name < name:
                shutil.rmtree(old, ignore_errors=True)
        return name

    def load(self, **how: Any) -> Any:
        """Load the current model; ``how`` is passed to :func:`skglrm.load`."""
        return load(self._now() / "model", **how)

    def notes(self) -> dict[str, Any]:
        """Return the notes of the current version."""
        found: dict[str, Any] = json.loads((self._now() / "notes.json").read_text())
        return found

    def _now(self) -> Path:
        if self.current is None:
            raise FileNotFoundError(f"No model has been published in {self.root}.")
        return self.root / self.current


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def update_exactly_once(
    versions: ModelVersions, *, stream: str, row: str, col: str, value: str
) -> Any:
    """Return a function for ``foreachBatch`` that updates the current model by each batch once.

    Structured Streaming may hand a batch out again after a failure.  The number of the last batch
    is published together with the model, in one step, so a batch that is already in the model is
    passed over.

    Parameters
    ----------
    versions : ModelVersions
        Where the fitted model is, and new versions go.
    stream : str
        Name of the stream.  Numbers of batches begin anew with a new checkpoint directory; give
        the stream a new name then.
    row, col, value : str
        Columns of the stream.

    Returns
    -------
    function of (batch, batch_id)
        Returns the name of the version that holds the batch.
    """

    def update(batch: Any, batch_id: int) -> str | None:
        notes = versions.notes()
        batches = dict(notes.get("batches", {}))
        last = batches.get(stream, -1)
        if batch_id < last:
            raise ValueError(
                f"Stream {stream!r} hands out batch {batch_id}, but {last} is in the model: "
                "its numbers begin anew, as with a new checkpoint directory. Give it a new name."
            )
        if batch_id == last:
            return versions.current
        # The update is made here: one job brings the cells, none numbers their ids on the cluster.
        cells = batch.select(row, col, value).toArrow()
        if not cells.num_rows:
            return versions.current
        model = versions.load()
        model.partial_fit(Entries.from_frame(cells, row=row, col=col, value=value))
        batches[stream] = batch_id
        return versions.publish(model, **{**notes, "batches": batches})

    return update

"""Saving fitted models to a file, and loading them: no pickle, nothing executed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ._container import Contents, read_container, write_container
from ._later import Later, MadeLater
from ._state import Decoder, Encoder, RefusedError

__all__ = ["Saved", "load"]

Model = TypeVar("Model", bound="Saved")

ESTIMATORS: dict[str, type] = {}
"""The estimators of the library by name: what a file may hold without further trust."""


class Saved:
    """Mixin of the estimators: ``save`` and ``load``."""

    row_ids_: Any = MadeLater()
    col_ids_: Any = MadeLater()
    feature_names_in_: Any = MadeLater()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.partition(".")[0] == __package__:
            ESTIMATORS[cls.__name__] = cls

    def __getstate__(self) -> Any:
        for name, value in vars(self).copy().items():
            if isinstance(value, Later):
                getattr(self, name)
        return super().__getstate__()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file, which takes the place of an older one in one step.

        The file holds the parameters and all fitted attributes, exactly; it holds no pickle, and
        loading it runs no code.  Its layout is that of safetensors, so that other programs can read
        the factors.

        Parameters
        ----------
        path : str or path-like
            The file; a common ending is ``.skglrm``.  Whatever happens while it is written, there
            is either the old file or the new one.

        Raises
        ------
        TypeError
            If a parameter or an attribute is of a type that cannot be written, such as a backend
            object or a time zone without a name.
        OSError
            If the file cannot be written.
        """
        from . import __version__

        encoder = Encoder(ESTIMATORS)
        node = encoder.encode(self)
        text = json.dumps(
            {"of_user": sorted(encoder.of_user), "model": node}, separators=(",", ":")
        )
        write_container(path, text, encoder.arrays, __version__)

    @classmethod
    def load(
        cls: type[Model],
        path: str | os.PathLike[str],
        *,
        mmap_mode: str | None = None,
        trusted: Iterable[type] = (),
    ) -> Model:
        """Read a model that ``save`` has written.

        Parameters
        ----------
        path : str or path-like
            The file.
        mmap_mode : {None, "r"}, default=None
            ``"r"`` maps the arrays into memory, read-only: they are read from the disk when they
            are used, and shared by all processes that map them.  They are not verified, so map only
            files that you trust not to be damaged.
        trusted : iterable of types, default=()
            Classes of yours that the file may hold instances of: losses, regularizers, domains.

        Returns
        -------
        estimator
            The model, of this class or one derived from it.

        Raises
        ------
        TypeError
            If the file holds a model of another class.
        ValueError
            If the file is no such file, truncated, damaged, of a newer version, or holds instances
            of classes that are not trusted; the message says which.
        """
        own = () if cls in ESTIMATORS.values() else (cls,)
        model = load(path, mmap_mode=mmap_mode, trusted=(*own, *trusted))
        if not isinstance(model, cls):
            raise TypeError(
                f"{path} holds a {type(model).__name__}, not a {cls.__name__}. Load it by "
                f"{type(model).__name__}.load or skglrm.load."
            )
        return model


def load(
    path: str | os.PathLike[str], *, mmap_mode: str | None = None, trusted: Iterable[type] = ()
) -> Any:
    """Read a model of any class that its ``save`` has written.

    Parameters
    ----------
    path : str or path-like
        The file.
    mmap_mode : {None, "r"}, default=None
        ``"r"`` maps the arrays into memory, read-only: they are read from the disk when they are
        used, and shared by all processes that map them.  They are not verified, so map only files
        that you trust not to be damaged.
    trusted : iterable of types, default=()
        Classes of yours that the file may hold instances of: losses, regularizers, domains.
        Nothing is ever imported by a name that stands in the file.

    Returns
    -------
    estimator
        The model; predictions and ``partial_fit`` go on as they would have before.

    Raises
    ------
    ValueError
        If the file is no such file, truncated, damaged, of a newer version, or holds instances of
        classes that are not trusted; the message says which.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import skglrm
    >>> model = skglrm.GLRM(1).fit([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(Path(folder) / "model.skglrm")
    ...     again = skglrm.load(Path(folder) / "model.skglrm")
    >>> (again.components_ == model.components_).all()
    np.True_
    """
    if mmap_mode not in (None, "r"):
        raise ValueError(f"mmap_mode must be None or 'r'. Got {mmap_mode!r} instead.")
    contents = read_container(path, mapped=mmap_mode == "r")
    try:
        content = json.loads(contents.text)
        is_mapped = mmap_mode is not None
        decoder = Decoder(contents.arrays, _estimators(), trusted, lazy=is_mapped)
        model = decoder.decode(content["model"])
        if not isinstance(model, Saved):
            raise ValueError("The file holds no model.")
        _check_shapes(model)
        if not is_mapped:  # or the pages of all these arrays would be read
            _check_positions(model)
    except (RefusedError, ImportError):
        raise
    except _CAUSES as error:
        raise ValueError(f"{Path(path)} {_unusable(contents)} ({error!s:.200})") from error
    return model


def _estimators() -> dict[str, type]:
    """All estimators; what the package has not imported yet, it imports now."""
    package = import_module(__package__)
    for name in package.__all__:
        getattr(package, name)
    return ESTIMATORS


_CAUSES = (
    ArithmeticError, AttributeError, LookupError, NotImplementedError, RecursionError, TypeError,
    ValueError,
)  # fmt: skip
"""What nonsense in a file leads to while a model is built of it."""


def _unusable(contents: Contents) -> str:
    return (
        f"holds no model that can be used; it says that skglrm {contents.written_by:.40} wrote it."
    )


def _check_shapes(model: Any) -> None:
    """Refuse arrays that do not fit together: kernels would read and write beyond their ends."""
    fitted = vars(model)
    for inner in fitted.values():
        if isinstance(inner, Saved):
            _check_shapes(inner)
    if "row_factors_" not in fitted or "components_" not in fitted:
        return
    W, H, n_features = (fitted[name] for name in ("row_factors_", "components_", "n_features_in_"))
    (n_rows, k), (rank, n_columns) = W.shape, H.shape
    # Without rows or columns k could be any number, and no byte of the file would have to hold it.
    _demand(n_rows > 0 and n_columns > 0, "factors")
    _demand(type(n_features) is int, "n_features_in_")
    _demand(fitted.get("_n_features_out", k) == k, "_n_features_out")
    _demand(k == rank and W.dtype == H.dtype and W.dtype in (np.float32, np.float64), "factors")
    _demand("component_slices_" in fitted or n_features == n_columns, "n_features_in_")
    if fitted.get("_columns") is not None:
        _check_columns(fitted, n_columns)
    of_rows, of_columns, square = (n_rows,), (n_features,), (k, k)
    known = {
        "_row_counts": of_rows, "_row_sums": of_rows, "_column_counts": of_columns,
        "_column_sums": of_columns, "column_weights_": of_columns, "_kinks": of_columns,
        "offset_": (n_columns,), "_units": (n_columns,), "_spectrum": (k,), "_rotation": square,
        "_column_gram": square, "_row_gram": square,
    }  # fmt: skip
    for name, shape in known.items():
        _demand_array(fitted.get(name), shape, name)
    for name, length in (("row_ids_", n_rows), ("col_ids_", n_features)):
        _demand(fitted.get(name) is None or len(fitted[name]) == length, name)
    for name, length in (("_row_accumulators", n_rows), ("_column_accumulators", n_features)):
        steps = fitted.get(name)
        _demand(steps is None or len(steps) in (0, length), name)
        _demand_array(steps, (length if steps is not None and len(steps) else 0, 2), name)
    if fitted.get("_exact") is not None:
        _demand(fitted["_exact"].row_factors_.shape == W.shape, "_exact")
        _demand(fitted["_exact"].components_.shape == H.shape, "_exact")


def _check_columns(fitted: dict[str, Any], n_columns: int) -> None:
    """Refuse losses that have another number of predictions than there are column factors."""
    columns, null = fitted["_columns"], fitted["_null"]
    n_features = fitted["n_features_in_"]
    widths = [int(loss.embedding_dim) for loss in columns.losses]
    starts = np.concatenate([[0], np.cumsum(widths)])
    _demand(len(widths) == len(columns.domains) == n_features, "losses")
    if not (np.array_equal(columns.starts, starts) and starts[-1] == n_columns):
        raise ValueError("The factors do not fit to the losses of the columns.")
    _demand(fitted["component_slices_"] == columns.slices, "component_slices_")
    _demand(columns.signed.shape == (n_features,), "losses")
    _demand_array(null.constants, (n_columns,), "constants")
    _demand_array(null.costs, (n_features,), "costs")
    _demand_array(null.counts, (n_features,), "counts")


def _check_positions(model: Any) -> None:
    """Refuse factors that are not finite, and cells in columns that do not exist."""
    fitted = vars(model)
    for inner in fitted.values():
        if isinstance(inner, Saved):
            _check_positions(inner)
    for name in ("row_factors_", "components_", "offset_"):
        if name in fitted:
            _demand(np.isfinite(fitted[name]).all(), name)
    columns = []
    history, seen = fitted.get("_history"), fitted.get("_seen_cells")
    if history is not None:
        columns.append(history.column.array)
        _demand_array(history.value.array, columns[-1].shape, "history")
        begins, ends = history.start, history.stop
        _demand(begins.shape == ends.shape == fitted["_row_counts"].shape, "history")
        _demand((0 <= begins).all() and (begins <= ends).all(), "history")
        _demand((ends <= len(columns[-1])).all(), "history")
    if seen is not None:
        edges = seen[0]
        columns.append(seen[1])
        _demand(edges.shape == (len(fitted["row_factors_"]) + 1,), "history")
        _demand(edges[0] == 0 and edges[-1] == len(columns[-1]), "history")
        _demand((np.diff(edges) >= 0).all(), "history")
    for column in columns:
        _demand(column.ndim == 1 and column.dtype.kind == "i", "history")
        if column.size and not 0 <= column.min() <= column.max() < fitted["n_features_in_"]:
            raise ValueError("A cell is remembered in a column that does not exist.")


def _demand_array(array: Any, shape: tuple[int, ...], name: str) -> None:
    """Numbers of a shape, if there are any."""
    is_sound = array is None or (array.shape == shape and array.dtype.kind in "fi")
    _demand(is_sound, name)


def _demand(holds: Any, name: str) -> None:
    if not holds:
        raise ValueError(f"{name} does not fit to the other parts of the model.")

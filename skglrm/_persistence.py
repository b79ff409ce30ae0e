"""Saving fitted models to a file, and loading them: no pickle, nothing executed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

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
        decoder = Decoder(contents.arrays, ESTIMATORS, trusted, lazy=is_mapped)
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


_CAUSES = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What nonsense in a file leads to while a model is built of it."""


def _unusable(contents: Contents) -> str:
    return (
        f"holds no model that can be used; it says that skglrm {contents.written_by:.40} wrote it."
    )


def _check_positions(model: Any) -> None:
    """Refuse remembered cells in columns that do not exist, for the same reason."""
    fitted = vars(model)
    for inner in fitted.values():
        if isinstance(inner, Saved):
            _check_positions(inner)
    columns = []
    if fitted.get("_history") is not None:
        columns.append(fitted["_history"].column.array)
    if fitted.get("_seen_cells") is not None:
        columns.append(fitted["_seen_cells"][1])
    for column in columns:
        if column.size and not 0 <= column.min() <= column.max() < fitted["n_features_in_"]:
            raise ValueError("A cell is remembered in a column that does not exist.")


def _check_shapes(model: Any) -> None:
    """Refuse arrays that do not fit together: kernels would read beyond their ends."""
    fitted = vars(model)
    for inner in fitted.values():
        if isinstance(inner, Saved):
            _check_shapes(inner)
    if "row_factors_" not in fitted or "components_" not in fitted:
        return
    W, H = fitted["row_factors_"], fitted["components_"]
    (n_rows, k), (rank, n_columns) = W.shape, H.shape
    n_features = fitted["n_features_in_"]
    if type(n_features) is not int:
        raise ValueError("The number of features is no integer.")
    if k != rank or W.dtype != H.dtype or W.dtype.kind != "f":
        raise ValueError("The factors do not fit together.")
    if "component_slices_" not in fitted and n_features != n_columns:
        raise ValueError("The factors do not fit to the number of features.")
    columns = fitted.get("_columns")
    if columns is not None:
        if len(columns.losses) != n_features or columns.starts[-1] != n_columns:
            raise ValueError("The factors do not fit to the losses of the columns.")
    lengths = {
        "_row_counts": n_rows, "_row_sums": n_rows, "row_ids_": n_rows,
        "_column_counts": n_features, "_column_sums": n_features, "col_ids_": n_features,
        "offset_": n_columns,
    }  # fmt: skip
    for name, length in lengths.items():
        if fitted.get(name) is not None and len(fitted[name]) != length:
            raise ValueError(f"{name} has the length {len(fitted[name])} in place of {length}.")

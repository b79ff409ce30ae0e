"""What displays share: axes to draw on, coloured points, names that do not cover one another."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "MUTED", "SOLID", "column_names", "no_top_and_right", "on_axes", "scatter", "spread_labels",
    "two_of",
]  # fmt: skip

SOLID = "#1f5f8b"
MUTED = "#7d838c"

Doubles = npt.NDArray[np.float64]


def on_axes(display: Any, ax: Any, **figure: Any) -> Any:
    """Return the axes to draw on, new ones if none are given, and keep them in the display."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__}.plot needs matplotlib, which is not installed. Install it, "
            "for instance by pip install 'skglrm[plot]'."
        ) from error
    if ax is None:
        _, ax = plt.subplots(layout="constrained", **figure)
    display.ax_, display.figure_ = ax, ax.figure
    return ax


def no_top_and_right(ax: Any) -> None:
    """Leave out the lines that nothing is read from."""
    ax.spines[["top", "right"]].set_visible(False)


def scatter(ax: Any, points: Doubles, c: Any, **options: Any) -> Any:
    """Draw points; numbers colour them by a scale, labels by a legend."""
    size = float(np.clip(4000 / max(1, len(points)), 2, 25))
    options = {"s": size, "alpha": 0.6, "linewidths": 0, "rasterized": True, **options}
    if c is None:
        return ax.scatter(*points.T, color=options.pop("color", SOLID), **options)
    c = np.asarray(c)
    if c.shape != (len(points),):
        raise ValueError(f"c has shape {c.shape}, but there are {len(points)} points to colour.")
    if c.dtype.kind in "fiu":
        drawn = ax.scatter(*points.T, c=c, **options)
        ax.figure.colorbar(drawn, ax=ax, shrink=0.8)
        return drawn
    labels, codes = np.unique(c.astype(str), return_inverse=True)
    colours = np.array([f"C{n % 10}" for n in range(len(labels))])
    drawn = ax.scatter(*points.T, c=colours[codes], **options)
    for label, colour in zip(labels, colours, strict=True):
        ax.scatter([], [], color=colour, s=25, linewidths=0, label=label)
    ax.legend(frameon=False, loc="best")
    return drawn


def spread_labels(ax: Any, points: Doubles, names: list[str], **text: Any) -> list[Any]:
    """Write names beside points, moved up or down where they would cover one another."""
    from matplotlib.patheffects import withStroke

    if not len(points):
        return []
    _make_room(ax, points, names)
    low, high = ax.get_ylim()
    middle = float(np.mean(ax.get_xlim()))
    height = ax.get_window_extent().height * 72 / ax.figure.dpi  # in points, as fonts are
    gap = (high - low) * 11 / max(height, 1.0)
    found: list[Any] = [None] * len(points)
    for is_right in (True, False):
        at = np.flatnonzero((points[:, 0] >= middle) == is_right)
        for n, y in zip(at, _apart(points[at, 1], gap), strict=True):
            moved = abs(y - points[n, 1]) > 0.3 * gap
            line = {"arrowstyle": "-", "color": MUTED, "lw": 0.5, "shrinkA": 0, "shrinkB": 1}
            found[n] = ax.annotate(
                names[n],
                points[n],
                ((14 if moved else 4) * (1 if is_right else -1), (y - points[n, 1]) / gap * 11),
                textcoords="offset points",
                ha="left" if is_right else "right",
                va="center",
                fontsize="small",
                arrowprops=line if moved else None,
                path_effects=[withStroke(linewidth=2, foreground="white")],
                **text,
            )
    return found


def _make_room(ax: Any, points: Doubles, names: list[str]) -> None:
    """Widen the limits so that they hold the names as well, each about 5 pt for a letter."""
    ax.update_datalim(points)
    ax.autoscale_view()
    low, high = ax.get_xlim()
    width = max(ax.get_window_extent().width * 72 / ax.figure.dpi, 1.0)
    lengths = np.array([5.0 * len(name) + 16 for name in names]) / width
    # Widening by what does not fit makes every name shorter in turn; a third of it is enough.
    lengths = np.minimum(lengths, 0.5) * (high - low) * 1.3
    side = np.where(points[:, 0] >= 0.5 * (low + high), 1.0, -1.0)
    ax.update_datalim(np.column_stack([points[:, 0] + side * lengths, points[:, 1]]))
    ax.margins(0.05)
    ax.autoscale_view()


def _apart(y: Doubles, gap: float) -> Doubles:
    """Nearby heights at least ``gap`` apart, in the same order: least squares, by pooling."""
    order = np.argsort(y, kind="stable")
    shifted = (y[order] - gap * np.arange(len(y))).tolist()
    pools: list[list[float]] = []  # sums and sizes
    for value in shifted:
        pools.append([value, 1.0])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            total, size = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += size
    level = np.repeat([total / size for total, size in pools], [int(size) for _, size in pools])
    out = np.empty(len(y))
    out[order] = level + gap * np.arange(len(y))
    return out


def column_names(estimator: Any) -> list[str]:
    """Names of the fitted columns: by feature name, by id, or x0, x1, ..."""
    for attribute in ("feature_names_in_", "col_ids_"):
        names = getattr(estimator, attribute, None)
        if names is not None:
            return [str(name) for name in names]
    return [f"x{j}" for j in range(estimator.n_features_in_)]


def two_of(components: Any, n_components: int, owner: str) -> tuple[int, int]:
    """Check that two different components of the model are named."""
    chosen = np.asarray(components)
    ok = chosen.shape == (2,) and chosen.dtype.kind in "iu" and chosen[0] != chosen[1]
    if not ok or chosen.min() < 0 or chosen.max() >= n_components:
        raise ValueError(
            f"{owner} shows two components, numbered from 0 to {n_components - 1}. "
            f"Got components={components!r}."
            + (" The model has but one; fit more." if n_components < 2 else "")
        )
    return int(chosen[0]), int(chosen[1])

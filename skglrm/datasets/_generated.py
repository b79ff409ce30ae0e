"""Data whose truth is known, because it was planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import Bunch, check_random_state

from ..entries import Entries

__all__ = ["make_mixed_table", "make_ratings"]

AT_ONCE = 5_000_000
"""Matrices with more cells than this are not drawn from as a whole."""

LEVELS = ("low", "middle", "high", "top")
LABELS = ("red", "green", "blue")


def make_ratings(
    n_rows: int = 200,
    n_columns: int = 100,
    *,
    n_components: int = 3,
    density: float = 0.2,
    noise: float = 0.3,
    skew: float = 1.0,
    stars: bool = False,
    random_state: Any = None,
    return_truth: bool = False,
) -> Any:
    r"""Generate ratings of a planted rank, at cells as unevenly spread as in life.

    :math:`a_{ij} = 3 + w_i \cdot h_j + \text{noise}\; \varepsilon_{ij}`, where
    :math:`w_i \cdot h_j` has deviation 1; row i has a cell in column j with a chance that grows
    with :math:`e^{\text{skew}\,(\xi_i + \zeta_j)}`; all Greek letters are standard normal.

    Parameters
    ----------
    n_rows, n_columns : int, default=200 and 100
        Shape of the matrix.
    n_components : int, default=3
        The planted rank.
    density : float, default=0.2
        Share of the cells that are observed.
    noise : float, default=0.3
        Deviation of the noise.
    skew : float, default=1.0
        How uneven rows and columns are; 0 is uniform.
    stars : bool, default=False
        Round to halves from 0.5 to 5.
    random_state : int, RandomState instance or None, default=None
        Seed.
    return_truth : bool, default=False
        Return what was planted as well.

    Returns
    -------
    entries : Entries
        The ratings, in random order.
    truth : Bunch
        ``row_factors`` (n_rows, n_components), ``components`` (n_components, n_columns) and
        ``intercept``.  Only with ``return_truth``.

    Raises
    ------
    ValueError
        If ``density`` is not between 0 and 1.

    Examples
    --------
    >>> from skglrm.datasets import make_ratings
    >>> make_ratings(50, 20, density=0.3, random_state=0)
    Entries(300 observed cells of a 50 x 20 matrix, float64)
    """
    if not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1. Got {density!r} instead.")
    rng = _generator(random_state)
    W = rng.normal(size=(n_rows, n_components))
    H = rng.normal(size=(n_components, n_columns)) / np.sqrt(n_components)
    n_entries = max(1, round(density * n_rows * n_columns))
    cells = _drawn_cells(rng, (n_rows, n_columns), n_entries, skew)
    row, col = np.divmod(cells, n_columns)
    value = 3 + np.einsum("ij,ji->i", W[row], H[:, col]) + noise * rng.normal(size=n_entries)
    if stars:
        value = np.clip(np.round(2 * value) / 2, 0.5, 5.0)
    entries = Entries(row, col, value, shape=(n_rows, n_columns))
    return (entries, Bunch(row_factors=W, components=H, intercept=3.0)) if return_truth else entries


def _drawn_cells(
    rng: np.random.Generator, shape: tuple[int, int], n: int, skew: float
) -> npt.NDArray[np.int64]:
    """Draw n different cells by the weights of their rows and columns."""
    weights = [np.exp(skew * rng.normal(size=size)) for size in shape]
    if shape[0] * shape[1] <= AT_ONCE:
        # The n first of independent exponential clocks.
        clocks = rng.exponential(size=shape) / np.outer(*weights)
        first = np.argpartition(clocks.ravel(), n - 1)[:n].astype(np.int64)
        return rng.permutation(first)
    shares = [weight / weight.sum() for weight in weights]
    cells = np.zeros(0, np.int64)
    while len(cells) < n:
        more = n - len(cells) + n // 8
        row, col = (rng.choice(len(p), more, p=p).astype(np.int64) for p in shares)
        cells = np.unique(np.concatenate([cells, row * shape[1] + col]))
    return rng.permutation(cells)[:n]


def make_mixed_table(
    n_rows: int = 300,
    *,
    n_numbers: int = 3,
    n_counts: int = 2,
    n_booleans: int = 2,
    n_levels: int = 2,
    n_labels: int = 2,
    n_components: int = 2,
    noise: float = 0.3,
    missing: float = 0.2,
    random_state: Any = None,
) -> Bunch:
    """Generate a table of columns of all types that a few hidden numbers per row explain.

    A score is a product of row and column factors plus noise.  Numbers are scores; counts are drawn
    from the Poisson law of their exponentials; Booleans say which are positive; ordered levels are
    quarters of them; labels are the largest of several.

    Parameters
    ----------
    n_rows : int, default=300
        Number of rows.
    n_numbers, n_counts, n_booleans, n_levels, n_labels : int, default=3, 2, 2, 2, 2
        Numbers of columns: floats, whole numbers, Booleans, ordered categories, strings.
    n_components : int, default=2
        The planted rank.
    noise : float, default=0.3
        Deviation of the noise of scores, whose own deviation is 1.
    missing : float, default=0.2
        Share of cells to hide, at random.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    Bunch
        ``data``: pandas data frame with missing cells.  ``complete``: the same without.
        ``hidden``: ndarray of bool, which cells are missing.  ``row_factors`` (n_rows,
        n_components): what was planted.

    Raises
    ------
    ImportError
        If pandas is not installed.

    Examples
    --------
    >>> from skglrm.datasets import make_mixed_table
    >>> table = make_mixed_table(50, random_state=0)
    >>> table.data.dtypes.astype(str).unique().tolist()
    ['Float64', 'Int64', 'boolean', 'category', 'object']
    """
    import pandas  # type: ignore[import-untyped, unused-ignore]

    rng = _generator(random_state)
    W = rng.normal(size=(n_rows, n_components))

    def scores(n: int = 1) -> Any:
        signal = W @ rng.normal(size=(n_components, n)) / np.sqrt(n_components)
        return (signal + noise * rng.normal(size=(n_rows, n))).squeeze()

    columns: dict[str, Any] = {}
    for i in range(n_numbers):
        columns[f"number_{i}"] = pandas.array(scores(), dtype="Float64")
    for i in range(n_counts):
        columns[f"count_{i}"] = pandas.array(rng.poisson(np.exp(1 + 0.5 * scores())), "Int64")
    for i in range(n_booleans):
        columns[f"flag_{i}"] = pandas.array(scores() > 0, dtype="boolean")
    for i in range(n_levels):
        codes = np.searchsorted([-0.7, 0.0, 0.7], scores())
        columns[f"level_{i}"] = pandas.Categorical.from_codes(codes, LEVELS, ordered=True)
    for i in range(n_labels):
        columns[f"label_{i}"] = np.array(LABELS, object)[scores(len(LABELS)).argmax(axis=1)]
    complete = pandas.DataFrame(columns)
    for name in complete.columns[complete.columns.str.startswith("label")]:
        complete[name] = complete[name].astype(object)  # a type that every pandas has
    hidden = rng.random(complete.shape) < missing
    return Bunch(data=complete.mask(hidden), complete=complete, hidden=hidden, row_factors=W)


def _generator(random_state: Any) -> np.random.Generator:
    return np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))

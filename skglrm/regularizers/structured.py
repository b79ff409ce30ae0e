"""Regularizers of more than one row: tied blocks, and rows that should resemble each other."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import splu

from .base import Coupling, Regularizer, check_parts
from .constraints import TOLERANCE
from .penalties import Zero

__all__ = ["GraphLaplacian", "Tied"]

_ZERO = Zero()


@dataclass(frozen=True)
class Tied(Regularizer):
    r"""One direction and several thresholds: the block of an ordinal column.

    An ordinal column with K levels owns a block of K − 1 rows; the last entry of each row is its
    offset.  Tied rows are equal but for the offsets, which then are the thresholds between the
    levels: :math:`u_c = x \cdot y + t_c`.  The common row costs ``regularizer`` once, and the
    thresholds are free, or decrease.

    Parameters
    ----------
    regularizer : Regularizer, default=Zero()
        What the common row costs, without its offset.
    decreasing : float, default=-inf
        ε in :math:`t_c - t_{c+1} \ge \varepsilon`; minus infinity leaves the thresholds free.
        ``MultinomialOrdinal`` needs ε > 0, ``CumulativeLogit`` as well.
    negative : bool, default=False
        Whether :math:`t_1 \le -\varepsilon` holds too, as ``MultinomialOrdinal`` needs it; requires
        a finite ε.

    Notes
    -----
    The prox takes the mean of the d rows, its prox for the step α/d, and copies it back; the
    thresholds go through isotonic regression, which is the exact projection.

    References
    ----------
    Best and Chakravarti (1990), "Active set algorithms for isotonic regression; a unifying
    framework".

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import L2, Tied
    >>> block = np.array([[3.0, 0.0], [5.0, 1.0]])
    >>> Tied(L2(2.0), decreasing=0.5).prox(block, 1.0)
    >>> block
    array([[2.  , 0.75],
           [2.  , 0.25]])
    """

    regularizer: Regularizer = _ZERO
    decreasing: float = -inf
    negative: bool = False

    on_block: ClassVar[bool] = True

    def __post_init__(self):
        check_parts(self, self.regularizer)
        if not self.decreasing < inf:
            raise ValueError(
                f"Tied needs a number as decreasing, or -inf; got {self.decreasing!r}."
            )
        if self.negative and self.decreasing == -inf:
            raise ValueError("Tied with negative=True needs decreasing, too, such as 0.001.")

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """Whether ``regularizer`` is."""
        return self.regularizer.convex

    def check_size(self, size):  # noqa: D102
        if size < 1:
            raise ValueError("Tied needs offsets, which become the thresholds: set offset=True.")
        self.regularizer.check_size(size - 1)

    def value(self, x):  # noqa: D102
        for c in range(x.shape[0]):
            for d in range(x.shape[1] - 1):
                if abs(x[c, d] - x[0, d]) > TOLERANCE * abs(x[0, d]):
                    return inf
            above = x[c - 1, -1] if c > 0 else 0.0
            slack = TOLERANCE * (abs(above) + abs(x[c, -1]))
            if (c > 0 or self.negative) and x[c, -1] > above - self.decreasing + slack:
                return inf
        return self.regularizer.value(x[0, :-1])

    def prox(self, x, step):  # noqa: D102
        n, last = x.shape[0], x.shape[1] - 1
        for d in range(last):
            total = 0.0
            for c in range(n):
                total += x[c, d]
            x[0, d] = total / n
        self.regularizer.prox(x[0, :-1], step / n)
        for c in range(1, n):
            for d in range(last):
                x[c, d] = x[0, d]
        if self.decreasing == -inf:
            return
        # Pool adjacent violators of w_c = t_c + ε c, which must not increase.
        means, ends, blocks = np.empty(n), np.empty(n, np.int64), 0
        for c in range(n):
            mean, begin = x[c, last] + self.decreasing * c, c
            while blocks > 0 and means[blocks - 1] < mean:
                blocks -= 1
                before = ends[blocks - 1] if blocks > 0 else 0
                size = begin - before
                mean = (mean * (c + 1 - begin) + means[blocks] * size) / (c + 1 - before)
                begin = before
            means[blocks], ends[blocks] = mean, c + 1
            blocks += 1
        b = 0
        for c in range(n):
            if c == ends[b]:
                b += 1
            w = min(means[b], -self.decreasing) if self.negative else means[b]
            x[c, last] = w - self.decreasing * c


@dataclass(frozen=True, eq=False)
class GraphLaplacian(Coupling):
    r"""Rows of a factor that are neighbours in a graph resemble each other.

    .. math::

        \tfrac{s}{2} \operatorname{tr}(H^T \Lambda H)
        = \tfrac{s}{4} \sum_{ij} W_{ij} \|h_i - h_j\|^2 , \quad \Lambda = D - W ,

    with the weights W ≥ 0 of the edges and the diagonal D of their row sums.

    Parameters
    ----------
    strength : float
        s ≥ 0.
    laplacian : array-like or sparse matrix of shape (n, n)
        Λ: symmetric, with row sums 0 and nothing positive off the diagonal.
    regularizer : Regularizer, default=Zero()
        What each row costs by itself.

    Raises
    ------
    TypeError
        If ``regularizer`` is no regularizer of rows.
    ValueError
        If ``strength`` is negative or ``laplacian`` is not the Laplacian of a graph.

    See Also
    --------
    GraphLaplacian.from_adjacency : The same from the weights of the edges.

    References
    ----------
    Cai, He, Han and Huang (2011), "Graph regularized nonnegative matrix factorization".

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import GraphLaplacian
    >>> chain = GraphLaplacian.from_adjacency([[0, 1, 0], [1, 0, 1], [0, 1, 0]], strength=2.0)
    >>> chain.value_all(np.array([[1.0], [2.0], [5.0]]))  # ½ · 2 · (1² + 3²)
    10.0
    """

    strength: float
    laplacian: Any
    regularizer: Regularizer = _ZERO

    def __post_init__(self):
        check_parts(self, self.regularizer)
        if not 0 <= self.strength < inf:
            raise ValueError(f"GraphLaplacian needs a finite strength >= 0; got {self.strength!r}.")
        laplacian = _square_matrix(self.laplacian, "laplacian")
        diagonal = laplacian.diagonal()
        size = np.abs(diagonal).max(initial=0.0)
        off_diagonal = laplacian - sparse.diags_array(diagonal)
        if np.abs(laplacian.sum(axis=1)).max(initial=0.0) > 1e-8 * size or off_diagonal.max() > 0:
            raise ValueError(
                "The laplacian has rows that do not sum to 0, or positive entries off the "
                "diagonal. For a matrix of weights use GraphLaplacian.from_adjacency(...)."
            )
        object.__setattr__(self, "laplacian", laplacian)

    @classmethod
    def from_adjacency(
        cls, adjacency: Any, strength: float = 1.0, regularizer: Regularizer = _ZERO
    ) -> GraphLaplacian:
        """Make the Laplacian D - W of the weights W of a graph's edges.

        Parameters
        ----------
        adjacency : array-like or sparse matrix of shape (n, n)
            W: symmetric, without negative entries.  The diagonal does not matter.
        strength : float, default=1.0
            s ≥ 0.
        regularizer : Regularizer, default=Zero()
            What each row costs by itself.

        Returns
        -------
        GraphLaplacian
            The coupling.
        """
        weights = _square_matrix(adjacency, "adjacency")
        weights = weights - sparse.diags_array(weights.diagonal())
        if weights.size and weights.min() < 0:
            raise ValueError("The adjacency has negative weights; the weights of edges are >= 0.")
        degrees = sparse.diags_array(np.asarray(weights.sum(axis=1)).ravel())
        return cls(strength, degrees - weights, regularizer)

    def value_all(self, factor):  # noqa: D102
        factor = np.asarray(factor, np.float64)
        self._check_rows(factor)
        return 0.5 * self.strength * float(np.sum(factor * (self.laplacian @ factor)))

    def majorizer(self, factor):
        """Return (linear (n, k), diagonal (n,)) of a bound that is separate in the rows.

        Λ ≤ 2 D, since D + W is diagonally dominant; so the bound of :class:`Coupling` has
        ``linear = s Λ H`` and ``diagonal = 2 s D``.
        """
        self._check_rows(factor)
        linear = self.strength * (self.laplacian @ np.asarray(factor, np.float64))
        return linear, 2.0 * self.strength * self.laplacian.diagonal()

    def prox_all(self, factor, step):  # noqa: D102
        self._check_rows(factor)
        n = self.laplacian.shape[0]
        system = sparse.eye_array(n, format="csc") + step * self.strength * self.laplacian
        factor[...] = splu(sparse.csc_array(system)).solve(np.asarray(factor, np.float64))

    def _check_rows(self, factor: npt.NDArray[Any]) -> None:
        if factor.shape[0] != self.laplacian.shape[0]:
            raise ValueError(
                f"The graph has {self.laplacian.shape[0]} nodes, but the factor has "
                f"{factor.shape[0]} rows; there must be one node per row, in the same order."
            )

    def _key(self) -> tuple[Any, ...]:
        matrix = self.laplacian
        arrays = (matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64))
        return self.strength, self.regularizer, matrix.shape, *(part.tobytes() for part in arrays)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        n = self.laplacian.shape[0]
        return (
            f"GraphLaplacian(strength={self.strength!r}, laplacian=<{n} nodes, "
            f"{(self.laplacian.nnz - n) // 2} edges>, regularizer={self.regularizer!r})"
        )


def _square_matrix(matrix: Any, name: str) -> Any:
    """CSR copy in float64 without stored zeros; raises if it is not square and symmetric."""
    result = sparse.csr_array(matrix, dtype=np.float64, copy=True)
    if result.ndim != 2 or result.shape[0] != result.shape[1]:
        raise ValueError(f"The {name} must be square; its shape is {result.shape}.")
    if not np.isfinite(result.data).all():
        raise ValueError(f"The {name} holds NaN or infinity; give finite numbers.")
    result.sum_duplicates()
    result.eliminate_zeros()
    asymmetry = abs(result - result.T)
    if asymmetry.nnz and asymmetry.max() > 1e-8 * abs(result).max():
        raise ValueError(f"The {name} is not symmetric; take (W + W.T) / 2 if that is meant.")
    return result

"""Matrix factorization by parallel block stochastic gradient descent."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._factorizer import Factorizer, Floats, count_entries, position_of
from ._held_out import drawn_cells, hidden_cells
from ._ids import extended, grown, position_dtype
from ._jit import read_only
from ._observations import read_input, read_matrix, unchanged_on_error
from ._parameters import check_choice, check_flag, check_integer, check_real
from .backends import effective_threads, get_backend
from .entries import Entries
from .kernels.grid import sum_squared_deviations
from .kernels.least_squares import solve_rows, solve_rows_proximal
from .kernels.predictions import total_loss
from .losses import get_loss
from .solvers.base import Solution
from .solvers.block_sgd import SCHEDULES, BlockSGD, Cells, Start

__all__ = ["FPSGFactorizer"]

LOSSES = ("squared",)

ENTRIES_PER_BLOCK = 45_000
"""Aim of ``n_blocks=None``: about a millisecond of work, and bands that fit in a core's cache."""

ROWS_PER_TASK = 256


class FPSGFactorizer(Factorizer):
    r"""Matrix factorization by parallel block stochastic gradient descent.

    Unstored cells of a sparse ``X`` are missing, not zero, unless ``unstored="zero"``; NaN is
    always missing.  Over the observed cells Ω the objective is

    .. math::

        \sum_{(i,j) \in \Omega} \Big[ \tfrac12 (w_i \cdot h_j - a_{ij})^2
        + \tfrac{\lambda}{2} \big( \|w_i\|_2^2 + \|h_j\|_2^2 \big)
        + \mu \big( \|w_i\|_1 + \|h_j\|_1 \big) \Big]

    so a row or column is penalised in proportion to its number of entries.  Entries are cut into
    a grid of blocks; threads visit blocks that share neither rows nor columns, so there are no
    locks and no lost updates.  Learning rates adapt to each row and column.

    Parameters
    ----------
    n_components : int, default=32
        Number of factors k.
    loss : {"squared"}, default="squared"
        What an entry costs: half the squared error.
    regularization : float, default=0.05
        λ ≥ 0, per entry.
    l1_regularization : float, default=0.0
        μ ≥ 0, per entry: sparse factors.
    learning_rate : float, default=0.1
        First step size on data scaled to unit deviation, hence the same for all data.
    nonnegative : bool, default=False
        Keep all factors ≥ 0.
    schedule : {"fpsg", "rotation", "hogwild"}, default="fpsg"
        Which blocks run together.  "fpsg": the free block with the fewest visits; nobody waits, and
        with several threads results vary from run to run.  "rotation": strata of disjoint blocks;
        the same bits for any ``n_jobs``.  "hogwild": no grid and no care; for comparison only.
    n_blocks : int, default=None
        Bands of rows, and of columns, of the grid; at least ``n_jobs`` + 1 for "fpsg", better
        2 ``n_jobs`` + 1.  ``None`` chooses by the number of entries.
    early_stopping : bool, default=False
        Hold out a share of the entries, stop when their loss no longer falls, keep the factors (and
        learning rates) of the best iteration.
    validation_fraction : float, default=0.1
        Share of the entries to hold out for early stopping.
    n_iter_no_change : int, default=3
        Iterations without improvement before early stopping ends the fit.
    unstored : {"missing", "zero"}, default="missing"
        What unstored cells of a sparse ``X`` are.
    max_iter : int, default=20
        Number of iterations; each visits about every entry once.
    tol : float, default=0.0
        Relative improvement that counts.  Without early stopping, 0 runs all iterations.
    backend : {"numba-threads"}, default="numba-threads"
        Where blocks run.
    n_jobs : int, default=None
        Number of threads; ``None`` means 1, -1 all processors.
    random_state : int, RandomState instance or None, default=None
        Seed of the start, the grid and the order of blocks.
    verbose : int, default=0
        Print a line after every iteration if positive.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Column factors.  float32 for float32 data, else float64.
    row_factors_ : ndarray of shape (n_rows, n_components)
        Row factors.  A row without entries has zeros.
    baseline_ : float
        Mean of the entries; what is predicted where row and column are both unseen.
    loss_curve_ : list of float
        Objective by iteration, in units of the data: the losses of all entries, each taken just
        before its visit, plus the penalty at the end.
    validation_curve_ : list of float
        Mean loss of the held-out entries by iteration; empty without early stopping.
    n_iter_ : int
        Number of iterations run.
    best_iter_ : int
        The iteration whose factors were kept.
    scale_ : float
        Unit of the scaled problem: the standard deviation of the entries.
    row_ids_, col_ids_ : ndarray or None
        Ids of rows and columns if fitted on ``Entries`` that have them.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if they are strings.

    See Also
    --------
    Entries : Observed cells as samples, to split and search over.
    EntryRegressor : This estimator as a regressor on two id columns.

    Notes
    -----
    With several threads and ``schedule="fpsg"``, two fits with the same seed differ slightly: the
    one documented exception to scikit-learn's checks (``check_fit_idempotent``).  Choose
    ``schedule="rotation"`` for reproducible parallel fits.

    References
    ----------
    Y. Zhuang, W.-S. Chin, Y.-C. Juan and C.-J. Lin, "A fast parallel SGD for matrix factorization
    in shared memory systems", RecSys 2013.

    W.-S. Chin, Y. Zhuang, Y.-C. Juan and C.-J. Lin, "A learning-rate schedule for stochastic
    gradient methods to matrix factorization", PAKDD 2015.

    R. Gemulla, E. Nijkamp, P. Haas and Y. Sismanis, "Large-scale matrix factorization with
    distributed stochastic gradient descent", KDD 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm import FPSGFactorizer
    >>> X = np.outer([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 1.0])
    >>> X[3, 1] = np.nan
    >>> model = FPSGFactorizer(1, regularization=1e-3, max_iter=400, random_state=0).fit(X)
    >>> model.predict_entries([3], [1]).round(1)
    array([8.])
    """

    def __init__(
        self,
        n_components=32,
        *,
        loss="squared",
        regularization=0.05,
        l1_regularization=0.0,
        learning_rate=0.1,
        nonnegative=False,
        schedule="fpsg",
        n_blocks=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=3,
        unstored="missing",
        max_iter=20,
        tol=0.0,
        backend="numba-threads",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.loss = loss
        self.regularization = regularization
        self.l1_regularization = l1_regularization
        self.learning_rate = learning_rate
        self.nonnegative = nonnegative
        self.schedule = schedule
        self.n_blocks = n_blocks
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.unstored = unstored
        self.max_iter = max_iter
        self.tol = tol
        self.backend = backend
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Which block comes first depends on timing, unless one thread takes them all.
        tags.non_deterministic = self.schedule != "rotation" and self.n_jobs not in (None, 1)
        return tags

    # -------------------------------------------------------------- fitting

    def fit(self, X: Any, y: Any = None) -> FPSGFactorizer:
        """Factor the observed cells of ``X``.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Data; NaN is missing.
        y : ignored
            Present by convention.

        Returns
        -------
        FPSGFactorizer
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are unusable; the message says what to do.
        FloatingPointError
            If the fit diverges: make ``learning_rate`` smaller.
        """
        self._check_parameters()
        with unchanged_on_error(self):
            entries = read_input(self, X, unstored=self.unstored, reset=True)
            self._fit_entries(entries, self.max_iter)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> FPSGFactorizer:
        """Update the factors by one iteration over new entries.

        The first call is a ``fit`` of one iteration.  After it the scale of the data is kept, and
        so are the learning rates of known rows and columns.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            A matrix holds new rows, which are appended.  ``Entries`` hold new values of known rows
            and columns, matched by id if there are ids, and entries of rows and columns not seen
            before, which are appended.
        y : ignored
            Present by convention.

        Returns
        -------
        FPSGFactorizer
            The updated estimator; a call that fails leaves it as it was.

        Raises
        ------
        ValueError
            If a parameter or the data are unusable; the message says what to do.
        FloatingPointError
            If the objective is no longer finite.
        """
        self._check_parameters()
        with unchanged_on_error(self):
            if not hasattr(self, "components_"):
                entries = read_input(self, X, unstored=self.unstored, reset=True)
                self._fit_entries(entries, 1)
            else:
                self._update(X)
        return self

    def score(self, X: Any, y: Any = None) -> float:
        """Return D² = 1 − loss / loss of the best constant, on cells that were not fitted on.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Of a matrix, a fixed fifth of each row's cells is hidden, the row folded in on the
            others, and the hidden cells are scored.  ``Entries`` are predicted with the fitted row
            factors as they are, so pass cells that were held out.
        y : ignored
            Present by convention.

        Returns
        -------
        float
            At most 1; 0 is as good as a constant.  NaN, with a warning, if there is no cell to
            score.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the columns are not those of the fitted matrix.
        """
        check_is_fitted(self)
        if isinstance(X, Entries):
            row_at = position_of(
                X.matrix_shape[0], X.row_ids, self.row_ids_, len(self.row_factors_)
            )
            column_at = position_of(
                X.matrix_shape[1], X.col_ids, self.col_ids_, self.n_features_in_
            )
            observed = X.value
            predicted = self.predict_entries(row_at[X.row], column_at[X.col])
        else:
            entries = self._read(X)
            hidden = hidden_cells(entries)
            W = self._fold_in(entries[~hidden].to_csr())
            cells = entries[hidden]
            observed = cells.value
            predicted = np.einsum("ij,ij->i", W[cells.row], self.components_.T[cells.col])
        return self._d2(observed.astype(np.float64), predicted.astype(np.float64))

    def _d2(self, observed: Floats, predicted: Floats) -> float:
        if observed.size < 2:
            warnings.warn(
                f"The score is undefined: there are {observed.size} cells to score, and rows of a "
                "matrix need two observed cells each to hide one.",
                UndefinedMetricWarning,
                stacklevel=3,
            )
            return float("nan")
        loss = get_loss(self.loss)
        constant = loss.best_constant(observed)
        cost = total_loss(loss, read_only(predicted), read_only(observed))
        cost_of_constant = total_loss(
            loss, read_only(np.full_like(observed, constant)), read_only(observed)
        )
        if cost_of_constant == 0.0:
            return 1.0 if cost == 0.0 else 0.0
        return 1.0 - cost / cost_of_constant

    # -------------------------------------------------------------- the fit of entries

    def _check_parameters(self) -> None:
        check_integer(self, "n_components", 1)
        check_choice(self, "loss", LOSSES)
        check_real(self, "regularization", 0.0)
        check_real(self, "l1_regularization", 0.0)
        check_real(self, "learning_rate", 0.0, above=True)
        check_flag(self, "nonnegative")
        check_choice(self, "schedule", tuple(SCHEDULES))
        if self.n_blocks is not None:
            check_integer(self, "n_blocks", 1)
        check_flag(self, "early_stopping")
        check_real(self, "validation_fraction", 0.0, 1.0, above=True)
        check_integer(self, "n_iter_no_change", 1)
        check_choice(self, "unstored", ("missing", "zero"))
        check_integer(self, "max_iter", 1)
        check_real(self, "tol", 0.0)
        check_integer(self, "verbose", 0)
        get_backend(self.backend, 1).close()
        effective_threads(self.n_jobs)

    def _fit_entries(self, entries: Entries, max_iter: int) -> None:
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        held_out = None
        if self.early_stopping and max_iter > 1:
            if len(entries) < 2:
                raise ValueError(
                    f"Early stopping with validation_fraction={self.validation_fraction} leaves "
                    f"no entries on one side of {len(entries)}. Fit without early_stopping."
                )
            hidden = drawn_cells(entries, self.validation_fraction, seed)
            entries, held_out = entries[~hidden], entries[hidden]
            held_out.to_csr()  # refuses duplicates, as the solver does among the others

        n_rows, n_columns = entries.matrix_shape
        sides = [(entries.row, n_rows), (entries.col, n_columns)]
        with get_backend(self.backend, min(2, effective_threads(self.n_jobs))) as backend:
            counted = backend.map(_count_side, sides, entries.value)
        (row_counts, row_sums), (column_counts, column_sums) = counted
        baseline = row_sums.sum() / len(entries)
        scale = _unit(entries.value, baseline)
        k, dtype = self.n_components, entries.value.dtype
        start = Start(
            _random_factors(row_counts, k, dtype, scale, (seed, 11)),
            _random_factors(column_counts, k, dtype, scale, (seed, 12)),
            np.ones((n_rows, 2), dtype),
            np.ones((n_columns, 2), dtype),
        )
        cells = Cells(entries.row, entries.col, entries.value, row_counts, column_counts)
        solution = self._solve(cells, start, scale, seed, max_iter, held_out=held_out)

        self._seed = seed
        self.scale_, self.baseline_ = scale, float(baseline)
        self._row_counts, self._row_sums = row_counts, row_sums
        self._column_counts, self._column_sums = column_counts, column_sums
        self.row_ids_, self.col_ids_ = entries.row_ids, entries.col_ids
        self._set_factors(
            solution.row_factors,
            solution.column_factors,
            solution.row_accumulators,
            solution.column_accumulators,
        )
        self.loss_curve_ = solution.loss_curve
        self.validation_curve_ = solution.validation_curve
        self.n_iter_, self.best_iter_ = solution.n_iter, solution.best_iter

    def _set_factors(
        self, row_factors: Floats, column_factors: Floats, row_steps: Floats, column_steps: Floats
    ) -> None:
        self.row_factors_, self.components_ = row_factors, column_factors.T
        self._row_accumulators, self._column_accumulators = row_steps, column_steps
        self._n_features_out = self.components_.shape[0]

    def _solve(
        self,
        cells: Cells,
        start: Start,
        scale: float,
        seed: int,
        max_iter: int,
        *,
        first_epoch: int = 0,
        held_out: Entries | None = None,
    ) -> Solution:
        """Solve in units of c = ``scale``, where a = c a′ and p = √c p′.

        A loss with L(c u, c a) = c^d L(u, a) makes that λ′ = c^(1−d) λ and μ′ = c^(½−d) μ, and the
        objective c^d times the scaled one.
        """
        loss = get_loss(self.loss)
        degree = loss.degree if loss.degree is not None else 0.0
        n_bands, n_threads = self._n_bands(cells, is_update=first_epoch > 0)
        solver = BlockSGD(
            loss=loss,
            l2=self.regularization * scale ** (1 - degree),
            l1=self.l1_regularization * scale ** (0.5 - degree),
            nonnegative=self.nonnegative,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            n_bands=n_bands,
            max_iter=max_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            slow_first=first_epoch == 0 and max_iter > 1,
            first_epoch=first_epoch,
            seed=seed,
            value_unit=scale,
            objective_unit=scale**degree,
            report=self._report,
        )
        validation = None
        if held_out is not None:
            none = np.zeros(0, np.int64)
            validation = Cells(held_out.row, held_out.col, held_out.value, none, none)
        with get_backend(self.backend, n_threads) as backend:
            solution = solver.solve(cells, start, backend, validation)
        if self.tol > 0 and max_iter > 1 and not solution.converged:
            warnings.warn(
                f"FPSGFactorizer did not converge in {max_iter} iterations: the objective still "
                f"falls by more than tol={self.tol:g} of itself. Raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return solution

    def _n_bands(self, cells: Cells, is_update: bool) -> tuple[int, int]:
        """Return bands per side, which do not depend on ``n_jobs``, and how many threads to use.

        A batch of an update may have fewer rows than ``n_blocks``, and makes do with fewer bands.
        """
        n_threads = effective_threads(self.n_jobs)
        most = min(cells.row_counts.size, cells.column_counts.size)
        if self.n_blocks is None:
            n_bands = min(most, max(1, round((cells.value.size / ENTRIES_PER_BLOCK) ** 0.5)))
            if self.schedule == "fpsg":
                # Below two bands per thread, and one, a thread has no choice of blocks.
                n_threads = min(n_threads, max(1, (n_bands - 1) // 2))
            return n_bands, min(n_threads, n_bands)
        n_bands = min(int(self.n_blocks), most) if is_update else int(self.n_blocks)
        if n_bands > most:
            raise ValueError(
                f"n_blocks={n_bands} bands need as many rows and columns, but the smaller side of "
                f"the data has {most}. Lower n_blocks, or leave it at None."
            )
        if is_update:
            n_threads = min(n_threads, max(1, (n_bands - 1) // 2))
        if self.schedule == "fpsg" and n_threads > 1:
            if n_bands < n_threads + 1:
                raise ValueError(
                    f"schedule='fpsg' with {n_threads} threads needs n_blocks of at least "
                    f"{n_threads + 1}, or a thread finds no free block; got {n_bands}. Raise "
                    "n_blocks, leave it at None, or lower n_jobs."
                )
            if n_bands < 2 * n_threads + 1:
                warnings.warn(
                    f"n_blocks={n_bands} leaves {n_threads} threads little choice of blocks; "
                    f"{2 * n_threads + 1} or more converge better.",
                    UserWarning,
                    stacklevel=5,
                )
        return n_bands, n_threads

    # -------------------------------------------------------------- updates

    def _update(self, X: Any) -> None:
        """Visit new entries once, from where the known rows and columns stand."""
        n_known = len(self.row_factors_)
        if isinstance(X, Entries):
            row_at, row_ids, n_rows = grown(
                "row", X.matrix_shape[0], X.row_ids, self.row_ids_, n_known
            )
            column_at, col_ids, n_columns = grown(
                "column", X.matrix_shape[1], X.col_ids, self.col_ids_, self.n_features_in_
            )
            dtype = position_dtype((n_rows, n_columns))
            row, col = row_at.astype(dtype)[X.row], column_at.astype(dtype)[X.col]
        else:
            if self.row_ids_ is not None:
                raise ValueError(
                    "The model was fitted on Entries with ids, and a matrix does not say which "
                    "ids its rows have. Pass Entries.from_frame(...) to partial_fit."
                )
            X = read_matrix(self, X, unstored=self.unstored, reset=False)
            row_ids, col_ids = None, self.col_ids_
            n_rows, n_columns = n_known + X.matrix_shape[0], self.n_features_in_
            row, col = X.row + n_known, X.col
        value = X.value.astype(self.components_.dtype, copy=False)

        W = extended(self.row_factors_, n_rows, 0)
        H = extended(self.components_.T, n_columns, 0)
        row_steps = extended(self._row_accumulators, n_rows, 1)
        column_steps = extended(self._column_accumulators, n_columns, 1)
        row_counts, row_sums = count_entries(row, value, n_rows)
        column_counts, column_sums = count_entries(col, value, n_columns)
        old_row_counts = extended(self._row_counts, n_rows, 0)
        old_column_counts = extended(self._column_counts, n_columns, 0)

        if value.size:
            self._start_new(W, H, row, col, value, old_row_counts, old_column_counts)
            # Only rows and columns with entries move: solve for them alone.
            rows, columns = np.flatnonzero(row_counts), np.flatnonzero(column_counts)
            solution = self._solve(
                Cells(
                    _ranks(rows, n_rows)[row],
                    _ranks(columns, n_columns)[col],
                    value,
                    row_counts[rows],
                    column_counts[columns],
                ),
                Start(W[rows], H[columns], row_steps[rows], column_steps[columns]),
                self.scale_,
                self._seed,
                1,
                first_epoch=self.n_iter_,
            )
            W[rows], H[columns] = solution.row_factors, solution.column_factors
            row_steps[rows] = solution.row_accumulators
            column_steps[columns] = solution.column_accumulators
            self.loss_curve_ = [*self.loss_curve_, *solution.loss_curve]
            self.n_iter_ += 1
            self.best_iter_ = self.n_iter_

        self._row_counts = old_row_counts + row_counts
        self._row_sums = extended(self._row_sums, n_rows, 0) + row_sums
        self._column_counts = old_column_counts + column_counts
        self._column_sums = extended(self._column_sums, n_columns, 0) + column_sums
        self.baseline_ = float(self._row_sums.sum() / self._row_counts.sum())
        if n_columns != self.n_features_in_:
            self.n_features_in_ = n_columns
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        self.row_ids_, self.col_ids_ = row_ids, col_ids
        self._set_factors(W, H, row_steps, column_steps)

    def _start_new(
        self,
        W: Floats,
        H: Floats,
        row: npt.NDArray[Any],
        col: npt.NDArray[Any],
        value: Floats,
        row_counts: npt.NDArray[np.int64],
        column_counts: npt.NDArray[np.int64],
    ) -> None:
        """Give rows and columns without entries so far factors to start from, in place.

        Rows are folded in on known columns, then columns on known rows; what is left is drawn.
        """
        matrix = Entries._trusted(row, col, value, (len(W), len(H))).to_csr()
        known_column = (column_counts > 0)[matrix.indices]
        for side, other, cells, known, counts, stream in (
            (W, H, matrix, known_column, row_counts, 11),
            (H, W, sp.csr_array(matrix.T), None, column_counts, 12),
        ):
            new = np.flatnonzero((counts == 0) & (np.diff(cells.indptr) > 0))
            if not new.size:
                continue
            if known is not None:
                cells = _kept(cells, known)
            side[new] = self._fold_in(cells[new], other)
            without = new[~side[new].any(axis=1)]
            draw = np.ones(len(side), np.int64)
            seed = (self._seed, stream, self.n_iter_)
            fresh = _random_factors(draw, side.shape[1], side.dtype, self.scale_, seed)
            side[without] = fresh[without]

    # -------------------------------------------------------------- folding in

    def _fold_in(self, matrix: sp.csr_array, column_factors: Floats | None = None) -> Floats:
        """Minimise the objective over unseen rows, each alone; exact for the squared loss."""
        other = self.components_.T if column_factors is None else column_factors
        out = np.zeros((matrix.shape[0], other.shape[1]), other.dtype)
        shared = (self, matrix, np.ascontiguousarray(other), out)
        runs = [
            (start, min(start + ROWS_PER_TASK, len(out)))
            for start in range(0, len(out), ROWS_PER_TASK)
        ]
        n_threads = min(effective_threads(self.n_jobs), max(1, len(runs)))
        with get_backend(self.backend, n_threads) as backend:
            backend.map(_fold_in_run, runs, shared)
        return out


def _count_side(side: Any, values: Floats) -> Any:
    return count_entries(side[0], values, side[1])


def _fold_in_run(run: tuple[int, int], shared: Any) -> None:
    model, matrix, other, out = shared
    cells = map(read_only, (matrix.indptr, matrix.indices, matrix.data, other))
    if model.l1_regularization > 0 or model.nonnegative:
        solve_rows_proximal(
            *cells, float(model.regularization), float(model.l1_regularization),
            bool(model.nonnegative), 1000, 1e-10, *run, out,
        )  # fmt: skip
    else:
        solve_rows(*cells, float(model.regularization), *run, out)


def _unit(values: Floats, mean: float) -> float:
    """Return the standard deviation; of constant data the root mean square, or 1 if that is 0."""
    deviation = float(np.sqrt(sum_squared_deviations(read_only(values), mean) / values.size))
    rms = float(np.hypot(mean, deviation))
    unit = deviation if deviation > 1e-4 * rms else rms
    # Rounded, so that it does not depend on the order in which values were summed.
    return float(np.float32(unit)) or 1.0


def _random_factors(
    counts: npt.NDArray[np.int64], k: int, dtype: Any, scale: float, seed: tuple[int, ...]
) -> Floats:
    """Draw from [0, √(scale/k)) in order of id, so that the start does not depend on the grid."""
    factors = np.random.default_rng(seed).random((counts.size, k), dtype=dtype)
    factors *= dtype.type((scale / k) ** 0.5)
    factors[counts == 0] = 0
    return factors


def _ranks(ids: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int32]:
    """Map each of ``ids`` to its place among them."""
    ranks = np.zeros(n, np.int32)
    ranks[ids] = np.arange(ids.size)
    return ranks


def _kept(matrix: sp.csr_array, keep: npt.NDArray[np.bool_]) -> sp.csr_array:
    """Return the matrix with some of its stored entries only."""
    indptr = np.concatenate([[0], np.cumsum(keep)])[matrix.indptr].astype(matrix.indptr.dtype)
    return sp.csr_array((matrix.data[keep], matrix.indices[keep], indptr), shape=matrix.shape)

"""Matrix factorization for implicit feedback: clicks, plays, purchases."""

from __future__ import annotations

import warnings
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._factorizer import Factorizer, Floats, count_entries, stays_on_cluster
from ._held_out import hidden_cells
from ._implicit_cluster import fit_on_cluster
from ._implicit_updates import updated
from ._interactions import Growing, History, canonical, csr_of, read_interactions
from ._observations import finite, quiet_arithmetic, unchanged_on_error
from ._parameters import check_choice, check_integer, check_real
from ._ranking import best_columns
from .backends import effective_threads, get_backend
from .entries import Entries
from .metrics import ndcg_at_k
from .solvers.implicit import (
    ImplicitALSSolver,
    Model,
    Side,
    SingularRowError,
    Solution,
    in_basis,
    singular,
    solve_side,
)

__all__ = ["ImplicitALS"]

SOLVERS = ("auto", "cholesky", "cg", "subspace")


class ImplicitALS(Factorizer):
    r"""Matrix factorization for implicit feedback, by alternating least squares over all cells.

    A stored value v > 0 (how often, how long) says that a row prefers a column, more surely the
    larger it is; v < 0 says that it does not.  A cell that is not stored, or a stored zero, is a
    preference of 0 with a small weight.  The objective is

    .. math::

        \sum_{\text{all } (u, i)} c_{ui} (p_{ui} - w_u \cdot h_i)^2
        + \sum_u \lambda_u \|w_u\|^2 + \sum_i \lambda_i \|h_i\|^2

    where :math:`c_{ui} = w_0 + \alpha |v_{ui}|`, :math:`p_{ui} = 1` if :math:`v_{ui} > 0` else 0,
    and :math:`\lambda_u = \lambda\, (n_u + w_0 n_{\text{columns}})^e` for a row with
    :math:`n_u` stored cells, likewise for columns.  With e = 0 all λ are equal.

    Parameters
    ----------
    n_components : int, default=64
        Number of factors k.
    alpha : float, default=1.0
        α ≥ 0, weight per unit of a stored value.
    unobserved_weight : float, default=1.0
        w₀ ≥ 0, weight of every cell.  With 0 and no negative values nothing speaks against
        predicting 1 everywhere.
    regularization : float, default=0.01
        λ ≥ 0.
    regularization_exponent : float, default=0.0
        e ≥ 0.  With 1, λ is multiplied by about the number of cells: a value that suits e = 0 can
        drive all factors to zero, so choose a far smaller one.
    solver : {"auto", "cholesky", "cg", "subspace"}, default="auto"
        How a half of an iteration is solved.  "cholesky": exactly.  "cg": by a step of
        preconditioned conjugate gradients, and rows with few cells exactly.  "subspace": some
        coordinates at a time (iALS++).  "auto" chooses by ``n_components`` and the mean number of
        stored cells.  The very last half, which gives the row factors, is exact with all of them.
    max_iter : int, default=15
        Number of iterations; each solves for all columns, then for all rows.
    tol : float, default=0.0
        Stop when the objective falls by less than this share of itself; 0 runs all iterations.
    backend : {"numba-threads", "spark"} or SparkBackend, default="numba-threads"
        Where rows are solved.
    n_jobs : int, default=None
        Number of threads; ``None`` means 1, -1 all processors.  Results do not depend on it.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed of the start: of a random sketch of the singular vectors of the data, or of random row
        factors where the data have fewer than 6 k rows or columns.
    verbose : int, default=0
        Print a line after every iteration if positive.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Column factors, in order of falling length.  float32 for float32 data, else float64.
    row_factors_ : ndarray of shape (n_rows, n_components)
        Row factors.  A row without positive cells has zeros.
    loss_curve_ : list of float
        The objective after each iteration.
    history_ : dict of list
        Of the last ``fit``, for each iteration: its number ``"iteration"``, ``"seconds"`` since the
        fit began, and the ``"objective"``.
    n_iter_ : int
        Number of iterations run.
    solver_ : tuple of str
        The solver of rows and that of columns.
    row_ids_, col_ids_ : ndarray or None
        Ids of rows and columns if fitted on ``Entries`` that have them.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if they are strings.

    See Also
    --------
    skglrm.conversions : Parameters of other libraries in terms of these.

    Notes
    -----
    Values of one cell that is given twice are added up, and NaN counts as not stored.  The model
    keeps the cells it was fitted on, for ``explain`` and to leave them out in ``score``.

    References
    ----------
    Y. Hu, Y. Koren and C. Volinsky, "Collaborative filtering for implicit feedback datasets",
    ICDM 2008.

    G. Takács, I. Pilászy and D. Tikk, "Applications of the conjugate gradient method for implicit
    feedback collaborative filtering", RecSys 2011.

    S. Rendle, W. Krichene, L. Zhang and Y. Koren, "iALS++: Speeding up matrix factorization with
    subspace optimization", 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm import ImplicitALS
    >>> clicks = np.array([[1, 2, 0, 0], [3, 1, 1, 0], [0, 0, 1, 4], [0, 0, 0, 1]])
    >>> model = ImplicitALS(2, random_state=0).fit(clicks)
    >>> model.recommend(clicks, n=1, return_scores=False).ravel()
    array([2, 3, 0, 2])
    """

    unstored = "missing"

    def __init__(
        self,
        n_components=64,
        *,
        alpha=1.0,
        unobserved_weight=1.0,
        regularization=0.01,
        regularization_exponent=0.0,
        solver="auto",
        max_iter=15,
        tol=0.0,
        backend="numba-threads",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.alpha = alpha
        self.unobserved_weight = unobserved_weight
        self.regularization = regularization
        self.regularization_exponent = regularization_exponent
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.backend = backend
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_memory", None)  # row and column factors again, with spare memory behind them
        return state

    # -------------------------------------------------------------- fitting

    def fit(self, X: Any, y: Any = None) -> ImplicitALS:
        """Factor the interactions in ``X``.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Strengths of interactions; zero, NaN or not stored where there was none.
        y : ignored
            Present by convention.

        Returns
        -------
        ImplicitALS
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are unusable, or the factors of a row are not determined,
            which ``regularization`` > 0 prevents; the message says what to do.
        """
        self._check_parameters()
        with self._watched(X), unchanged_on_error(self):
            if stays_on_cluster(self, X):
                self._warn(fit_on_cluster(self, X))
                return self
            entries = read_interactions(self, X, reset=True)
            if not self.unobserved_weight and not (entries.value < 0).any():
                warnings.warn(
                    "unobserved_weight=0 and no negative values: nothing speaks against predicting "
                    "1 for every cell. Pass unobserved_weight > 0.",
                    UserWarning,
                    stacklevel=2,
                )
            self._fit_entries(entries)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Floats:
        """Fit, and return the row factors.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            As for :meth:`fit`.
        y : ignored
            Present by convention.

        Returns
        -------
        ndarray of shape (n_rows, n_components)
            ``row_factors_``, which are what :meth:`transform` returns for ``X``.

        Raises
        ------
        ValueError
            As :meth:`fit`.
        """
        return self.fit(X).row_factors_.copy()

    def partial_fit(self, X: Any, y: Any = None) -> ImplicitALS:
        """Add rows and columns, and solve for rows whose history has changed.

        The first call is a ``fit``.  After it, all that is solved for is solved exactly, given the
        factors of the other side; all other factors stay.  The cost does not depend on how much the
        model holds.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            A matrix holds new rows, which are appended.  ``Entries`` hold the *full* history of
            every row with an entry in a known column, be the row known or new, and the full history
            of every new column.  A known row that has entries in new columns only keeps its factors
            and its other cells.  Known columns keep their factors.
        y : ignored
            Present by convention.

        Returns
        -------
        ImplicitALS
            The updated estimator; a call that fails leaves it as it was.

        Raises
        ------
        ValueError
            If a parameter or the data are unusable, or new positions leave a gap behind the known
            ones; the message says what to do.
        """
        self._check_parameters()
        if not hasattr(self, "components_"):
            return self.fit(X)
        with unchanged_on_error(self):
            updated(self, X)
        return self

    def _check_parameters(self) -> None:
        check_integer(self, "n_components", 1)
        check_real(self, "alpha", 0.0)
        check_real(self, "unobserved_weight", 0.0)
        if not self.alpha and not self.unobserved_weight:
            raise ValueError(
                "alpha and unobserved_weight are both 0: no cell has a weight. Pass alpha > 0."
            )
        check_real(self, "regularization", 0.0)
        check_real(self, "regularization_exponent", 0.0)
        check_choice(self, "solver", SOLVERS)
        check_integer(self, "max_iter", 1)
        check_real(self, "tol", 0.0)
        check_integer(self, "verbose", 0)
        get_backend(self.backend, 1).close()
        effective_threads(self.n_jobs)

    def _model(self) -> Model:
        return Model(
            float(self.alpha),
            float(self.unobserved_weight),
            float(self.regularization),
            float(self.regularization_exponent),
        )

    def _fit_entries(self, entries: Entries, watch: Any = None) -> None:
        """Fit, telling ``watch`` or else who watches this estimator."""
        matrix, k = csr_of(entries), int(self.n_components)
        rows, columns = (Growing.empty(n, k, dtype=matrix.dtype) for n in matrix.shape)

        def report(iteration: int, objective: float, so_far: Solution) -> bool:
            def fitted() -> dict[str, Any]:
                X, Y = map(Growing.copy_of, (so_far.row_factors, so_far.column_factors))
                model = copy(self)
                model._keep(so_far, X, Y, matrix, entries)
                return dict(vars(model))

            return (watch or self._report)(iteration, objective, fitted=fitted)

        solver = ImplicitALSSolver(
            self._model(), self.solver, int(self.max_iter), float(self.tol), report
        )
        with get_backend(self.backend, effective_threads(self.n_jobs)) as backend:
            solution = solver.solve(matrix, rows.array, columns.array, backend, self._seed())
        for part in (solution.row_factors, solution.column_factors, solution.loss_curve):
            finite(part)
        self._keep(solution, rows, columns, matrix, entries)
        self._warn(solution.converged)

    def _keep(
        self, solution: Solution, rows: Growing, columns: Growing, matrix: Any, entries: Entries
    ) -> None:
        """Set the attributes that follow from factors and the entries that they were fitted to."""
        self.loss_curve_, self.solver_ = list(solution.loss_curve), solution.solvers
        self.n_iter_ = len(solution.loss_curve)
        self._history = History(matrix)
        self._row_counts, self._row_sums = count_entries(
            entries.row, entries.value, len(rows.array)
        )
        self._column_counts, self._column_sums = count_entries(
            entries.col, entries.value, len(columns.array)
        )
        self.row_ids_, self.col_ids_ = entries.row_ids, entries.col_ids
        self._column_gram, self._row_gram = np.diag(solution.spectrum), None
        self._spectrum, self._rotation = solution.spectrum, None
        self._set_factors(rows, columns)

    def _seed(self) -> int:
        if isinstance(self.random_state, np.random.Generator):
            return int(self.random_state.integers(np.iinfo(np.int32).max))
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _set_factors(self, rows: Growing, columns: Growing) -> None:
        self._memory = rows, columns
        self.row_factors_, self.components_ = rows.array, columns.array.T
        self._n_features_out = self.components_.shape[0]
        self.baseline_ = 0.0

    def _warn(self, converged: bool) -> None:
        if self.tol > 0 and not converged:
            warnings.warn(
                f"ImplicitALS did not converge in {self.max_iter} iterations: the objective still "
                f"falls by more than tol={self.tol:g} of itself. Raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=4,
            )
        longest = [
            float(np.sqrt(np.einsum("ij,ij->i", side, side).max(initial=0)))
            for side in (self.row_factors_, self.components_.T)
        ]
        if longest[0] * longest[1] < 1e-6 and (self._history.value.array > 0).any():
            warnings.warn(
                f"All predictions are zero: regularization={self.regularization:g} is too strong "
                f"with regularization_exponent={self.regularization_exponent:g}. Lower it.",
                UserWarning,
                stacklevel=4,
            )

    def _fold_in(self, matrix: sp.csr_array) -> Floats:
        return self._solve_exactly(
            "row", matrix, self.components_.T, self._spectrum, self._rotation
        )

    @quiet_arithmetic()
    def _solve_exactly(
        self,
        name: str,
        matrix: sp.csr_array,
        other: Floats,
        spectrum: Any,
        rotation: Any,
        n_other: int | None = None,
    ) -> Floats:
        """Minimise the objective over rows, each alone, with the factors ``other`` of columns.

        There are ``n_other`` columns, if ``other`` holds but some of them.
        """
        n_other, dtype = n_other or len(other), other.dtype
        if rotation is not None:
            used, at = np.unique(matrix.indices, return_inverse=True)
            other = in_basis(other[used], rotation)
            matrix = sp.csr_array((matrix.data, at, matrix.indptr), (matrix.shape[0], len(used)))
        side = Side.of(matrix.astype(dtype, copy=False), self._model(), n_other)
        out = np.zeros((matrix.shape[0], other.shape[1]), dtype)
        with get_backend(self.backend, effective_threads(self.n_jobs)) as backend:
            try:
                solve_side(side, out, other, spectrum, self._model(), "exact", backend)
            except SingularRowError as error:
                raise ValueError(singular(name, error.row)) from None
        found: Floats = out if rotation is None else in_basis(out, np.ascontiguousarray(rotation.T))
        return finite(found)

    def _read(self, X: Any) -> Entries:
        return read_interactions(self, X, reset=False)

    def _offsets(self, counts: Any, sums: Any) -> tuple[Any, Any]:
        """Return zeros: what is not known is predicted as what has not happened."""
        return np.zeros(len(counts)), np.ones(len(counts), bool)

    # -------------------------------------------------------------- serving

    def recommend(
        self,
        X: Any,
        *,
        n: int = 10,
        exclude_seen: bool = True,
        items: npt.ArrayLike | None = None,
        return_scores: bool = True,
        return_names: bool = False,
    ) -> Any:
        """Return the columns with the highest predicted preferences for each row.

        A row that nothing positive is known of, or whose factors are zero, gets the most popular
        columns: those with the largest sums of values, which are then the scores.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            The interactions of each row.  Rows of a matrix are folded in as in :meth:`transform`;
            rows of ``Entries`` are looked up in the fitted matrix, by id if there are ids, and the
            entries say which of their cells have been seen.
        n : int, default=10
            Number of columns per row.
        exclude_seen : bool, default=True
            Leave out the cells that have a value other than zero in ``X``.
        items : array-like of int, default=None
            Columns that may be returned; ``None`` means all.
        return_scores : bool, default=True
            Return the predicted preferences as well.
        return_names : bool, default=False
            Return the ids of columns, or the names of features, in place of positions.

        Returns
        -------
        items : ndarray of int64, or of names, shape (n_rows, n)
            Columns, best first; -1 where fewer than n remain.  Names are objects, and None where
            fewer remain; dates are dates, and NaT.
        scores : ndarray of shape (n_rows, n)
            Their scores; -inf where fewer than n remain.  Only with ``return_scores``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``n`` is not a positive integer, ``items`` are no columns of the fitted matrix, or
            its columns have no names.
        """
        check_is_fitted(self)
        if isinstance(X, Entries):
            X = canonical(X)
        return super().recommend(
            X, n=n, exclude_seen=exclude_seen, items=items, return_scores=return_scores,
            return_names=return_names,
        )  # fmt: skip

    @quiet_arithmetic()
    def _ranking_factors(self, W: Floats, counts: Any, sums: Any) -> tuple[Floats, Floats]:
        """Factors with one more coordinate, of popularity, for rows that have no direction."""
        H, cold = self.components_.T, ~W.any(axis=1)
        if not cold.any():
            return W, H
        return np.column_stack([W, cold]).astype(W.dtype), np.column_stack(
            [H, self._column_sums]
        ).astype(W.dtype)

    def explain(self, X: Any, item: int, *, n: int | None = None) -> tuple[Any, Any]:
        r"""Say which interactions of a row a predicted preference comes from.

        With A and b of the least squares problem of the row, the prediction for column i is
        :math:`h_i^\top A^{-1} b = \sum_j t_j\, h_i^\top A^{-1} h_j` over the positive cells j,
        whose weights are :math:`t_j = w_0 + \alpha v_j`.

        Parameters
        ----------
        X : int, or array-like, sparse or Entries of shape (1, n_features)
            A row of the fitted matrix by position, or the interactions of one row.
        item : int
            The column to explain.
        n : int, default=None
            Return only so many contributions; ``None`` means all.

        Returns
        -------
        items : ndarray of int64
            Columns that the row has positive cells in, the largest contribution first.
        contributions : ndarray of float64
            They add up to the prediction if the row is folded in; without ``n``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the row or column is not in the fitted matrix, or ``X`` has several rows.
        """
        check_is_fitted(self)
        i = int(self._check_items(item)[0])
        columns, values = self._cells_of_one(X)
        model, H = self._model(), self.components_.T[columns].astype(np.float64)
        ridge = model.ridge(np.array([len(columns)]), self.n_features_in_)[0]
        A = model.unobserved_weight * self._column_gram + ridge * np.eye(H.shape[1])
        weights = model.alpha * np.abs(values.astype(np.float64))
        A += (H * weights[:, None]).T @ H
        positive = values > 0
        direction = np.linalg.lstsq(A, self.components_[:, i].astype(np.float64))[0]
        parts = (model.unobserved_weight + weights[positive]) * (H[positive] @ direction)
        order = np.argsort(-parts, kind="stable")[:n]
        return columns[positive][order].astype(np.int64), parts[order]

    def _cells_of_one(self, X: Any) -> tuple[Any, Any]:
        if isinstance(X, int | np.integer) and not isinstance(X, bool):
            n_rows = len(self.row_factors_)
            if not 0 <= X < n_rows:
                raise ValueError(f"X must be a row from 0 to {n_rows - 1}; got {X}.")
            row = self._history.rows(np.array([X]), self.n_features_in_)
            return row.indices, row.data
        entries = self._read(X)
        if entries.matrix_shape[0] != 1:
            raise ValueError(
                f"explain takes one row; X has {entries.matrix_shape[0]}. Pass X[[i]], or the "
                "position of a fitted row."
            )
        return entries.col, entries.value

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean NDCG@10 of cells that were not fitted on.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Of a matrix, a fixed fifth of each row's cells is hidden, the row folded in on the
            others, and the hidden positive cells are to be found among the columns that are not
            seen.  ``Entries`` are looked for with the fitted row factors as they are, among the
            columns that the row was not fitted on, so pass cells that were held out.
        y : ignored
            Present by convention.

        Returns
        -------
        float
            Between 0 and 1; the mean over rows with positive cells to find.  NaN, with a warning,
            if there are none.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the columns are not those of the fitted matrix.
        """
        check_is_fitted(self)
        if stays_on_cluster(self, X):
            from ._cluster import score_of_rows

            if not self._knows_cells:
                raise ValueError(
                    "The model was fitted on cells that stayed on Spark, and does not know which "
                    "to leave out. Call skglrm.spark.score(model, X, seen=...)."
                )
            return self._mean_score(score_of_rows(self, X))
        if isinstance(X, Entries):
            row_at, hidden = self._aligned(canonical(X))
            W = np.where(row_at[:, None] < 0, 0, self.row_factors_[row_at])
            seen = self._history.rows(row_at, self.n_features_in_)
        else:
            entries = self._read(X)
            is_hidden = hidden_cells(entries)
            hidden, seen = entries[is_hidden], csr_of(entries[~is_hidden])
            W = self._fold_in(seen)
        rows, columns = self._ranking_factors(W, None, None)
        with get_backend(self.backend, effective_threads(self.n_jobs)) as backend:
            best, _ = best_columns(rows, columns, 10, exclude=seen, backend=backend)
        return float(ndcg_at_k(csr_of(hidden), best, k=10, exclude=seen))

    @property
    def _knows_cells(self) -> bool:
        """Whether the model keeps the cells that it was fitted on."""
        return bool(len(self._history.value.array) or not self._row_counts.any())

    def _score_sums(self, X: Entries, seen: Any = None) -> tuple[float, float]:
        """Return the sum of the NDCG@10 of rows that have one, and their number."""
        row_at, hidden = self._aligned(canonical(X))
        asked, row = np.unique(hidden.row, return_inverse=True)
        if not asked.size:
            return 0.0, 0.0
        row_at = row_at[asked]
        hidden = Entries._trusted(row, hidden.col, hidden.value, (asked.size, self.n_features_in_))
        W = np.where(row_at[:, None] < 0, 0, self.row_factors_[row_at])
        known = self._history.rows(row_at, self.n_features_in_) if seen is None else seen[asked]
        rows, columns = self._ranking_factors(W, None, None)
        best, _ = best_columns(rows, columns, 10, exclude=known)
        each = ndcg_at_k(csr_of(hidden), best, k=10, exclude=known, average=None)
        return float(np.nansum(each)), float(np.isfinite(each).sum())

    def _mean_score(self, sums: Any) -> float:
        total, n = sums
        if not n:
            warnings.warn(
                "The score is undefined: no row has a positive cell to find.",
                UndefinedMetricWarning,
                stacklevel=3,
            )
        return float(total / n) if n else float("nan")

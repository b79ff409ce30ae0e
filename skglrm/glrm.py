"""Generalised low rank models: any loss per column, any regularizer on rows and columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._certificate import duality_gap
from ._column_losses import in_units, resolve_losses, resolve_regularizers, with_thresholds
from ._columns import Columns, Null
from ._components import explained_shares, shared_strength
from ._factorizer import Floats, count_entries
from ._glrm_cluster import fit_on_cluster, fits_on_cluster
from ._growth import grow
from ._observations import finite, quiet_arithmetic, read_input, unchanged_on_error
from ._parameters import check_choice, check_flag, check_integer, check_real
from ._path import RegularizationPath, follow_path
from ._table_model import NO_COST, TableModel
from ._tables import Table, as_frame
from ._weights import weighted_cells
from .backends import effective_threads, get_backend
from .entries import Entries
from .losses import get_loss
from .regularizers import get_regularizer
from .solvers.alternating import (
    fold_in,
    rows_are_closed,
    solve_alternating,
    solve_exact,
)
from .solvers.problem import Factors, Fit, Problem
from .solvers.start import INITS, make_start

__all__ = ["GLRM"]

SOLVERS = ("auto", "proximal", "exact", "lbfgs", "sgd")


class GLRM(TableModel):
    r"""Generalised low rank model: a table as a product of two thin factors, cell by cell.

    Every column j has a loss :math:`L_j` of its own: squared errors for numbers, logistic for
    Booleans, one score per level for labels, and so on.  Missing cells are left out.  Over the
    observed cells Ω the objective is

    .. math::

        \sum_{(i,j) \in \Omega} \omega_{ij} \, L_j(x_i \cdot Y_j + b_j, \; a_{ij})
        + \sum_i r(x_i) + \sum_j \tilde r(Y_j)

    with weights ω = 1 unless given, and b = 0 unless ``offset``.  Sums, not means: a strength means
    the same whatever the number of cells.  Unstored cells of a sparse ``X`` are missing, not zero,
    unless ``unstored="zero"``; NaN is always missing.

    Parameters
    ----------
    n_components : int, default=2
        Number of factors k, the offset not counted.
    loss : str, Loss, VectorLoss, list or dict, default="quadratic"
        What cells cost: one loss for all columns, a list with one for each, or a dict by name or
        position of the column, whose other columns are as with ``"auto"``.  A loss is an instance
        from :mod:`skglrm.losses` or a name: those of :func:`skglrm.losses.get_loss`; those of
        losses that take their levels from the data (``"ordinal_hinge"``, ``"bigger_vs_smaller"``,
        ``"cumulative_logit"``, ``"multinomial"``, ``"one_vs_all"``, ...); and ``"auto"``,
        ``"robust"`` or ``"likelihood"``, which choose by the type of each column of a data frame
        (see Notes).
    row_regularizer, column_regularizer : str, Regularizer, list or dict, default="l2"
        What rows and columns of factors cost, or must obey; a list or dict gives one for each.  A
        name takes its strength from ``regularization``, an instance carries its own.
    regularization : float, default=0.1
        Strength ≥ 0 of the regularizers that are given by name.
    offset : bool, default=False
        Give every column a constant b of its own, which is not penalised.
    scale : bool, default=False
        Divide the loss of each column by its generalised variance, the mean loss of its best
        constant, and measure its factors in units of its standard deviation if predictions have
        the unit of the data: columns of any unit and type count alike.  (With more than 64 columns
        these units are rounded to powers of two.)
    init : {"svd", "random", "kmeans++", "nndsvd"} or tuple, default="svd"
        Where to start; a tuple holds ``row_factors`` (n_rows, k), ``components`` (k, d) and, at
        will, ``offset`` (d,).
    solver : {"auto", "proximal", "exact", "lbfgs", "sgd"}, default="auto"
        "proximal": alternating steps on quadratic models of the rows, for any loss.  "exact":
        closed or finished row solves, for quadratic losses.  "lbfgs": all factors at once, for
        smooth losses.  "sgd": samples of rows.  "auto": "exact" if it applies, else "proximal".
    unstored : {"missing", "zero"}, default="missing"
        What unstored cells of a sparse ``X`` are.
    max_iter : int, default=100
        Number of iterations: passes over the rows and the columns.
    tol : float, default=1e-4
        Relative decrease of the objective below which the fit ends; 0 runs all iterations.
    backend : {"numba-threads", "spark"} or SparkBackend, default="numba-threads"
        Where blocks run.
    n_jobs : int, default=None
        Number of threads; ``None`` means 1, -1 all processors.  Results do not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seed of random starts and of ``solver="sgd"``.
    verbose : int, default=0
        Print a line after every iteration if positive.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_predictions)
        Column factors.  A column whose loss has several predictions per cell owns as many
        neighbouring columns.  float32 for float32 data, else float64.
    component_slices_ : list of slice
        The columns of ``components_`` that each column of the data owns.
    row_factors_ : ndarray of shape (n_rows, n_components)
        Row factors.  A row without cells has zeros, or what its regularizer prefers.
    offset_ : ndarray of shape (n_predictions,)
        The constants b; zeros without ``offset``.
    losses_ : list
        The loss of each column, not scaled.
    column_weights_ : ndarray of shape (n_features,)
        What ``scale`` multiplied the losses by; ones without it.
    importance_ : ndarray of shape (n_components,)
        By how much the loss grows if a component is left out, as a share of the loss without any;
        estimated on about 20,000 cells of larger data.
    objective_ : float
        Losses and both regularizers of the fitted model.
    loss_curve_ : list of float
        Objective after each iteration.
    history_ : dict of list
        Of the last ``fit``, for each iteration: its number ``"iteration"``, ``"seconds"`` since the
        fit began, and the ``"objective"``.
    n_iter_ : int
        Number of iterations run.
    row_ids_, col_ids_ : ndarray or None
        Ids of rows and columns if fitted on ``Entries`` that have them.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if they are strings.

    See Also
    --------
    skglrm.presets : PCA, NMF, k-means and others as configurations of this class.
    FPSGFactorizer : Large ratings with squared loss, by block SGD.

    Notes
    -----
    Losses by type of the column of a data frame:

    ===================== ============= ============================= ==================
    column                "auto"        "robust"                      "likelihood"
    ===================== ============= ============================= ==================
    numbers, integers     Quadratic     Huber (of the column's MAD)   Quadratic
    booleans, two labels  Logistic      Logistic                      Logistic
    ordered labels        OrdinalHinge  BiggerVsSmaller               CumulativeLogit
    strings, categories   OneVsAll      OneVsAll                      Multinomial
    ===================== ============= ============================= ==================

    Where both regularizers are ``L2`` or ``Zero``, any rotation of the factors fits as well; the
    one returned has orthogonal components, the heaviest first.

    Columns that are constant or empty, and Booleans of one class, keep their place: their best
    constant is clipped to a finite number, and ``scale`` leaves their weight at 1, with a warning.

    References
    ----------
    M. Udell, C. Horn, R. Zadeh and S. Boyd, "Generalized low rank models", Foundations and Trends
    in Machine Learning 9(1), 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm import GLRM
    >>> X = np.outer([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 1.0])
    >>> X[3, 1] = np.nan
    >>> model = GLRM(1, regularization=1e-3).fit(X)
    >>> model.impute(X)[3].round(1)
    array([4., 8., 4.])
    """

    def __init__(
        self,
        n_components=2,
        *,
        loss="quadratic",
        row_regularizer="l2",
        column_regularizer="l2",
        regularization=0.1,
        offset=False,
        scale=False,
        init="svd",
        solver="auto",
        unstored="missing",
        max_iter=100,
        tol=1e-4,
        backend="numba-threads",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.loss = loss
        self.row_regularizer = row_regularizer
        self.column_regularizer = column_regularizer
        self.regularization = regularization
        self.offset = offset
        self.scale = scale
        self.init = init
        self.solver = solver
        self.unstored = unstored
        self.max_iter = max_iter
        self.tol = tol
        self.backend = backend
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = self._refuses_negatives()
        tags.non_deterministic = False
        return tags

    # -------------------------------------------------------------- fitting

    def fit(self, X: Any, y: Any = None, *, weights: Any = None) -> GLRM:
        """Factor the observed cells of ``X``.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Data; NaN is missing.  A frame may hold labels if ``loss`` has losses for them.
        y : ignored
            Present by convention.
        weights : array-like or sparse, default=None
            Weight ≥ 0 of each cell: of the shape of ``X``, or (n_rows, 1), or (1, n_features); of
            ``Entries``, one per entry.  A cell of weight 0 is missing.

        Returns
        -------
        GLRM
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, the data or the weights are unusable; the message says what to do.
        TypeError
            If a column is of a type that no loss fits.
        """
        self._check_parameters()
        with self._watched(X), unchanged_on_error(self):
            if fits_on_cluster(self, X, weights):
                fit_on_cluster(self, X)
            else:
                self._fit(X, weights)
        return self

    def fit_transform(self, X: Any, y: Any = None, *, weights: Any = None) -> Floats:
        """Fit, and return the factors of the rows.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Data; NaN is missing.
        y : ignored
            Present by convention.
        weights : array-like or sparse, default=None
            Weight of each cell, see :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_rows, n_components)
            ``row_factors_``.
        """
        return self.fit(X, y, weights=weights).row_factors_

    def partial_fit(self, X: Any, y: Any = None) -> GLRM:
        """Update the model by new rows or entries, at a cost that does not depend on the old ones.

        The first call is a ``fit``.  After it new rows are folded in, then the columns are moved to
        fit the new cells.  The cells of before are not kept: they are remembered as a quadratic
        cost of moving, which their number, the factors and the curvature of the losses determine.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            A matrix holds new rows, which are appended.  ``Entries`` hold new cells of known rows
            and columns, matched by id if there are ids, and cells of rows and columns not seen
            before, which are appended; columns can only be added if all have the same loss and
            regularizer.
        y : ignored
            Present by convention.

        Returns
        -------
        GLRM
            The updated estimator; a call that fails leaves it as it was.

        Raises
        ------
        ValueError
            If a parameter or the data are unusable; the message says what to do.
        """
        self._check_parameters()
        with unchanged_on_error(self):
            if hasattr(self, "components_"):
                grow(self, X)
            else:
                self._fit(X, None)
        return self

    def _fit(self, X: Any, weights: Any) -> None:
        self._fit_read(*self._read_training(X, weights))

    def _fit_read(
        self, matrix: sp.csr_array, weights: Floats | None, entries: Entries, table: Table | None
    ) -> None:
        self._describe_columns(matrix, weights, entries, table)
        problem = self._problem(matrix, weights, of_fit=True)
        self._kinks = problem.kinks

        def report(iteration: int, objective: float, factors: Callable[[], Factors]) -> bool:
            def fitted() -> dict[str, Any]:
                model = copy(self)
                model._keep(factors(), matrix)
                model.objective_, model.n_iter_ = objective, iteration
                return dict(vars(model))

            return self._report(iteration, objective, fitted=fitted)

        with self._get_backend() as backend:
            found = self._solve(problem, self._start(problem, backend), backend, report)
        self.loss_curve_ = [*map(float, finite(found.loss_curve))]
        self.objective_, self.n_iter_ = self.loss_curve_[-1], len(self.loss_curve_)
        self._keep(found.factors, matrix)
        self.importance_ = explained_shares(
            self._columns, matrix, self.column_weights_, self.row_factors_, self._H,
            self.offset_,
        )  # fmt: skip

    def _describe_columns(
        self, matrix: sp.csr_array, weights: Floats | None, entries: Entries, table: Table | None
    ) -> None:
        """Find the loss, the domain, the best constant and the weight of every column."""
        names = self._names(entries, table)
        columns = resolve_losses(self.loss, names, table, matrix)
        columns.check(matrix.indices, matrix.data, names)
        null = columns.null_model(matrix, weights)
        self.column_weights_ = self._column_weights(columns, null, matrix, names)
        self._units = columns.units(matrix) if self.scale else np.ones(columns.starts[-1])
        self._columns, self._table, self._null = columns, table, null
        self.row_ids_, self.col_ids_ = entries.row_ids, entries.col_ids

    def _keep(self, factors: Factors, matrix: sp.csr_array) -> None:
        """Set the attributes that follow from factors and the cells that they were fitted to."""
        H = factors.column_factors
        if not all(np.isfinite(part).all() for part in (factors.row_factors, H)):
            raise FloatingPointError(
                f"The fit of {type(self).__name__} diverged: factors are not finite. Scale the "
                "data, raise regularization, or set scale=True."
            )
        self.row_factors_ = factors.row_factors
        self.components_ = H.T
        self.offset_ = np.zeros(len(H), H.dtype) if factors.offset is None else factors.offset
        self.component_slices_ = self._columns.slices
        self.losses_ = list(self._columns.losses)
        self._n_features_out = H.shape[1]
        self._row_counts = np.diff(matrix.indptr).astype(np.int64)
        self._row_sums = np.asarray(matrix.sum(axis=1), np.float64)
        counted = count_entries(matrix.indices, matrix.data, matrix.shape[1])
        self._column_counts, self._column_sums = counted
        self.baseline_ = float(self._row_sums.sum() / max(1, matrix.nnz))

    def _solve(self, problem: Problem, start: Factors, backend: Any, report: Any) -> Fit:
        options = {"max_iter": self.max_iter, "tol": self.tol, "report": report}
        if self.solver == "exact":
            found = solve_exact(problem, start, backend, **options)
        elif self.solver == "lbfgs":
            from .solvers.joint import solve_joint

            found = solve_joint(problem, start, backend, **options)
        elif self.solver == "sgd":
            from .solvers.minibatch import solve_minibatch

            seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
            found = solve_minibatch(problem, start, backend, seed=seed, **options)
        else:
            found = solve_alternating(problem, start, backend, **options)
        if self.tol > 0 and not found.converged:
            warnings.warn(
                f"{type(self).__name__} did not converge in {self.max_iter} iterations: the "
                f"objective still falls by more than tol={self.tol:g} of itself. Raise max_iter or "
                "tol.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return found

    def _start(self, problem: Problem, backend: Any) -> Factors:
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        if isinstance(self.init, str):
            constants = self._null.constants if self.offset else None
            # Where the first pass solves all rows, they may start anywhere.
            closed = self.solver not in ("lbfgs", "sgd") and rows_are_closed(problem)
            return make_start(problem, self.init, seed, backend, constants, not closed)
        W, components, *offset = self.init
        given = Factors(np.asarray(W), np.asarray(components).T, *map(np.asarray, offset))
        _check_start(given, problem)
        return given

    # -------------------------------------------------------------- tools

    def optimality_gap(self, X: Any, *, weights: Any = None) -> float:
        r"""Bound how far the objective is above the least that *any* rank could reach.

        With convex losses and ``L2`` on both sides, the model is a nuclear norm problem, which has
        no local optima; its dual bounds :math:`(P - P^*) / P` from above.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            The data that the model was fitted on.
        weights : array-like or sparse, default=None
            The weights of its cells, as in :meth:`fit`.

        Returns
        -------
        float
            About 0 at the global optimum.  More says that the fit has not converged, or that the
            rank binds: more components would lower the objective.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a loss is not convex, or a regularizer is not ``L2`` with a positive strength.
        """
        check_is_fitted(self)
        strengths = self._strengths()
        entries = self._read(X)
        entries, w = weighted_cells(entries, weights, X)
        matrix = entries.to_csr()
        w = np.ones(matrix.nnz) if w is None else w
        problem = self._problem(matrix, w)
        with self._get_backend() as backend:
            W = fold_in(problem, self._H, self.offset_ if self.offset else None, backend)
        w = w * self.column_weights_[matrix.indices]
        gap, objective = duality_gap(
            self._columns, matrix, w, W, self._H, self.offset_, self._units, strengths,
            bool(self.offset),
        )  # fmt: skip
        return gap / objective if objective > 0 else 0.0

    def regularization_path(
        self,
        X: Any,
        strengths: npt.ArrayLike | None = None,
        *,
        n_strengths: int = 15,
        held_out: float = 0.1,
        random_state: Any = 0,
    ) -> RegularizationPath:
        """Fit from strong to weak regularization, each fit from the factors of the one before.

        The estimator itself is not changed.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Data; NaN is missing.
        strengths : array-like of float, default=None
            Values of ``regularization``; ``None`` takes ``n_strengths`` from the least that makes
            all factors zero down to a thousandth of it, evenly on the logarithmic scale.
        n_strengths : int, default=15
            Number of strengths if none are given.
        held_out : float, default=0.1
            Share of the cells to hold out, on which the fits are judged.
        random_state : int, RandomState instance or None, default=0
            Seed of what is held out.

        Returns
        -------
        RegularizationPath
            Arrays with a value for each strength: objectives, losses, held-out losses, ranks.

        Raises
        ------
        ValueError
            If no regularizer is given by name, so that there is no strength to vary.
        """
        self._check_parameters()
        return follow_path(self, X, strengths, n_strengths, held_out, random_state)

    # -------------------------------------------------------------- reading

    def _read_training(
        self, X: Any, weights: Any
    ) -> tuple[sp.csr_array, Floats | None, Entries, Table | None]:
        """Return the observed cells, their weights, the entries, and types of a frame's columns."""
        frame = as_frame(X)
        table = None if frame is None else Table.of(frame)
        coded = X if frame is None or table is None or table.is_numeric else table.encode(frame)
        entries = read_input(self, coded, unstored=self.unstored, reset=True)
        if self._refuses_negatives() and entries.value.min() < 0:
            raise ValueError(
                f"Negative values in data passed to {type(self).__name__} (input X): the least is "
                f"{entries.value.min():g}, and loss={self.loss!r} needs values of at least 0."
            )
        kept, w = weighted_cells(entries, weights, X)
        return _csr_of(kept, isinstance(X, Entries)), w, kept, table

    def _refuses_negatives(self) -> bool:
        try:
            loss = get_loss(self.loss)
        except (TypeError, ValueError):  # one for each column, or chosen by type
            return False
        return bool(loss.contains(np.array([2.0]))[0] and not loss.contains(np.array([-1.0]))[0])

    # -------------------------------------------------------------- the problem

    def _problem(
        self, matrix: sp.csr_array, weights: Floats | None = None, of_fit: bool = False
    ) -> Problem:
        scaled: dict[Any, Any] = {}
        losses = []
        for loss, weight in zip(self._columns.losses, self.column_weights_.tolist(), strict=True):
            key = (id(loss), weight)
            losses.append(scaled.setdefault(key, loss if weight == 1.0 else weight * loss))
        ids = self.row_ids_ if of_fit else None
        row = self._regularizer("row", matrix.shape[0], ids)
        names = self._names(None, self._table)
        column = self._regularizer("column", matrix.shape[1], names)
        units = self._units[self._columns.starts[:-1]]
        column = in_units(column, units)
        column = with_thresholds(column, self._columns, names, self.offset)
        return Problem.build(
            matrix,
            losses,
            self.n_components if of_fit else len(self.components_),
            weights=weights,
            row_regularizer=row,
            column_regularizer=column,
            offset=self.offset,
            units=units,
            kinks=None if of_fit else self._kinks,
        )

    def _regularizer(self, side: str, n: int | None = None, names: Any = None) -> Any:
        name = f"{side}_regularizer"
        given = getattr(self, name)

        def get(one: Any) -> Any:
            return get_regularizer(one, self.regularization)

        if n is None:
            return [] if isinstance(given, list | tuple | dict) else get(given)
        return resolve_regularizers(name, given, n, names, get)

    def _strengths(self) -> tuple[float, float]:
        """Strengths of L2 on both sides, on which the certificate rests."""
        for j, loss in enumerate(self.losses_):
            if not loss.convex:
                raise ValueError(
                    f"optimality_gap needs convex losses, and column {j} has {loss!r}. There is no "
                    "certificate for it."
                )
        found = []
        for side in ("row", "column"):
            regularizer = self._regularizer(side)
            strength = None if isinstance(regularizer, list) else shared_strength(regularizer)
            if not strength:
                raise ValueError(
                    f"optimality_gap needs L2 with a positive strength on both sides, and "
                    f"{side}_regularizer is {getattr(self, side + '_regularizer')!r} with "
                    f"regularization={self.regularization!r}. There is no certificate for it."
                )
            found.append(strength)
        return found[0], found[1]

    @quiet_arithmetic()
    def _fold_in(self, matrix: sp.csr_array) -> Floats:
        if not matrix.shape[0]:
            return np.zeros((0, len(self.components_)), self.components_.dtype)
        with self._get_backend() as backend:
            offset = self.offset_ if self.offset else None
            W: Floats = fold_in(self._problem(matrix), self._H, offset, backend)
        return finite(W)

    def _get_backend(self) -> Any:
        return get_backend(self.backend, effective_threads(self.n_jobs))

    def _column_weights(
        self, columns: Columns, null: Null, matrix: sp.csr_array, names: Any
    ) -> npt.NDArray[np.float64]:
        weights = np.ones(len(columns.losses))
        if not self.scale and not columns.are_labels.any():
            return weights
        plain = columns.single_valued(matrix)
        odd = np.flatnonzero(plain if self.scale else plain & columns.are_labels)
        if odd.size:
            shown = ", ".join(repr(j if names is None else names[j]) for j in odd[:5].tolist())
            more = ", ..." if odd.size > 5 else ""
            warnings.warn(
                f"{odd.size} of {plain.size} columns hold a single value or none: {shown}{more}. "
                "They keep their place, with a finite best constant"
                + (" and weight 1." if self.scale else "."),
                UserWarning,
                stacklevel=5,
            )
        if self.scale:
            usable = ~plain & (null.costs > NO_COST) & np.isfinite(null.costs)
            weights[usable] = 1.0 / null.costs[usable]
        return weights

    def _check_parameters(self) -> None:
        check_integer(self, "n_components", 1)
        check_real(self, "regularization", 0.0)
        check_flag(self, "offset")
        check_flag(self, "scale")
        if isinstance(self.init, str):
            check_choice(self, "init", INITS)
        elif not isinstance(self.init, tuple | list) or len(self.init) not in (2, 3):
            raise ValueError(
                "The 'init' parameter of GLRM must be one of "
                f"{', '.join(map(repr, INITS))}, or a tuple (row_factors, components) or "
                f"(row_factors, components, offset). Got {self.init!r} instead."
            )
        check_choice(self, "solver", SOLVERS)
        check_choice(self, "unstored", ("missing", "zero"))
        check_integer(self, "max_iter", 1)
        check_real(self, "tol", 0.0)
        check_integer(self, "verbose", 0)
        get_backend(self.backend, 1).close()
        effective_threads(self.n_jobs)


def _csr_of(entries: Entries, by_user: bool) -> sp.csr_array:
    """CSR of entries; those that were read off a matrix are in order, and need no sorting."""
    if by_user:
        return entries.to_csr()
    counts = np.bincount(entries.row, minlength=entries.matrix_shape[0])
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sp.csr_array((entries.value, entries.col, indptr), shape=entries.matrix_shape)


def _check_start(given: Factors, problem: Problem) -> None:
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "row_factors": (given.row_factors, (problem.n_rows, problem.n_components)),
        "components": (given.column_factors.T, (problem.n_components, problem.n_predictions)),
    }
    if given.offset is not None:
        shapes["offset"] = (given.offset, (problem.n_predictions,))
    for name, (array, shape) in shapes.items():
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(
                f"init: {name} must be finite and of shape {shape}; got shape {array.shape}"
                + ("." if array.shape != shape else " with NaN or infinity.")
            )

"""Matrix factorization by parallel block stochastic gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from ._factorizer import DAMPING, Floats, position_of, stays_on_cluster
from ._fpsg_cluster import distinct_values, fits_on_cluster, on_cluster
from ._fpsg_model import FPSGModel, of_ones, with_ones
from ._fpsg_outputs import costs, d2, labels, mean_auc, offsets, responses
from ._fpsg_task import encoded, task_of
from ._fpsg_updates import updated
from ._held_out import hidden_cells
from ._observations import unchanged_on_error
from ._out_of_core import stored
from ._parameters import check_choice, check_flag, check_integer, check_real
from ._weights import weighted_cells
from .backends import effective_threads, get_backend
from .block_file import BlockFile
from .entries import Entries
from .solvers.block_sgd import SCHEDULES

__all__ = ["FPSGFactorizer"]

OUTPUTS = ("response", "score", "label")


class FPSGFactorizer(FPSGModel):
    r"""Matrix factorization by parallel block stochastic gradient descent.

    Unstored cells of a sparse ``X`` are missing, not zero, unless ``unstored="zero"``; NaN is
    always missing.  Over the observed cells Ω the objective is

    .. math::

        \sum_{(i,j) \in \Omega} \omega_{ij} \Big[ L(w_i \cdot h_j, a_{ij})
        + \tfrac{\lambda}{2} \big( \|w_i\|_2^2 + \|h_j\|_2^2 \big)
        + \mu \big( \|w_i\|_1 + \|h_j\|_1 \big) \Big]

    so a row or column is penalised in proportion to its number of entries.  L is half the squared
    error unless ``loss`` says otherwise; all weights ω are 1 unless given.  Entries are cut into a
    grid of blocks; threads visit blocks that share neither rows nor columns, so there are no locks
    and no lost updates.  Learning rates adapt to each row and column.

    Parameters
    ----------
    n_components : int, default=32
        Number of factors k.
    loss : str or Loss, default="squared"
        What an entry costs: an instance from :mod:`skglrm.losses`, one of your own, or

        - of numbers: "squared", "absolute", "huber", "quantile" (the median), "fractional",
          "poisson", and "kl", which needs ``nonnegative``;
        - of Booleans (0 and 1, or -1 and 1): "logistic", "hinge", "squared_hinge";
        - of positives, where a value says only that a row has a column: "bpr_row" ranks the columns
          of every row, those with an entry above others that are drawn (BPR), "bpr_column" the rows
          of every column, and "one_class" is squared errors over the whole matrix, 1 where there is
          an entry and 0 elsewhere, solved exactly.
    regularization : float, default=0.05
        λ ≥ 0, per entry.
    l1_regularization : float, default=0.0
        μ ≥ 0, per entry: sparse factors.
    learning_rate : float, default=0.1
        First step size on data scaled to unit deviation, hence the same for all data.
    nonnegative : bool, default=False
        Keep all factors ≥ 0.
    fit_intercept : bool, default=False
        Predict μ + b_i + c_j + w_i·h_j, where μ is the best constant, and b and c are penalised as
        factors are, measured in √``scale_``.  They are two more components, the first: (b_i, 1) in
        ``row_factors_`` and (1, μ + c_j) in ``components_``.
    unobserved_weight : float, default=0.1
        What a cell without an entry weighs with "one_class", beside 1; more than 0, at most 1.
    schedule : {"fpsg", "rotation", "averaging", "hogwild"}, default="fpsg"
        Which blocks run together.  "fpsg": the free block with the fewest visits; nobody waits, and
        with several threads results vary from run to run.  "rotation": strata of disjoint blocks;
        the same bits for any ``n_jobs``.  "averaging": ``n_blocks`` groups of rows (of columns, if
        these are more), each with a copy of the other side, which becomes the mean of what groups
        make of it; the same bits for any ``n_jobs``, one job an epoch with Spark, and more epochs
        the more groups there are.  "hogwild": no grid and no care; for comparison only.
    n_blocks : int, default=None
        Bands of rows, and of columns, of the grid; at least ``n_jobs`` + 1 for "fpsg", better
        2 ``n_jobs`` + 1.  ``None`` chooses by the number of entries.
    warm_start : bool, default=False
        Go on from the factors and learning rates of the last fit, with data of the same shape; the
        scale of the data, and what early stopping holds out, stay.
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
    backend : {"numba-threads", "spark"} or SparkBackend, default="numba-threads"
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
        Column factors; with ``fit_intercept`` two components more.  float32 for float32 data, else
        float64.
    row_factors_ : ndarray of shape (n_rows, n_components)
        Row factors.  A row without entries has zeros.
    baseline_ : float
        Score that costs least if all entries must share it, such as the mean, or log odds; what is
        predicted where row and column are both unseen.  0 if entries are positives.
    classes_ : ndarray of shape (2,)
        The two values of Booleans; only with losses of these.
    loss_curve_ : list of float
        Objective by iteration, in units of the data: the losses of all entries, each taken just
        before its visit, plus the penalty at the end.
    validation_curve_ : list of float
        Mean loss of the held-out entries by iteration (of rankings, against negatives that are
        drawn once); empty without early stopping.
    history_ : dict of list
        Of the last ``fit``, for each iteration: its number ``"iteration"``, ``"seconds"`` since the
        fit began, and the ``"objective"``;
        with early stopping also the ``"held_out_loss"``.
    n_iter_ : int
        Number of iterations run.
    best_iter_ : int
        The iteration whose factors were kept.
    scale_ : float
        Unit of the scaled problem: the standard deviation of the entries, or 1 if predictions do
        not have the unit of the data.
    row_ids_, col_ids_ : ndarray or None
        Ids of rows and columns if fitted on ``Entries`` that have them.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if they are strings.

    See Also
    --------
    Entries : Observed cells as samples, to split and search over.
    EntryRegressor : This estimator as a regressor on two id columns.

    Notes
    -----
    An interrupt (Ctrl-C) ends a fit at once: the model then holds the factors of the last whole
    iteration, and ``KeyboardInterrupt`` is raised again.

    With several threads and ``schedule="fpsg"``, two fits with the same seed differ slightly: the
    one documented exception to scikit-learn's checks (``check_fit_idempotent``).  Choose
    ``schedule="rotation"`` for reproducible parallel fits.

    References
    ----------
    Y. Zhuang, W.-S. Chin, Y.-C. Juan and C.-J. Lin, "A fast parallel SGD for matrix factorization
    in shared memory systems", RecSys 2013.

    W.-S. Chin, Y. Zhuang, Y.-C. Juan and C.-J. Lin, "A learning-rate schedule for stochastic
    gradient methods to matrix factorization", PAKDD 2015.

    S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme, "BPR: Bayesian personalized
    ranking from implicit feedback", UAI 2009.

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
        fit_intercept=False,
        unobserved_weight=0.1,
        schedule="fpsg",
        n_blocks=None,
        warm_start=False,
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
        self.fit_intercept = fit_intercept
        self.unobserved_weight = unobserved_weight
        self.schedule = schedule
        self.n_blocks = n_blocks
        self.warm_start = warm_start
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
        in_order = self.schedule in ("rotation", "averaging")
        tags.non_deterministic = not in_order and self.n_jobs not in (None, 1)
        tags.input_tags.positive_only = self.loss in ("kl", "bpr_row", "bpr_column", "one_class")
        return tags

    # -------------------------------------------------------------- fitting

    def fit(self, X: Any, y: Any = None, *, weights: Any = None) -> FPSGFactorizer:
        """Factor the observed cells of ``X``.

        Parameters
        ----------
        X : array-like, sparse, data frame, Entries or BlockFile of shape (n_rows, n_features)
            Data; NaN is missing.  A ``BlockFile`` is read block by block, in memory for the factors
            and the blocks in hand.
        y : ignored
            Present by convention.
        weights : array-like or sparse, default=None
            Weight ≥ 0 of each cell, of its loss and penalty: of the shape of ``X``, or (n_rows, 1),
            or (1, n_features); of ``Entries``, one per entry.  A cell of weight 0 is missing.

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
        with self._watched(X):
            with unchanged_on_error(self):
                if isinstance(X, BlockFile):
                    with stored(self, X, weights) as file:
                        interrupted = self._fit_entries(file, None, self.max_iter)
                elif fits_on_cluster(self, X, weights):
                    with on_cluster(self, X) as cells:
                        interrupted = self._fit_entries(cells, None, self.max_iter)
                else:
                    entries, w = weighted_cells(self._input(X, reset=True), weights, X)
                    interrupted = self._fit_entries(*self._encoded(entries, w), self.max_iter)
            if interrupted:
                raise KeyboardInterrupt
        return self

    def fit_transform(self, X: Any, y: Any = None, *, weights: Any = None) -> Floats:
        """Fit, and fold the rows in.

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
            What :meth:`transform` returns for ``X``.
        """
        return self.fit(X, weights=weights).transform(X)

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
                entries, _ = self._encoded(self._input(X, reset=True), None)
                self._fit_entries(entries, None, 1)
            elif self._task.kind == "whole":
                entries, _ = encoded(self._task, self._input(X, reset=False))
                is_matrix = not isinstance(X, Entries)
                ones = with_ones(entries.to_csr()) if is_matrix else of_ones(entries)
                self._take_exact(self._exact.partial_fit(ones))
            else:
                updated(self, X)
        return self

    # -------------------------------------------------------------- predicting

    def predict_entries(
        self, rows: npt.ArrayLike, cols: npt.ArrayLike, *, output: str = "response"
    ) -> Floats:
        """Predict single cells of the fitted matrix.

        Parameters
        ----------
        rows, cols : array-like of int, shape (n_cells,)
            Positions of the cells.  A position that is negative or beyond the fitted matrix, or
            whose row or column had no entry, counts as unseen.
        output : {"response", "score", "label"}, default="response"
            "score": the inner product of the factors.  "response": what it says of the value; the
            probability of true with ``loss="logistic"``, the expected count with "poisson".
            "label": the likelier of ``classes_``, with losses of Booleans.

        Returns
        -------
        ndarray of shape (n_cells,)
            Predictions, never NaN: where one side is unseen, the baseline plus the damped offset of
            the other; where both are, the baseline.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the positions are not integers.
        ValueError
            If the two arrays are not one-dimensional and of equal length, or ``output`` is unknown
            or not to be had with this loss.
        """
        scores = super().predict_entries(rows, cols)
        if output not in OUTPUTS:
            raise ValueError(
                f"output must be one of {', '.join(map(repr, OUTPUTS))}. Got {output!r} instead."
            )
        if output == "label":
            return labels(self._task, scores, getattr(self, "classes_", None))
        return scores if output == "score" else responses(self._task, scores)

    def inverse_transform(self, W: npt.ArrayLike) -> Floats:
        """Predict all cells of rows with given factors.

        Parameters
        ----------
        W : array-like of shape (n_rows, n_components)
            Factors, for instance from :meth:`transform`.

        Returns
        -------
        ndarray of shape (n_rows, n_features)
            Predicted values; probabilities with ``loss="logistic"``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``W`` has another number of columns than ``n_components``.
        """
        scores = super().inverse_transform(W)
        return responses(self._task, scores)

    def score(self, X: Any, y: Any = None) -> float:
        """Return how well cells are predicted that were not fitted on.

        Losses of numbers and Booleans are scored by D² = 1 − loss / loss of the best constant;
        "bpr_row", "bpr_column" and "one_class" by the AUC of the cells among those that have no
        entry, the mean over rows (with "bpr_column" over columns).

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
            At most 1; of D², 0 is as good as a constant, of AUC ½ as chance.  NaN, with a warning,
            if there is no cell to score.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the columns are not those of the fitted matrix.
        """
        check_is_fitted(self)
        if stays_on_cluster(self, X) and not self._task.of_positives:
            from ._cluster import score_of_rows

            values, counts = distinct_values(self._task, X.cells)
            if self._task.kind == "booleans":
                values = (values > 0).astype(np.float64)
            constant = float(self._task.loss.best_constant(values, counts))
            return d2(*score_of_rows(self, X, constant))
        if isinstance(X, Entries):
            X, _ = encoded(self._task, X)
            row_at = position_of(
                X.matrix_shape[0], X.row_ids, self.row_ids_, len(self.row_factors_)
            )
            column_at = position_of(
                X.matrix_shape[1], X.col_ids, self.col_ids_, self.n_features_in_
            )
            row, col = row_at[X.row], column_at[X.col]
            if self._task.of_positives:
                known = (row >= 0) & (col >= 0)
                shape = len(self.row_factors_), self.n_features_in_
                hidden = Entries._trusted(row[known], col[known], X.value[known], shape)
                return self._auc(self.row_factors_, hidden, self._seen())
            predicted = self.predict_entries(row, col, output="score")
            return self._d2(X.value, predicted)
        entries = self._read(X)
        mask = hidden_cells(entries)
        seen, hidden = entries[~mask].to_csr(), entries[mask]
        W = self._fold_in(seen)
        if self._task.of_positives:
            return self._auc(W, hidden, seen)
        predicted = np.einsum("ij,ij->i", W[hidden.row], self.components_.T[hidden.col])
        return self._d2(hidden.value, predicted)

    def _score_sums(self, X: Entries, constant: float) -> tuple[float, float, float]:
        """Return the number of entries, their losses, and those of a constant."""
        X, _ = encoded(self._task, X)
        predicted = self.predict_entries(X.row, X.col, output="score")
        return costs(self._task, X.value, predicted, constant)

    def _d2(self, observed: Floats, predicted: Floats) -> float:
        if not observed.size:
            return d2(0, 0.0, 0.0)
        constant = float(self._task.loss.best_constant(observed.astype(np.float64)))
        return d2(*costs(self._task, observed, predicted, constant))

    def _auc(self, W: Floats, hidden: Entries, seen: sp.csr_array) -> float:
        relevant, H = hidden.to_csr(), self.components_.T
        if self._task.by_column:
            return mean_auc(H, W, sp.csr_array(relevant.T), sp.csr_array(seen.T))
        return mean_auc(W, H, relevant, seen)

    def _offsets(self, counts: Any, sums: Any) -> tuple[npt.NDArray[np.float64], Any]:
        mean = float(self._row_sums.sum() / max(self._row_counts.sum(), 1e-300))
        return offsets(self._task, self.baseline_, counts, sums, DAMPING, mean), counts > 0

    def _similar(self, side: str, factors: Floats, *args: Any) -> Any:
        return super()._similar(side, factors[:, 2 * self._has_intercepts :], *args)

    def _check_parameters(self) -> None:
        check_integer(self, "n_components", 1)
        check_real(self, "regularization", 0.0)
        check_real(self, "l1_regularization", 0.0)
        check_real(self, "learning_rate", 0.0, above=True)
        check_flag(self, "nonnegative")
        check_flag(self, "fit_intercept")
        check_real(self, "unobserved_weight", 0.0, above=True)
        task_of(self)
        check_choice(self, "schedule", tuple(SCHEDULES))
        if self.schedule == "averaging" and self._task.kind == "pairs":
            raise ValueError(
                f"schedule='averaging' has no negatives to draw for loss={self.loss!r}. Use "
                "schedule='rotation'."
            )
        if self.n_blocks is not None:
            check_integer(self, "n_blocks", 1)
        check_flag(self, "warm_start")
        check_flag(self, "early_stopping")
        check_real(self, "validation_fraction", 0.0, 1.0, above=True)
        check_integer(self, "n_iter_no_change", 1)
        check_choice(self, "unstored", ("missing", "zero"))
        check_integer(self, "max_iter", 1)
        check_real(self, "tol", 0.0)
        check_integer(self, "verbose", 0)
        get_backend(self.backend, 1).close()
        effective_threads(self.n_jobs)

"""What ``FPSGFactorizer`` says of predictions: scores, responses, labels, and how good they are."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.special import expit, logit
from sklearn.exceptions import UndefinedMetricWarning

from ._fpsg_task import Task
from ._jit import read_only
from .kernels.predictions import total_loss
from .losses import Logistic
from .metrics import auc_score

__all__ = ["costs", "d2", "labels", "mean_auc", "offsets", "responses"]

Floats = npt.NDArray[np.floating]

SCORES_PER_BLOCK = 2**22


def is_log_odds(task: Task) -> bool:
    """Whether scores are log odds, also of a logistic loss that is weighted."""
    return task.kind == "booleans" and getattr(task.loss, "loss", task.loss) == Logistic()


def responses(task: Task, scores: Floats) -> Floats:
    """Return predictions as observations are; probabilities where scores are log odds."""
    if is_log_odds(task):
        return np.asarray(expit(scores))
    if task.kind == "numbers":
        return np.asarray(task.loss.impute(scores)).astype(scores.dtype, copy=False)
    return scores


def labels(task: Task, scores: Floats, classes: Floats | None) -> Floats:
    """Return the class of each score."""
    if classes is None:
        raise ValueError(
            f"output='label' needs a loss of Booleans, such as 'logistic'; {task.loss!r} has no "
            "labels. Use output='response'."
        )
    return np.asarray(classes[(scores > 0).astype(np.int64)], scores.dtype)


def offsets(
    task: Task, baseline: float, counts: Any, sums: Any, damping: float, mean: float
) -> Any:
    """Return by how much the score of a row (column) of these entries differs from the baseline.

    Its mean is damped by entries of the mean of all, and compared on the scale of scores.
    """
    if task.kind == "booleans":
        damped = (sums + damping * mean) / (counts + damping)
        if is_log_odds(task):
            return logit(np.clip(damped, 1e-6, 1 - 1e-6)) - logit(np.clip(mean, 1e-6, 1 - 1e-6))
        return 2 * (damped - mean)
    if task.kind == "numbers" and not task.has_unit:
        return np.zeros(len(counts))
    return (sums - baseline * counts) / (counts + damping)


def costs(
    task: Task, observed: Floats, predicted: Floats, constant: float
) -> tuple[float, float, float]:
    """Return the number of observations, their losses, and those of a constant."""
    observed = observed.astype(np.float64)
    cost, worst = (
        total_loss(task.loss, read_only(scores), read_only(observed))
        for scores in (predicted.astype(np.float64), np.full_like(observed, constant))
    )
    return observed.size, cost, worst


def d2(n: float, cost: float, cost_of_constant: float) -> float:
    """Return 1 − loss / loss of the best constant."""
    if n < 2:
        warnings.warn(
            f"The score is undefined: there are {n:.0f} cells to score, and rows of a "
            "matrix need two observed cells each to hide one.",
            UndefinedMetricWarning,
            stacklevel=3,
        )
        return float("nan")
    if cost_of_constant == 0.0:
        return 1.0 if cost == 0.0 else 0.0
    return float(1.0 - cost / cost_of_constant)


def mean_auc(W: Floats, H: Floats, relevant: sp.csr_array, seen: sp.csr_array) -> float:
    """Return the mean over rows of the AUC of relevant cells among those that are not seen."""
    n = max(1, SCORES_PER_BLOCK // len(H))
    areas = []
    asked = np.flatnonzero(np.diff(relevant.indptr))
    for start in range(0, asked.size, n):
        rows = asked[start : start + n]
        scores = W[rows] @ H.T
        areas.append(auc_score(relevant[rows], scores, exclude=seen[rows], average=None))
    area = np.concatenate(areas) if areas else np.zeros(0)
    if np.isnan(area).all():
        warnings.warn(
            "The score is undefined: no row has both a cell to find and one that is not observed.",
            UndefinedMetricWarning,
            stacklevel=3,
        )
        return float("nan")
    return float(np.nanmean(area))

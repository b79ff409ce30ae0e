"""
A loss in ten lines
===================

A loss says what an entry costs: a frozen dataclass with the cost of predicting ``u`` where ``a``
was observed, and its derivative by ``u``.  Kernels compile both methods as they stand here.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GridSearchCV, KFold

from skglrm import GLRM, Entries
from skglrm.losses import Loss
from skglrm.testing import check_loss


@dataclass(frozen=True)
class Asymmetric(Loss):
    """Squared error, in which a prediction that is too low costs ``under`` times as much."""

    under: float = 3.0

    def value(self, u, a):
        return 0.5 * (u - a) ** 2 * (self.under if u < a else 1.0)

    def gradient(self, u, a):
        return (u - a) * (self.under if u < a else 1.0)


if __name__ == "__main__":  # worker processes import this file to find the loss
    # Before it is used, it must obey the laws of losses: the gradient is the derivative of the
    # value, compiled code agrees with Python, and so on.
    check_loss(Asymmetric())
    print(f"{Asymmetric()} obeys the laws of losses.")

    # A table of rank 3 with noise and holes.  The higher the price of predictions that are too low,
    # the fewer there are.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 20)) + 0.5 * rng.normal(size=(300, 20))
    X[rng.random(X.shape) < 0.2] = np.nan
    for loss in (Asymmetric(1.0), Asymmetric(3.0), Asymmetric(9.0)):
        model = GLRM(3, loss=loss, offset=True).fit(X)
        too_low = np.nanmean(model.inverse_transform(model.row_factors_) < X)
        print(f"{loss}: {too_low:.0%} of the predictions are too low")

    # Losses are values: they can be cloned, compared, sent to other processes and searched over.
    search = GridSearchCV(
        GLRM(3, offset=True),
        {"loss": [Asymmetric(3.0)], "regularization": [0.1, 1.0, 10.0]},
        cv=KFold(3, shuffle=True, random_state=0),
        n_jobs=2,
    )
    search.fit(Entries.from_matrix(X))
    print(f"Best strength on cells held out: {search.best_params_['regularization']}")

"""
A loss in ten lines
===================

A loss says what an entry costs: a frozen dataclass with the cost of predicting ``u`` where ``a``
was observed, and its derivative by ``u``.  Kernels compile both methods as they stand here.
"""

from dataclasses import dataclass

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


# %%
# Before it is used, it must obey the laws of losses: the gradient is the derivative of the value,
# compiled code agrees with Python, and so on.

check_loss(Asymmetric())
print(f"{Asymmetric()} obeys the laws of losses.")

"""
Probabilities of Boolean entries
================================

Answers to yes-no questions, most of them missing.  The logistic loss predicts log odds, so that a
missing answer gets a probability, and probabilities can be held against what happened.  Losses of
margin, such as the hinge, only part the classes.
"""

# %%
# Answers of a planted model, with levels of people and of questions
import numpy as np

from skglrm import Entries, FPSGFactorizer

rng = np.random.default_rng(0)
m, n = 800, 200
log_odds = rng.normal(size=(m, 3)) @ rng.normal(size=(3, n))
log_odds += 1.0 * rng.normal(size=(m, 1)) + rng.normal(size=n) - 1.0
cell = rng.permutation(m * n)[:60_000]
answer = (rng.random(cell.size) < 1 / (1 + np.exp(-log_odds.ravel()[cell]))).astype(float)
entries = Entries(cell // n, cell % n, answer, (m, n))
train, test = entries[10_000:], entries[:10_000]

# %%
# Intercepts take the levels; early stopping ends the fit
model = FPSGFactorizer(
    3, loss="logistic", regularization=0.03, fit_intercept=True, early_stopping=True, max_iter=60,
    random_state=0,
).fit(train)  # fmt: skip
print(f"share of the log loss of a constant that is removed: {model.score(test):.3f}")

# %%
# Calibration: among answers predicted at about 30 %, about 30 % should be yes
p = model.predict_entries(test.row, test.col)
for low in np.arange(0, 1, 0.2):
    inside = (p >= low) & (p < low + 0.2)
    print(f"predicted {p[inside].mean():.2f}   happened {test.value[inside].mean():.2f}")

# %%
# The three outputs of a cell; labels are the values of the data
for output in ("score", "response", "label"):
    print(output, model.predict_entries([0, 1], [5, 5], output=output).round(3))

# %%
# The hinge is as good at labels, and says nothing of probabilities
hinge = FPSGFactorizer(
    3, loss="hinge", regularization=0.03, fit_intercept=True, max_iter=30, random_state=0
).fit(train)
for name, fitted in (("logistic", model), ("hinge", hinge)):
    labels = fitted.predict_entries(test.row, test.col, output="label")
    print(f"{name}: {np.mean(labels == test.value):.3f} of the labels are right")

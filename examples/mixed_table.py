"""
A table of mixed types with holes
=================================

One model for numbers, whole numbers, Booleans, ordered and unordered labels: fill in the holes, see
how well that works on cells hidden on purpose, and look at the rows in the plane.  The table is
made from the wine data that scikit-learn ships, so nothing is downloaded.
"""

import argparse

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from skglrm import GLRM

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--save", metavar="FILE", help="save the picture to this file")
options = parser.parse_args()

# %%
# A table with five types of columns
# ----------------------------------

wine = load_wine(as_frame=True)
chemistry = wine.data
table = pd.DataFrame(
    {
        "alcohol": chemistry["alcohol"],
        "malic_acid": chemistry["malic_acid"],
        "phenols": chemistry["total_phenols"],
        "flavanoids": chemistry["flavanoids"],
        "hue": chemistry["hue"],
        "dilution": chemistry["od280/od315_of_diluted_wines"],
        "magnesium": chemistry["magnesium"].astype("Int64"),
        "proline": chemistry["proline"].astype("Int64"),
        "alkaline": (chemistry["alcalinity_of_ash"] > 19).astype("boolean"),
        "colour": pd.cut(
            chemistry["color_intensity"], [0, 3, 5, 7, 99], labels=["pale", "rosy", "red", "dark"]
        ),
        "cultivar": wine.target.map({0: "barolo", 1: "grignolino", 2: "barbera"}),
    }
)
types = {
    "number": list(table.columns[:6]),
    "whole number": ["magnesium", "proline"],
    "Boolean": ["alkaline"],
    "ordered labels": ["colour"],
    "labels": ["cultivar"],
}

hidden = pd.DataFrame(
    np.random.default_rng(0).random(table.shape) < 0.25, table.index, table.columns
)
holes = table.mask(hidden)
print(holes.head(5).to_string(), "\n")

# %%
# Fill in the holes
# -----------------
# ``loss="auto"`` chooses a loss by the type of each column, ``scale`` makes columns of any unit and
# type count alike, and the result has the types of the table.  A regularization path on a tenth of
# the observed cells says how strong to regularize.

model = GLRM(5, loss="auto", offset=True, scale=True, tol=1e-3, random_state=0)
path = model.regularization_path(holes, np.geomspace(30, 1, 6))
model.set_params(regularization=path.best_strength).fit(holes)
filled = model.impute(holes)
print(f"Regularization {path.best_strength:.2g} was best on cells held out.")
print(filled.head(5).to_string(), "\n")

# %%
# Compare with imputers of scikit-learn
# -------------------------------------
# These know numbers only: labels become codes, and what comes back is rounded to a code.  Labels
# without an order become one column each but one, or the columns would determine one another.


def to_numbers(frame):
    parts = []
    for name, column in frame.items():
        if name == "cultivar":
            levels = sorted(table[name].unique())[1:]
            dummies = pd.DataFrame({f"{name}={one}": column == one for one in levels})
            parts.append(dummies.astype(float).mask(column.isna()))
        elif name == "colour":
            parts.append(column.cat.codes.astype(float).mask(column.isna()).rename(name))
        else:
            parts.append(column.astype("Float64").astype(float))
    return pd.concat(parts, axis=1)


def from_numbers(numbers):
    out = numbers.iloc[:, :9].copy()
    out[types["whole number"]] = out[types["whole number"]].round()
    out["alkaline"] = out["alkaline"] > 0.5
    codes = numbers.iloc[:, 9].round().clip(0, 3).astype(int)
    out["colour"] = pd.Categorical.from_codes(codes, dtype=table["colour"].dtype)
    levels = np.array(sorted(table["cultivar"].unique()))
    shares = numbers.iloc[:, 10:].to_numpy()
    shares = np.column_stack([1 - shares.sum(axis=1), shares])
    out["cultivar"] = levels[shares.argmax(axis=1)]
    return out


def by_imputer(imputer):
    numbers = to_numbers(holes)
    mean, spread = numbers.mean(), numbers.std()
    imputed = imputer.fit_transform((numbers - mean) / spread)
    return from_numbers(pd.DataFrame(imputed, numbers.index, numbers.columns) * spread + mean)


def mean_or_mode():
    out = holes.copy()
    for name, column in holes.items():
        if name in types["number"] + types["whole number"]:
            out[name] = SimpleImputer().fit_transform(column.astype("Float64").astype(float)
                                                      .to_frame()).ravel()  # fmt: skip
        else:
            out[name] = column.fillna(column.mode()[0])
    return out


def errors(imputed):
    """Error on the hidden cells by type: of numbers relative to the deviation, else share wrong."""
    found = {}
    for kind, names in types.items():
        each = []
        for name in names:
            mask = hidden[name]
            truth, guess = table[name][mask], imputed[name][mask]
            if "number" in kind:
                truth, guess = truth.astype(float), guess.astype(float)
                each.append(np.sqrt(np.mean((guess - truth) ** 2)) / table[name].std())
            elif kind == "ordered labels":
                ranks = [pd.Categorical(x, dtype=truth.dtype).codes for x in (truth, guess)]
                each.append(np.mean(np.abs(np.subtract(*map(np.float64, ranks)))))
            else:
                each.append(np.mean(truth.astype(object) != guess.astype(object)))
        found[kind] = np.mean(each)
    return found


results = pd.DataFrame(
    {
        "mean or mode": errors(mean_or_mode()),
        "KNNImputer": errors(by_imputer(KNNImputer())),
        "IterativeImputer": errors(
            by_imputer(IterativeImputer(max_iter=30, tol=0.1, random_state=0))
        ),
        "GLRM": errors(filled),
    }
)
print("Errors on hidden cells (numbers: in standard deviations; ordered labels: in levels):")
print(results.round(3).to_string())
better = results["GLRM"] < results["mean or mode"]
print(f"GLRM is below mean or mode for {better.sum()} of {len(better)} types of columns.")

# %%
# The rows in the plane
# ---------------------
# Rows are drawn by their first two factors; the colour was not used if the cell was hidden.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
W = model.row_factors_
for cultivar in sorted(table["cultivar"].unique()):
    of_it = (table["cultivar"] == cultivar).to_numpy()
    left.scatter(*W[of_it, :2].T, s=14, label=cultivar)
left.set(xlabel="first factor", ylabel="second factor", title="Wines")
left.legend(title="cultivar")
results.T.plot.bar(ax=right, rot=0, width=0.8)
right.set(ylabel="error on hidden cells", title="Imputation by type of column", ylim=(0, 1.3))
right.legend(ncols=3, frameon=False)
if options.save:
    figure.savefig(options.save, dpi=120)
    print(f"Saved {options.save}.")

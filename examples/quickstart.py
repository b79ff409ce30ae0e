"""
Ratings in a minute
===================

Factor a table of ratings, measure the model on ratings it has not seen, recommend items, and save
a picture.  The ratings are generated here, so nothing is downloaded.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split

from skglrm import Entries, FPSGFactorizer

# %%
# Ratings with a known taste
# --------------------------
# Each user and each item has four hidden traits; a rating is how well they match, plus noise,
# rounded to half stars.  A few users and items have very many ratings and most have few, as in
# real tables.

N_USERS, N_ITEMS, N_RATINGS, N_TRAITS, NOISE = 2_000, 800, 100_000, 4, 0.5

rng = np.random.default_rng(0)
activity, popularity = rng.lognormal(0, 0.8, N_USERS), rng.lognormal(0, 1.0, N_ITEMS)
weight = np.outer(activity, popularity).ravel()
cells = rng.choice(weight.size, N_RATINGS, replace=False, p=weight / weight.sum())
user, item = np.divmod(cells, N_ITEMS)

user_traits = rng.normal(0, 0.7, (N_USERS, N_TRAITS))
item_traits = rng.normal(0, 0.7, (N_ITEMS, N_TRAITS))
match = np.einsum("ij,ij->i", user_traits[user], item_traits[item])
stars = 3 + match + rng.normal(0, NOISE, N_RATINGS)
stars = np.clip(np.round(2 * stars) / 2, 0.5, 5.0)

ratings = Entries(user, item, stars, shape=(N_USERS, N_ITEMS))
print(
    f"There are {len(ratings):,} ratings of {N_ITEMS:,} items by {N_USERS:,} users: "
    f"{len(ratings) / (N_USERS * N_ITEMS):.0%} of the table."
)

# %%
# Fit and measure
# ---------------
# `Entries` are samples to scikit-learn: its splitter holds out single ratings, not whole users.

train, test = train_test_split(ratings, test_size=0.1, random_state=0)
model = FPSGFactorizer(n_components=16, regularization=0.05, max_iter=20, random_state=0)

start = time.perf_counter()
model.fit(train)
seconds = time.perf_counter() - start
print(
    f"Fitting {len(train):,} of them took {seconds:.1f} s for {model.n_iter_} passes; "
    "the first fit on a machine compiles, later ones are faster."
)

predicted = model.predict_entries(test.row, test.col)
rmse = root_mean_squared_error(test.value, predicted)
baseline = root_mean_squared_error(test.value, np.full(len(test), train.value.mean()))
print(f"Predictions of the {len(test):,} ratings held out are off by {rmse:.2f} stars (RMSE);")
print(f"  predicting the mean rating everywhere is off by {baseline:.2f},")
print(f"  and the noise in the ratings, which nobody can predict, by {NOISE:.2f}.")
print(f"So the model explains {model.score(test):.0%} of the squared error (its D² score).")

# %%
# Recommend
# ---------

someone = 0
items, scores = model.recommend(train.to_csr()[[someone]], n=5)
print(f"Of the items that user {someone} has not rated, the best should be:")
for one, score in zip(items[0], scores[0], strict=True):
    print(f"  item {one}, with {score:.1f} stars expected.")

# %%
# Look
# ----

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.plot(range(1, model.n_iter_ + 1), model.loss_curve_, marker="o", markersize=3)
left.set(title="Training", xlabel="pass over the ratings", ylabel="objective")
left.xaxis.get_major_locator().set_params(integer=True)
given = np.unique(test.value)
right.boxplot(
    [predicted[test.value == star] for star in given],
    positions=given,
    widths=0.3,
    showfliers=False,
    manage_ticks=False,
)
right.plot(given, given, "--", color="gray", label="perfect")
right.set(title="Ratings held out", xlabel="stars given", ylabel="stars predicted")
right.legend()
figure.savefig("quickstart.png", dpi=150)
print("The training curve and the ratings held out are drawn in quickstart.png.")

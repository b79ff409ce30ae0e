"""Files that lie, each read in a process that notices what it does; see ``hostile.py``."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lies import lying_model, parts_of, sealed

import skglrm
from skglrm import GLRM, FPSGFactorizer, ImplicitALS

RUN = Path(__file__).resolve().parents[1] / "properties" / "run.py"
X = np.arange(12.0).reshape(4, 3) % 5
X[1, 2] = np.nan


def test_hundreds_of_hostile_files_are_read_or_refused_in_words():
    command = [
        sys.executable,
        str(RUN),
        "--only",
        "hostile files",
        "--jobs",
        "1",
        "--cases",
        "300",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(re.search(r"(\d+)  generated cases", done.stdout)[1]) >= 300


@pytest.fixture(scope="module")
def models():
    clicks = np.nan_to_num(X)
    return {
        "glrm": GLRM(2, max_iter=1, tol=0, random_state=np.random.RandomState(0)).fit(X),
        "implicit": ImplicitALS(2, max_iter=1, random_state=np.random.default_rng(0)).fit(clicks),
        "ranking": FPSGFactorizer(2, loss="bpr_row", max_iter=1, random_state=0).fit(clicks),
    }


def set_(path, value):
    """A lie: an attribute of the model, or of what it holds, has another value."""
    *way, last = path.split(".")

    def tell(model):
        for name in way:
            model = getattr(model, name)
        object.__setattr__(model, last, value)

    return tell


LIES = {
    "units": ("glrm", set_("_units", np.ones(1))),
    "kinks": ("glrm", set_("_kinks", np.ones(2))),
    "weights of columns": ("glrm", set_("column_weights_", np.ones(2))),
    "constants": ("glrm", set_("_null.constants", np.ones(1))),
    "costs": ("glrm", set_("_null.costs", np.ones(9))),
    "slices": ("glrm", set_("component_slices_", [slice(0, 9)] * 3)),
    "factors that are no numbers": ("glrm", lambda m: m.components_.__setitem__((0, 0), np.nan)),
    "number of features": ("implicit", set_("n_features_in_", 3.0)),
    "spectrum": ("implicit", set_("_spectrum", np.ones(1))),
    "gram": ("implicit", set_("_column_gram", np.ones((1, 1)))),
    "rotation": ("implicit", set_("_rotation", np.ones((2, 9)))),
    "begins": ("implicit", set_("_history.start", np.full(4, 10**9))),
    "ends": ("implicit", set_("_history.stop", np.full(4, 10**9))),
    "remembered values": ("implicit", set_("_history.value.array", np.ones(2))),
    "steps of rows": ("ranking", set_("_row_accumulators", np.ones((2, 2)))),
    "steps of columns": ("ranking", set_("_column_accumulators", np.ones((3, 1)))),
    "edges of rows": (
        "ranking",
        set_("_seen_cells", [np.array([0, 9, 9, 9, 9]), np.zeros(2, int)]),
    ),
    "edges that fall": (
        "ranking",
        set_("_seen_cells", [np.array([0, 2, 1, 3, 2]), np.zeros(2, int)]),
    ),
}


@pytest.mark.parametrize("kind", LIES)
def test_parts_of_a_model_that_do_not_fit_together_are_refused(kind, models, tmp_path):
    name, tell = LIES[kind]
    path = tmp_path / "model"
    models[name].save(path)
    model = skglrm.load(path)
    tell(model)
    model.save(path)
    with pytest.raises(ValueError, match="holds no model that can be used.*(fit|column|differ)"):
        skglrm.load(path)


@pytest.mark.parametrize("place", [-1, 625, 10**9, "0", None])
def test_a_place_beyond_the_random_numbers_is_refused(place, models, tmp_path):
    """NumPy would take whatever lies there in memory for random numbers."""
    path = tmp_path / "model"
    models["glrm"].save(path)
    header, arrays = parts_of(path.read_bytes())
    told = json.loads(header["__metadata__"]["model"])
    pairs = told["model"]["estimator"][1]["random_state"]["random_state"]["dict"]
    inner = next(value for key, value in pairs if key == "state")["dict"]
    next(pair for pair in inner if pair[0] == "pos")[1] = place
    header["__metadata__"]["model"] = json.dumps(told)
    path.write_bytes(sealed(header, arrays))
    with pytest.raises(ValueError, match="random numbers is wrong"):
        skglrm.load(path)


def test_a_seal_that_is_made_anew_is_a_seal(models, tmp_path):
    """Or all lies above would be refused for their checksum alone."""
    path = tmp_path / "model"
    models["ranking"].save(path)
    content = path.read_bytes()
    path.write_bytes(sealed(*parts_of(content)))
    found = skglrm.load(path).transform(np.nan_to_num(X))
    np.testing.assert_array_equal(found, models["ranking"].transform(np.nan_to_num(X)))
    assert lying_model(content, random.Random(0)) != content

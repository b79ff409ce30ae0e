"""Reading files that were tampered with, in a process that may do no more than read them."""

import contextlib
import functools
import random
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from lies import damaged, lying_blocks, lying_model, spoilt_text
from outcomes import UndocumentedError, is_documented, time_limit

import skglrm
from skglrm import GLRM, FPSGFactorizer, ImplicitALS
from skglrm.block_file import BlockFile
from skglrm.io import read_libmf, read_libmf_model, write_libmf, write_libmf_model

ROOM = 1 << 28
"""Bytes of address space that reading a file of some kilobytes may take."""

SECONDS = 5
"""Of work that reading one may take."""

FORBIDDEN = (
    "exec", "compile", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen",
    "pickle.find_class",
    "socket.connect", "ctypes.dlopen", "os.remove", "os.rename", "os.mkdir", "shutil",
)  # fmt: skip
"""Events that Python reports to auditors, none of which a reader may cause."""

NAMES = (
    "glrm",
    "table",
    "fpsg",
    "ranking",
    "one_class",
    "implicit",
    "blocks",
    "blocks of float32",
    "libmf",
    "libmf model",
)


@st.composite
def files(draw):
    """The kind of a file and what it is damaged by."""
    rng = draw(st.randoms(use_true_random=True))
    return (
        draw(st.sampled_from(NAMES)),
        draw(st.sampled_from(("damaged", "lies"))),
        rng.getrandbits(64),
    )


def a_file_is_read_or_refused(case):
    """A file is read, or refused in words: no crash, no code, and not much memory or time."""
    name, how, seed = case
    folder, known = _prepared()
    content, read, use, lie = known[name]
    rng = random.Random(seed)
    path = Path(folder.name, "file")
    path.write_bytes(damaged(content, rng) if how == "damaged" else lie(content, rng))
    with time_limit():
        start = time.process_time()
        with _confined() as events:
            found = _outcome(lambda: read(path))
        if events:
            raise UndocumentedError(f"Reading did {events}")
        if time.process_time() - start > SECONDS:
            raise UndocumentedError(f"Reading took {time.process_time() - start:.0f} s")
        if not isinstance(found, Exception):
            found = _outcome(lambda: use(found))
    return f"refused: {type(found).__name__}" if isinstance(found, Exception) else "read"


def _outcome(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except Exception as error:
            if not is_documented(error) and not isinstance(error, OSError):
                raise UndocumentedError(f"{type(error).__name__}: {error}") from error
            return error


_WATCHED = []


def _watch(event, arguments):
    if _WATCHED and event.startswith(FORBIDDEN):
        _WATCHED[-1].append((event, str(arguments)[:100]))


@contextlib.contextmanager
def _confined():
    """Little more address space, and a list of what was done that must not be."""
    events = []
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, limit[1]))
    _WATCHED.append(events)
    try:
        yield events
    finally:
        _WATCHED.pop()
        resource.setrlimit(resource.RLIMIT_AS, limit)


@functools.cache
def _prepared():
    """The files, after each was read once: what is imported and compiled is."""
    folder = tempfile.TemporaryDirectory()
    known = corpus(folder.name)
    path = Path(folder.name, "file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content, read, use, _ in known.values():
            path.write_bytes(content)
            use(read(path))
    sys.addaudithook(_watch)
    return folder, known


def corpus(folder):
    """Small files of every kind by name: content, who reads them, who uses that, who lies."""
    folder = Path(folder)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 4))
    X[0, 1] = np.nan
    clicks = (X > 0).astype(float)
    entries = skglrm.Entries.from_matrix(X)
    frame = pd.DataFrame({"r": list("abcabca"), "c": list("xxxyyyz"), "v": [1.0, 2, 3, 4, 5, 6, 7]})
    named = skglrm.Entries.from_frame(frame, row="r", col="c", value="v")
    table = pd.DataFrame(
        {
            "x": [1.0, 2, 3, 4],
            "kind": pd.Categorical(list("abac")),
            "on": [True, False, True, None],
            "when": [1, 2, 3, 4],
        }
    )
    models = {
        "glrm": GLRM(2, max_iter=2, tol=0, random_state=np.random.RandomState(0)).fit(X),
        "table": GLRM(1, loss="auto", max_iter=1, tol=0, scale=True, offset=True).fit(table),
        "fpsg": FPSGFactorizer(2, max_iter=1, random_state=0).fit(named),
        "ranking": FPSGFactorizer(2, loss="bpr_row", max_iter=1, random_state=0).fit(clicks),
        "one_class": FPSGFactorizer(2, loss="one_class", max_iter=1, random_state=0).fit(clicks),
        "implicit": ImplicitALS(2, max_iter=1, random_state=np.random.default_rng(0)).fit(clicks),
    }  # fmt: skip
    path, found = folder / "file", {}
    for name, model in models.items():
        model.save(path)
        found[name] = path.read_bytes(), skglrm.load, ask, lying_model
    for name, dtype in (("blocks", np.float64), ("blocks of float32", np.float32)):
        cells = skglrm.Entries.from_matrix(X.astype(dtype))
        BlockFile.write(path, cells, n_blocks=2, random_state=0)
        found[name] = path.read_bytes(), BlockFile, read_blocks, lying_blocks
    write_libmf(path, entries)
    found["libmf"] = path.read_bytes(), read_libmf, len, spoilt_text
    write_libmf_model(path, models["fpsg"])
    found["libmf model"] = path.read_bytes(), read_libmf_model, ask, spoilt_text
    return found


def ask(model):
    """Call every method; of a file that lies no answer is promised, but no crash either."""
    if not hasattr(model, "row_factors_"):
        return
    n, d = len(model.row_factors_), model.n_features_in_
    X = np.ones((2, d))
    for call in (
        lambda: model.transform(X),
        lambda: model.predict_entries([0, n - 1, n], [0, d - 1, d]),
        lambda: model.recommend(X, n=2),
        lambda: model.similar_items(n=2),
        lambda: model.similar_rows(n=2),
        lambda: model.score(X),
        lambda: model.recommend(skglrm.Entries([0], [0], [1.0], (n, d)), n=2),
        lambda: model.inverse_transform(model.row_factors_),
        lambda: model.explain(X[:1], 0),
        lambda: model.partial_fit(X),
        lambda: model.partial_fit(skglrm.Entries([0, n], [0, d - 1], [1.0, 1.0], (n + 1, d))),
        lambda: repr(model),
        lambda: model.impute(X),
        lambda: model.sample(X, random_state=0),
        lambda: model.get_feature_names_out(),
        lambda: model.fit(X),
    ):
        try:
            call()
        except MemoryError:
            raise
        except Exception:
            continue


def read_blocks(file):
    """Read a block file and fit it."""
    for _ in file.blocks():
        pass
    FPSGFactorizer(2, max_iter=1, n_jobs=1, random_state=0).fit(file)

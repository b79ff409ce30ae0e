"""Entries that stay on the cluster, what is written there, and streams."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skglrm import GLRM, Entries, FPSGFactorizer, ImplicitALS
from skglrm._spark import gather, java, limits
from skglrm._spark.errors import SparkBackendError
from skglrm._spark.pieces import digest_of
from skglrm._spark.published import packed, unpacked
from skglrm.backends import SparkBackend

IDS = {"row": "user", "col": "item", "value": "plays"}


@pytest.fixture(scope="module")
def plays():
    """A long table in no order, with ids that are strings and gaps in numbers."""
    rng = np.random.default_rng(0)
    X = rng.poisson(0.3, (90, 40))
    row, col = np.nonzero(X)
    order = rng.permutation(len(row))
    row, col = row[order], col[order]
    users = np.array([f"u{i:03d}" for i in rng.permutation(90)], object)
    return pd.DataFrame(
        {"user": users[row], "item": 7 * col + 3, "plays": X[row, col].astype(np.float32)}
    )


@pytest.fixture(scope="module")
def on_spark(spark, plays):
    return spark.createDataFrame(plays).persist()


@pytest.fixture(scope="module")
def entries(on_spark):
    """The table, read once; to be collected by nobody."""
    return Entries.from_spark(on_spark, **IDS)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("skglrm.solvers.implicit.NUMBERS_PER_TASK", 5000)


# ------------------------------------------------------------------ ids


def test_ids_are_numbered_as_those_of_other_frames(on_spark, plays):
    entries, local = Entries.from_spark(on_spark, **IDS), Entries.from_frame(plays, **IDS)
    assert len(entries) == len(local) and entries.matrix_shape == local.matrix_shape
    for ids, known in ((entries.row_ids, local.row_ids), (entries.col_ids, local.col_ids)):
        np.testing.assert_array_equal(ids, known)
        assert ids.dtype == known.dtype
    assert "on Spark" in repr(entries)
    np.testing.assert_array_equal(entries.collect().to_dense(), local.to_dense())
    assert entries.collect().value.dtype == np.float32


def test_known_ids_are_kept_and_unknown_ones_refused(on_spark, plays):
    known = np.append(plays["user"].unique(), "nobody")
    entries = Entries.from_spark(on_spark, **IDS, row_ids=known)
    np.testing.assert_array_equal(entries.row_ids, known)
    with pytest.raises(ValueError, match=r"1 ids of column 'user' are not among .* 'u\d+'"):
        Entries.from_spark(on_spark, **IDS, row_ids=known[1:])


def test_bad_frames_are_refused(spark, on_spark, plays):
    with pytest.raises(TypeError, match="Entries.from_frame"):
        Entries.from_spark(plays, **IDS)
    with pytest.raises(ValueError, match=r"no column \['stars'\]"):
        Entries.from_spark(on_spark, row="user", col="item", value="stars")
    with pytest.raises(TypeError, match="'user' must hold real numbers; it is string"):
        Entries.from_spark(on_spark, row="item", col="item", value="user")
    broken = on_spark.selectExpr("user", "item", "if(item = 3, null, plays) as plays")
    with pytest.raises(ValueError, match="values of column 'plays' are missing or not finite"):
        Entries.from_spark(broken, **IDS)


# ------------------------------------------------------------------ fits


def test_cells_are_never_collected_and_the_fit_is_that_of_threads(
    entries, plays, monkeypatch, small_blocks
):
    monkeypatch.setattr("skglrm._spark.entries.OnCluster._collected", None)
    model = ImplicitALS(5, solver="cg", max_iter=2, random_state=0)
    local = model.fit(Entries.from_frame(plays, **IDS))
    for n_partitions in (1, 3):
        other = ImplicitALS(
            5, solver="cg", max_iter=2, random_state=0, backend=SparkBackend(n_partitions)
        ).fit(entries)
        np.testing.assert_array_equal(local.row_factors_, other.row_factors_)
        np.testing.assert_array_equal(local.components_, other.components_)
        np.testing.assert_allclose(local.loss_curve_, other.loss_curve_, rtol=1e-8)
    np.testing.assert_array_equal(local.row_ids_, other.row_ids_)


@pytest.fixture
def never_collected(monkeypatch):
    monkeypatch.setattr("skglrm._spark.entries.OnCluster._collected", None)


@pytest.mark.parametrize("schedule", ["rotation", "averaging"])
def test_block_sgd_of_cells_that_stay_there_is_that_of_threads(
    entries, plays, never_collected, schedule
):
    local = Entries.from_frame(plays, **IDS)
    model = FPSGFactorizer(4, schedule=schedule, n_blocks=3, max_iter=2, random_state=0).fit(local)
    other = clone(model).set_params(backend="spark").fit(entries)
    np.testing.assert_array_equal(model.row_factors_, other.row_factors_)
    np.testing.assert_array_equal(model.components_, other.components_)
    assert model.loss_curve_ == other.loss_curve_
    np.testing.assert_array_equal(model.predict_entries([0, 999], [999, 3]),
                                  other.predict_entries([0, 999], [999, 3]))  # fmt: skip
    if schedule == "averaging":
        return
    np.testing.assert_array_equal(model.transform(local), other.transform(entries))
    assert other.score(entries) == pytest.approx(model.score(local), rel=1e-9)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"loss": "huber", "init": "random", "row_regularizer": "nonnegative"}],
    ids=["quadratic", "huber"],
)
def test_models_of_tables_that_stay_there_are_those_of_threads(
    entries, plays, never_collected, monkeypatch, parameters
):
    monkeypatch.setattr("skglrm.solvers.half_step.CELLS_PER_BLOCK", 300)
    local = Entries.from_frame(plays, **IDS)
    model = GLRM(2, max_iter=2, tol=0.0, random_state=0, **parameters).fit(local)
    other = clone(model).set_params(backend="spark").fit(entries)
    np.testing.assert_array_equal(model.row_factors_, other.row_factors_)
    np.testing.assert_array_equal(model.components_, other.components_)
    assert model.loss_curve_ == other.loss_curve_
    np.testing.assert_allclose(model.importance_, other.importance_, rtol=1e-9)
    np.testing.assert_array_equal(model.predict_entries([0, 999], [999, 3]),
                                  other.predict_entries([0, 999], [999, 3]))  # fmt: skip
    assert other.score(entries) == pytest.approx(model.score(local), rel=1e-9)


def test_cells_given_twice_are_refused_there_too(spark, on_spark):
    twice = on_spark.limit(2).union(on_spark.filter("item = 3"))
    model = FPSGFactorizer(2, schedule="rotation", backend="spark")
    entries = Entries.from_spark(twice.union(twice), **IDS)
    with pytest.raises(ValueError, match="occurs more than once"):
        model.fit(entries)


def test_rows_are_folded_in_where_their_cells_are(
    on_spark, entries, plays, never_collected, tmp_path
):
    from skglrm.spark import transform

    local = Entries.from_frame(plays, **IDS)
    for model in (
        ImplicitALS(5, solver="cg", max_iter=2, random_state=0),
        GLRM(2, max_iter=2, tol=0.0, random_state=0),
    ):
        factors = model.fit(local).transform(local)
        model.set_params(backend="spark")
        np.testing.assert_array_equal(model.transform(entries), factors)
    frame = transform(model, entries, path=str(tmp_path / "factors"))
    found = frame.toPandas().set_index("row").loc[local.row_ids]
    np.testing.assert_array_equal(np.stack(found["factors"]), factors)
    other = Entries.from_spark(on_spark.filter("item > 10"), **IDS)
    with pytest.raises(ValueError, match="features"):
        model.transform(other)


def test_a_model_that_knows_no_cells_is_scored_with_those_it_was_fitted_on(on_spark, plays):
    from skglrm.spark import score

    is_held_out = "item % 3 = 0 and hash(user) % 2 = 0"
    known = Entries.from_frame(plays, **IDS)
    ids = {"row_ids": known.row_ids, "col_ids": known.col_ids}
    train, test = (
        Entries.from_spark(on_spark.filter(f"{word} ({is_held_out})"), **IDS, **ids)
        for word in ("not", "")
    )
    model = ImplicitALS(5, solver="cg", max_iter=2, random_state=0)
    expected = model.fit(train.collect()).score(test.collect())
    assert model.set_params(backend="spark").score(test) == pytest.approx(expected, rel=1e-9)
    other = clone(model).fit(train)
    with pytest.raises(ValueError, match="seen="):
        other.score(test)
    assert score(other, test, seen=train) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="number their rows differently"):
        score(other, Entries.from_spark(on_spark.filter(is_held_out), **IDS), seen=train)


def test_input_that_changes_is_noticed(entries, monkeypatch, small_blocks):
    whole = gather.Gathered.gathered

    def changed(self, *arguments):
        pieces = whole(self, *arguments)
        pieces.digests[0] += 1  # as if the piece had been built again, from other input
        return pieces

    monkeypatch.setattr(gather.Gathered, "gathered", changed)
    with pytest.raises(SparkBackendError, match="not deterministic"):
        ImplicitALS(3, max_iter=1, backend="spark").fit(entries)


def test_recommendations_are_written_where_the_rows_are(entries, plays, tmp_path):
    from skglrm.spark import recommend

    local = Entries.from_frame(plays, **IDS)
    model = ImplicitALS(5, max_iter=2, random_state=0).fit(local)
    frame = recommend(model, entries, path=str(tmp_path / "a"), n=4)
    found = frame.toPandas().set_index("row").loc[local.row_ids]
    best, scores = model.recommend(local, n=4)
    np.testing.assert_array_equal(np.stack(found["items"]), model.col_ids_[best])
    np.testing.assert_array_equal(np.stack(found["scores"]), scores)
    with pytest.raises(TypeError, match="Entries.from_spark"):
        recommend(model, local, path=str(tmp_path / "b"))


# ------------------------------------------------------------------ streams


def test_a_batch_of_a_stream_is_in_the_model_once(on_spark, plays, tmp_path):
    from skglrm.spark import ModelVersions, update_exactly_once

    first = plays[plays["user"] < "u060"]
    model = FPSGFactorizer(3, max_iter=1, random_state=0).fit(Entries.from_frame(first, **IDS))
    versions = ModelVersions(tmp_path / "models", keep=2)
    assert versions.publish(model) == "v000001"
    update = update_exactly_once(versions, stream="plays", **IDS)
    batch = on_spark.filter("user >= 'u060' and user < 'u080'")
    assert update(batch, 0) == "v000002"
    after = versions.load().row_factors_
    assert len(after) == 80
    assert update(batch, 0) == "v000002"  # handed out again
    assert update(on_spark.filter("false"), 1) == "v000002"
    assert update(on_spark.filter("user >= 'u080'"), 2) == "v000003"
    assert sorted(p.name for p in versions.root.iterdir()) == ["CURRENT", "v000002", "v000003"]
    np.testing.assert_array_equal(versions.load().row_ids_[:60], model.row_ids_)
    with pytest.raises(ValueError, match="begin anew"):
        update(batch, 0)


def test_a_crash_between_writing_and_publishing_leaves_the_old_model(tmp_path, monkeypatch):
    from skglrm import spark as helpers

    model = ImplicitALS(2, max_iter=1, random_state=0).fit(np.eye(6))
    versions = helpers.ModelVersions(tmp_path)
    versions.publish(model, last=1)
    with monkeypatch.context() as patch:
        patch.setattr(helpers.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("crash")))
        with pytest.raises(OSError, match="crash"):
            versions.publish(model, last=2)
    assert versions.notes() == {"last": 1}
    assert versions.publish(model, last=3) == "v000002"
    assert versions.notes() == {"last": 3}


# ------------------------------------------------------------------ without a session


def test_what_is_published_comes_back_without_copies():
    pytest.importorskip("pyspark")
    arrays = {"a": np.arange(5000.0).reshape(50, 100), "few": np.arange(3), "name": "x"}
    raw = packed(arrays)
    found = unpacked(raw, 0)
    np.testing.assert_array_equal(found["a"], arrays["a"])
    assert not found["a"].flags.writeable
    assert np.shares_memory(found["a"], np.frombuffer(raw, np.uint8))
    copied = unpacked(b"12345" + bytes(raw), 5, is_aligned=False)
    assert copied["a"].flags.aligned and not copied["a"].flags.writeable
    np.testing.assert_array_equal(copied["few"], arrays["few"])


def test_arrays_lie_on_whole_lines_of_the_file_that_pickle_writes(tmp_path):
    pytest.importorskip("pyspark")
    import pickle

    from skglrm._spark import published

    for size in (10, 3000, 100_000):  # below and above pickle's frames of 64 KiB
        path = tmp_path / str(size)
        path.write_bytes(pickle.dumps(packed({"a": np.arange(size)}), 5))
        raw, origin, is_mapped = published._raw(SimpleNamespace(_path=str(path)))
        assert is_mapped and origin == published.LEAD
        found = unpacked(raw, origin)["a"]
        np.testing.assert_array_equal(found, np.arange(size))
        assert size < 200 or found.ctypes.data % published.ALIGNMENT == 0


def test_without_a_file_the_value_is_copied():
    pytest.importorskip("pyspark")
    from skglrm._spark import published

    raw = packed({"a": np.arange(3000)})
    assert published._raw(SimpleNamespace(_path=None, value=raw)) == (raw, 0, False)


def test_digests_see_every_bit():
    a = np.arange(10.0)
    assert digest_of((a, a)) == digest_of((a.copy(), a.copy()))
    assert digest_of((a, a)) != digest_of((a, np.nextafter(a, 99)))


def limits_of(limit="1g", heap=2**30):
    """What a driver with these settings says."""
    bytes_of = {"1g": 2**30, "0": 0}
    conf = SimpleNamespace(getSizeAsBytes=lambda name, default: bytes_of[limit])
    runtime = SimpleNamespace(maxMemory=lambda: heap)
    context = SimpleNamespace(
        _jsc=SimpleNamespace(sc=lambda: SimpleNamespace(conf=lambda: conf)),
        _jvm=SimpleNamespace(
            java=SimpleNamespace(
                lang=SimpleNamespace(Runtime=SimpleNamespace(getRuntime=lambda: runtime))
            )
        ),
    )
    return limits.read_limits(context)


def test_limits_name_the_setting_to_change():
    gib = 2**30
    limits.check_limits(limits_of(), gib, gib // 4, 2 * gib)
    with pytest.raises(SparkBackendError, match=r"3.2 GB; max_broadcast_bytes is 2.1 GB"):
        limits.check_limits(limits_of(), 3 * gib, 0, 2 * gib)
    with pytest.raises(SparkBackendError, match=r"spark.driver.maxResultSize=6g"):
        limits.check_limits(limits_of(heap=99 * gib), gib, 3 * gib, 2 * gib)
    with pytest.raises(SparkBackendError, match=r"spark.driver.memory=9g before"):
        limits.check_limits(limits_of(limit="0"), gib, 3 * gib, 2 * gib)


def test_a_missing_or_old_java_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SparkBackendError, match=r"needs Java 17.* none in JAVA_HOME"):
        java.check_java()
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019' >&2\n")
    program.chmod(0o755)
    with pytest.raises(SparkBackendError, match=r"is Java 11\. Install one"):
        java.check_java()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SparkBackendError, match="no 'java' on the PATH"):
        java.check_java()


def test_without_pyspark_everything_else_works():
    code = (
        "import sys; sys.modules['pyspark'] = None\n"
        "import numpy as np; from skglrm import ImplicitALS\n"
        "import skglrm.spark\n"
        "ImplicitALS(2, max_iter=1).fit(np.eye(5))\n"
        "try: ImplicitALS(2, backend='spark').fit(np.eye(5))\n"
        "except ImportError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'skglrm[spark]'" in found.stdout


@pytest.mark.parametrize("options", [{"num_partitions": 0}, {"max_broadcast_bytes": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SparkBackend(**options)


def test_the_example_of_a_stream_serves_users_it_had_never_seen(spark, capsys):
    path = Path(__file__).resolve().parents[2] / "examples" / "spark_stream.py"
    served, versions = runpy.run_path(str(path))["main"](spark)
    assert versions.notes()["batches"] == {"ratings": 1}
    assert len(served.row_factors_) == 120
    said = capsys.readouterr().out
    assert "v000003 knows 120 users" in said
    (films,) = re.findall(r"user 115 is shown films \[(.*)\]", said)
    assert all(int(film) % 2 == 1 for film in films.split(","))  # an odd taste


def test_the_code_of_the_page_runs(spark):
    page = Path(__file__).resolve().parents[2] / "docs" / "spark.md"
    blocks = re.findall(r"^```py\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    exec("\n".join(blocks), {})

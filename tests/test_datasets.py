"""Public data are read from anywhere but the net, and generated data hold what was planted."""

import hashlib
import http.server
import threading
import zipfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from skglrm import GLRM, FPSGFactorizer
from skglrm.datasets import (
    _lastfm,
    _movielens,
    fetch_lastfm,
    fetch_movielens,
    make_mixed_table,
    make_ratings,
)
from skglrm.datasets._fetch import Archive

FILES = {
    "100k": {
        "u.data": "196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t302\t5\t881250950\n",
        "u.item": "242|Kolya (1996)|24-Jan-1997\n302|Città (1997)|01-Jan-1997\n",
    },
    "1m": {
        "ratings.dat": "196::242::3::881250949\n186::302::3::891717742\n196::302::5::881250950\n",
        "movies.dat": "242::Kolya (1996)::Comedy\n302::Città (1997)::Crime\n",
    },
    "25m": {
        "ratings.csv": "userId,movieId,rating,timestamp\n"
        "196,242,3.0,881250949\n186,302,3.0,891717742\n196,302,5.0,881250950\n",
        "movies.csv": 'movieId,title,genres\n242,Kolya (1996),Comedy\n302,"Città (1997)",Crime\n',
    },
    "lastfm": {
        "user_artists.dat": "userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n4\t51\t10\n",
        "artists.dat": "id\tname\turl\tpictureURL\n51\tDuran Duran\tx\ty\n52\tBjörk\tx\ty\n",
    },
}


def archive(folder, variant):
    """An archive of the given release with three lines in it."""
    path = folder / f"{variant}.zip"
    form = _movielens.VARIANTS.get(variant)
    inside = form.ratings.rpartition("/")[0] + "/" if form else ""
    with zipfile.ZipFile(path, "w") as file:
        for name, text in FILES[variant].items():
            file.writestr(inside + name, text.encode(form.encoding if form else "utf-8"))
    return path


@pytest.fixture
def server(tmp_path):
    """A local server of a folder, and its address."""
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def published(monkeypatch, url, path):
    """Let the small release be at an address, with the checksum of a file."""
    found = Archive(url, hashlib.sha256(path.read_bytes()).hexdigest())
    form = replace(_movielens.VARIANTS["100k"], archive=found)
    monkeypatch.setitem(_movielens.VARIANTS, "100k", form)


# ------------------------------------------------------------------ fetched


@pytest.mark.parametrize("variant", ["100k", "1m", "25m"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_releases_are_read_from_archives_and_folders(variant, unpacked, tmp_path):
    path = archive(tmp_path, variant)
    if unpacked:
        with zipfile.ZipFile(path) as file:
            file.extractall(tmp_path / "folder")
        path = tmp_path / "folder"
    found = fetch_movielens(variant, source=path)
    assert found.data.row_ids.tolist() == [186, 196] and found.data.col_ids.tolist() == [242, 302]
    np.testing.assert_array_equal(found.data.to_dense(), [[np.nan, 3], [3, 5]])
    assert str(found.time[0]) == "1997-12-04T15:55:49"
    assert found.names.tolist() == ["Kolya (1996)", "Città (1997)"]
    assert found.frame is None and "3 ratings of 2 films by 2 users" in found.DESCR


def test_the_file_of_ratings_alone_will_do(tmp_path):
    pandas = pytest.importorskip("pandas")
    (tmp_path / "u.data").write_text(FILES["100k"]["u.data"])
    found = fetch_movielens(source=str(tmp_path / "u.data"), as_frame=True)
    assert found.names is None
    assert found.frame.columns.tolist() == ["user", "item", "rating", "time"]
    assert found.frame["time"][2] == pandas.Timestamp("1997-12-04 15:55:50")
    assert found.frame["item"].tolist() == [242, 302, 302]


def test_plays_are_read(tmp_path):
    pytest.importorskip("pandas")
    found = fetch_lastfm(source=archive(tmp_path, "lastfm"), as_frame=True)
    np.testing.assert_array_equal(found.data.to_dense(), [[13883, 11690], [10, np.nan]])
    assert found.names.tolist() == ["Duran Duran", "Björk"]
    assert found.frame["plays"].tolist() == [13883, 11690, 10]
    (tmp_path / "user_artists.dat").write_text(FILES["lastfm"]["user_artists.dat"])
    assert fetch_lastfm(source=tmp_path / "user_artists.dat").names is None


def test_the_real_files_are_read(shared_data):
    for name, fetch, n, shape in [
        ("ml-100k-u.data", fetch_movielens, 100_000, (943, 1682)),
        ("lastfm-user_artists.dat", fetch_lastfm, 92_834, (1892, 17632)),
    ]:
        if (shared_data / name).exists():
            found = fetch(source=shared_data / name)
            assert (len(found.data), found.data.matrix_shape) == (n, shape)


def test_a_download_is_checked_and_kept(server, tmp_path, monkeypatch):
    path = archive(tmp_path / "served", "100k")
    published(monkeypatch, server + "100k.zip", path)
    first = fetch_movielens(data_home=tmp_path / "home")
    assert (tmp_path / "home" / "skglrm" / "100k.zip").read_bytes() == path.read_bytes()
    path.unlink()  # from now on it comes from the disk
    again = fetch_movielens(data_home=tmp_path / "home", download_if_missing=False)
    np.testing.assert_array_equal(first.data.value, again.data.value)


def test_a_copy_elsewhere_must_be_the_same(server, tmp_path, monkeypatch):
    path = archive(tmp_path / "served", "100k")
    published(monkeypatch, "http://127.0.0.1:9/100k.zip", path)
    found = fetch_movielens(source=server + "100k.zip", data_home=tmp_path / "home")
    assert len(found.data) == 3
    (tmp_path / "served" / "other.zip").write_bytes(b"something else")
    with pytest.raises(OSError, match="checksum"):
        fetch_movielens(source=server + "other.zip", data_home=tmp_path / "other")
    assert not list((tmp_path / "other" / "skglrm").iterdir())


def test_without_a_network_it_is_said_which_file_to_put_where(tmp_path, monkeypatch):
    path = archive(tmp_path, "100k")
    published(monkeypatch, "http://127.0.0.1:9/ml-100k.zip", path)
    target = tmp_path / "home" / "skglrm" / "ml-100k.zip"
    said = rf"127\.0\.0\.1:9/ml-100k\.zip could not be downloaded.*put it at {target}; or pass"
    with (
        pytest.warns(UserWarning, match="Retry downloading"),
        pytest.raises(OSError, match=said),
    ):
        fetch_movielens(data_home=tmp_path / "home", n_retries=1, delay=0)
    with pytest.raises(OSError, match=rf"{target} is not there, and download_if_missing=False"):
        fetch_movielens(data_home=tmp_path / "home", download_if_missing=False)
    target.write_bytes(path.read_bytes())  # as the message says
    assert len(fetch_movielens(data_home=tmp_path / "home").data) == 3


def test_unusable_sources_are_named(tmp_path):
    with pytest.raises(ValueError, match="variant must be one of .* Got '2m'"):
        fetch_movielens("2m")
    with pytest.raises(OSError, match="does not exist"):
        fetch_movielens(source=tmp_path / "nothing")
    with pytest.raises(OSError, match=r"has no ml-1m/ratings\.dat"):
        fetch_movielens("1m", source=archive(tmp_path, "100k"))
    (tmp_path / "text").write_text("no numbers here\n")
    with pytest.raises(OSError, match="not of the format"):
        fetch_movielens(source=tmp_path / "text")


def test_every_release_has_an_address_and_a_checksum():
    known = [form.archive for form in _movielens.VARIANTS.values()] + [_lastfm.ARCHIVE]
    for one in known:
        assert one.url.startswith("https://files.grouplens.org/") and len(one.sha256) == 64


# ------------------------------------------------------------------ generated


@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_ratings_are_what_was_planted_plus_noise(skew):
    entries, truth = make_ratings(
        300, 80, n_components=3, density=0.3, noise=0.25, skew=skew, random_state=0,
        return_truth=True,
    )  # fmt: skip
    assert len(entries) == 7200 and entries.matrix_shape == (300, 80)
    assert len(set(zip(entries.row.tolist(), entries.col.tolist(), strict=True))) == 7200
    planted = truth.intercept + (truth.row_factors @ truth.components)[entries.row, entries.col]
    assert np.std(entries.value - planted) == pytest.approx(0.25, rel=0.05)
    assert np.std(planted) == pytest.approx(1.0, rel=0.2)
    counts = np.bincount(entries.col, minlength=80)
    assert (counts.std() > 15) == (skew > 0)
    again = make_ratings(
        300, 80, n_components=3, density=0.3, noise=0.25, skew=skew, random_state=0
    )
    np.testing.assert_array_equal(again.value, entries.value)


def test_a_model_finds_what_was_planted():
    entries = make_ratings(150, 60, n_components=2, density=0.5, noise=0.2, random_state=0)
    train, test = entries[: len(entries) // 2], entries[len(entries) // 2 :]
    model = GLRM(2, regularization=0.3, offset=True).fit(train)
    assert model.score(test) > 0.8


def test_stars_are_halves_and_large_matrices_are_drawn_piece_by_piece():
    entries = make_ratings(3000, 2000, density=0.001, stars=True, random_state=0)
    assert len(entries) == 6000
    assert set(np.unique(entries.value)) <= set(np.arange(1, 11) / 2)
    assert len(np.unique(entries.row.astype(np.int64) * 2000 + entries.col)) == 6000
    with pytest.raises(ValueError, match="density must be above 0 and at most 1. Got 0"):
        make_ratings(density=0)
    assert FPSGFactorizer(2, max_iter=1, random_state=0).fit(entries).n_features_in_ == 2000


def test_a_mixed_table_has_columns_of_all_types_and_hidden_cells():
    pytest.importorskip("pandas")
    table = make_mixed_table(200, missing=0.25, random_state=0)
    assert table.data.shape == table.complete.shape == table.hidden.shape == (200, 11)
    assert not table.complete.isna().to_numpy().any()
    np.testing.assert_array_equal(table.data.isna().to_numpy(), table.hidden)
    assert table.hidden.mean() == pytest.approx(0.25, abs=0.05)
    kept = table.data.where(~table.data.isna(), table.complete)
    assert kept.astype(str).equals(table.complete.astype(str))
    numbers = table.complete.filter(like="number").to_numpy(float)
    residual = numbers - table.row_factors @ np.linalg.lstsq(table.row_factors, numbers)[0]
    assert residual.std() == pytest.approx(0.3, abs=0.05)


def test_a_mixed_table_is_completed_better_than_by_chance():
    pytest.importorskip("pandas")
    table = make_mixed_table(150, n_counts=0, missing=0.2, random_state=0)
    model = GLRM(2, loss="auto", scale=True, offset=True, regularization=1.0, max_iter=20, tol=1e-2)
    filled = model.fit(table.data).impute(table.data)
    for name in ("flag_0", "label_0"):
        hidden = table.hidden[:, table.data.columns.get_loc(name)]
        truth = table.complete[name][hidden].astype(str)
        chance = truth.value_counts(normalize=True).max()
        assert (filled[name][hidden].astype(str) == truth).mean() > chance + 0.1

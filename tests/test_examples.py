"""The examples run as a user runs them, and what they print is what they promise.

Those that the README names first are in test_readme.py, the pictures in test_displays.py.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skglrm

ROOT = Path(__file__).resolve().parents[1]


ERRORS = "error,ignore::DeprecationWarning,ignore::PendingDeprecationWarning"


def run(name: str, *arguments: str, cwd: Path, warnings: str = ERRORS, **environment: str) -> str:
    environment |= {
        "MPLBACKEND": "Agg",
        "PYTHONPATH": str(Path(skglrm.__file__).parents[1]),  # what these tests import
        "PYTHONUTF8": "1",
        "PYTHONWARNINGS": warnings,
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_mixed_table_is_filled_better_than_by_means_and_modes(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("pandas")
    said = run("mixed_table.py", "--save", "table.png", cwd=tmp_path)
    kinds = ("number", "whole number", "Boolean", "ordered labels", "labels")
    for kind in kinds:
        (errors,) = re.findall(rf"^{kind}((?: +\d\.\d+)+)$", said, flags=re.MULTILINE)
        plain, *_, ours = map(float, errors.split())
        assert ours < 0.8 * plain, kind
    assert "GLRM is below mean or mode for 5 of 5 types" in said
    assert (tmp_path / "table.png").stat().st_size > 10_000


def test_a_fit_from_disk_gives_the_bits_of_a_fit_in_memory(tmp_path):
    assert "same bits: True" in run("out_of_core.py", cwd=tmp_path)


def test_honest_searches_find_the_rank_and_the_same_cells_do_not(tmp_path):
    pytest.importorskip("matplotlib")
    said = run("choosing_rank.py", "--save", "rank.png", cwd=tmp_path)
    chosen = re.findall(r"^(new rows|new cells|new cells, by ids|same cells) .* (\d)$", said, re.M)
    assert [int(rank) for _, rank in chosen] == [3, 3, 3, 8]
    assert "halving from 10 iterations chooses 3" in said
    assert (tmp_path / "rank.png").stat().st_size > 10_000


def test_a_model_is_served_from_a_memory_map(tmp_path):
    pytest.importorskip("pandas")
    said = run("serving.py", cwd=tmp_path)
    assert len(re.findall(r"^  artist \d{3}  0\.\d\d$", said, re.M)) == 3
    assert "The server has alpha=1.0, and the next process alpha=5.0." in said
    assert "Refused: The file holds instances of the class '__main__:Shifted'" in said
    assert said.endswith("GLRM(loss=Shifted(shift=0.5), n_components=1)\n")


def test_probabilities_of_booleans_are_calibrated(tmp_path):
    said = run("binary_entries.py", cwd=tmp_path)
    pairs = re.findall(r"predicted (0\.\d+)   happened (0\.\d+)", said)
    assert len(pairs) == 5
    assert all(abs(float(predicted) - float(happened)) < 0.1 for predicted, happened in pairs)
    (removed,) = re.findall(r"is removed: (0\.\d+)", said)
    assert float(removed) > 0.2
    right = dict(re.findall(r"(logistic|hinge): (0\.\d+) of the labels", said))
    assert min(map(float, right.values())) > 0.7


def test_pairwise_ranking_finds_more_clicks_than_popularity(tmp_path):
    said = run("rank_with_bpr.py", cwd=tmp_path)
    found = {
        name: float(ndcg)
        for name, ndcg in re.findall(r"^(BPR|popularity):.*NDCG@10 (.*)$", said, re.M)
    }
    assert found["BPR"] > 2 * found["popularity"]


def test_recommendations_from_generated_plays_beat_the_charts(tmp_path):
    pytest.importorskip("matplotlib")
    said = run("lastfm_recommendations.py", cwd=tmp_path)
    assert "(generated plays)" in said
    recall = dict(re.findall(r"(ImplicitALS|most played) +recall@20 (0\.\d+)", said))
    assert float(recall["ImplicitALS"]) > 1.4 * float(recall["most played"])
    assert (tmp_path / "lastfm_recommendations.png").stat().st_size > 10_000


def test_every_example_is_run_by_a_test():
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for example in sorted((ROOT / "examples").glob("*.py")):
        assert f'"{example.name}"' in tests, example.name

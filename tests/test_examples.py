"""The examples run as a user runs them, and what they print is what they promise.

Those that the README names are in test_readme.py.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skglrm

ROOT = Path(__file__).resolve().parents[1]


def run(name: str, *arguments: str, cwd: Path) -> str:
    environment = {
        "MPLBACKEND": "Agg",
        "PYTHONPATH": str(Path(skglrm.__file__).parents[1]),  # what these tests import
        "PYTHONUTF8": "1",
        "PYTHONWARNINGS": "error,ignore::DeprecationWarning,ignore::PendingDeprecationWarning",
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

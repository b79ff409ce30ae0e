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

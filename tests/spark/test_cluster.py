"""A cluster with two executor processes, one of which is killed in the middle of a fit."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_killed_executor_changes_nothing(environment, tmp_path):
    script = Path(__file__).parent / "cluster_script.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found == {"same": True, "killed": True, "copied": 0, "persisted": 0}

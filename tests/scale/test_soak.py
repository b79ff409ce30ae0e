"""A short form of soak.py: memory stays flat, and answers are those of one thread."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def test_updates_and_requests_from_many_threads_keep_memory_flat_and_answers_right():
    pytest.importorskip("pandas")
    # Never in the process of the tests: what others have freed is handed out again in pieces,
    # which looks like growth.
    command = [sys.executable, Path(__file__).with_name("soak.py"), "--share", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [json.loads(line)["right"] for line in done.stdout.splitlines()] == [True] * 3

"""Scripts that run in processes of their own, which faults may end."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

KERNEL = """
from .._jit import kernel


@kernel
def evaluate(loss, u, a):
    return loss.value(u, a)
"""


@pytest.fixture
def run(tmp_path):
    """Run a script; return what it prints at the end, read as JSON."""

    def run_script(script, *arguments, path=ROOT, timeout=300, **environment):
        process = start_script(script, *arguments, path=path, **environment)
        out, error = process.communicate(timeout=timeout)
        assert process.returncode == 0, error[-3000:]
        return json.loads(out.splitlines()[-1])

    def start_script(script, *arguments, path=ROOT, **environment):
        return subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(path), **environment},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    run_script.start = start_script
    return run_script


@pytest.fixture(scope="session")
def small_copy(tmp_path_factory):
    """Folder with a copy of the package: no estimators, whose imports take long, and a kernel."""
    folder = tmp_path_factory.mktemp("small_copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "skglrm", folder / "skglrm", ignore=ignored)
    (folder / "skglrm" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "skglrm" / "kernels" / "simple.py").write_text(KERNEL, encoding="utf-8")
    return folder

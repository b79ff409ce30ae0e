"""A short form of soak.py: memory stays flat, and answers are those of one thread."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("soak", Path(__file__).with_name("soak.py"))
    module = importlib.util.module_from_spec(spec)
    pytest.importorskip("pandas")
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["ImplicitALS", "FPSGFactorizer", "GLRM"])
def test_updates_and_requests_from_many_threads_keep_memory_flat_and_answers_right(name, script):
    found = script.soak(name, 40 if name == "GLRM" else 100, 1000)
    assert found["right"]
    most = 2 * script.MOST  # what tests before this one have freed is handed out again in pieces
    assert found["grown_by_updates"] < most
    assert found["grown_by_requests"] < most

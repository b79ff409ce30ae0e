"""The page about what skglrm survives names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ROOT / "tests" / "properties" / "checks.py"


def test_every_promise_names_a_test_that_exists():
    page = (ROOT / "docs" / "survives.md").read_text(encoding="utf-8")
    written = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")
    )
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 30
    assert [name for name in named if f"def {name}(" not in written] == []
    for path in re.findall(r"`(tests/[\w/]+\.py)", page):
        assert (ROOT / path).is_file(), path
    checks = re.findall(r'^    "([\w ]+)":', CHECKS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in checks if f"`{name}`" not in page] == []
    for line in page.splitlines():
        if line.startswith("| ") and "---" not in line and "promise" not in line:
            known = [name for name in re.findall(r"`([\w ]+)`", line) if name in checks]
            assert "test" in line or known, line

"""Tests with other versions of Python and of what skglrm needs, each set in a venv of its own.

    python tests/versions.py oldest                      # the lower bounds of pyproject.toml
    python tests/versions.py newest                      # what pip finds today
    python tests/versions.py newest --python python3.13
    python tests/versions.py oldest tests/test_frames.py -k polars

What follows the name of the set goes to pytest; without it SMOKE runs.  Venvs lie in
``.venv/versions`` and are made once.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENVS = ROOT / ".venv" / "versions"

SMOKE = [
    "tests/test_alternating.py",
    "tests/test_callbacks.py",
    "tests/test_compile_time.py",
    "tests/test_fpsg_control.py",
    "tests/test_frames.py",
    "tests/test_implicit_als.py",
    "tests/test_persistence.py",
    "tests/test_record.py",
    "tests/test_sklearn.py",
]
"""What leans on other packages most: numba's extension points, scikit-learn's checks, frames."""


def requirements(oldest, extras):
    """Everything that pyproject.toml asks for, at the lower bounds if ``oldest``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"]]
    for extra in extras:
        asked += project["optional-dependencies"][extra]
    if not oldest:
        return sorted(set(asked))
    bounds = {}
    for one in asked:
        name, bound = re.fullmatch(r"([\w.-]+)\s*>=\s*([\w.]+)", one).groups()
        if bounds.setdefault(name, bound) != bound:
            raise SystemExit(f"pyproject.toml has two lower bounds for {name}.")
    return sorted(f"{name}=={bound}" for name, bound in bounds.items())


def made(name, python, wanted):
    """Python of a venv that holds what is wanted, made if it does not exist."""
    found = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    venv = VENVS / f"{name}-{found.stdout.strip()}"
    inside = venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = venv / "requirements.txt"
    if not done.exists() or done.read_text(encoding="utf-8").split() != wanted:
        subprocess.run([python, "-m", "venv", "--clear", str(venv)], check=True)
        pip = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted], check=True)
        subprocess.run([*pip, "--no-deps", "--editable", str(ROOT)], check=True)
        done.write_text("\n".join(wanted), encoding="utf-8")
    return str(inside)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("set", choices=["oldest", "newest"])
    parser.add_argument("--python", default=sys.executable, help="the Python of the venv")
    parser.add_argument("--extras", default="test", help="of pyproject.toml, with commas")
    options, for_pytest = parser.parse_known_args()
    wanted = requirements(options.set == "oldest", options.extras.split(","))
    python = made(options.set, options.python, wanted)
    names = [re.split(r"[>=]", one)[0] for one in wanted]
    subprocess.run([python, "-c", VERSIONS, *names], check=True)
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(for_pytest or SMOKE)]
    raise SystemExit(subprocess.run(pytest, cwd=ROOT).returncode)


VERSIONS = """
import sys
from importlib.metadata import version
print("Python", sys.version.split()[0], *(f"{name} {version(name)}" for name in sys.argv[1:]))
"""

if __name__ == "__main__":
    main()

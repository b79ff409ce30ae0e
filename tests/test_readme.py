"""What README.md and the pages of docs/ show, works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skglrm

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    path.name: path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
README = PAGES["README.md"]
WARNINGS = "error,ignore::DeprecationWarning,ignore::PendingDeprecationWarning"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def run(*arguments: str, cwd: Path) -> str:
    environment = {
        "MPLBACKEND": "Agg",
        "PYTHONPATH": str(Path(skglrm.__file__).parents[1]),  # what these tests import
        "PYTHONUTF8": "1",
        "PYTHONWARNINGS": WARNINGS,
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [name for name in PAGES if blocks(PAGES[name], "python")])
def test_code_on_a_page_runs(name, tmp_path):
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(PAGES[name], "python")), encoding="utf-8")
    run(str(script), cwd=tmp_path)


def test_the_example_of_the_readme_is_short_and_tells_a_score():
    (example,) = blocks(README, "python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    assert ".score(" in example


def test_ci_runs_the_test_command_of_the_readme():
    _, test_command, *_ = blocks(README, "sh")
    assert "-m pytest" in test_command
    assert test_command.strip() in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_first_command_of_the_readme_runs_the_quickstart():
    demo_command, *_ = blocks(README, "sh")
    assert demo_command.rstrip().endswith("python examples/quickstart.py")


def test_every_file_that_a_page_names_exists():
    named = re.compile(r"`[\w ]*?((?:examples|docs|asv_bench|skglrm)/[\w./]*)")
    missing = {
        (name, path)
        for name, page in PAGES.items()
        for path in named.findall(page)
        if not (ROOT / path).exists()
    }
    assert not missing


def test_quickstart_beats_the_mean_and_draws_a_picture(tmp_path):
    said = run(str(ROOT / "examples" / "quickstart.py"), cwd=tmp_path)
    error, mean_error = re.findall(r"off by (\d\.\d+)", said)
    assert float(error) < 0.6 < 1.0 < float(mean_error)
    assert (tmp_path / "quickstart.png").stat().st_size > 10_000


def test_own_loss_obeys_the_laws_and_moves_the_fit(tmp_path):
    said = run(str(ROOT / "examples" / "own_loss.py"), cwd=tmp_path)
    assert "obeys" in said
    shares = [int(share) for share in re.findall(r"(\d+)% of the predictions", said)]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    assert "Best strength" in said  # found by two other processes


def test_grid_search_on_movielens_finds_a_good_model(shared_data, tmp_path):
    ratings = shared_data / "ml-100k-u.data"
    said = run(str(ROOT / "examples" / "movielens_grid_search.py"), str(ratings), cwd=tmp_path)
    (error,) = re.findall(r"ratings held out: (\d\.\d+)", said)
    assert float(error) < 0.92
    assert (tmp_path / "movielens_grid_search.png").exists()


def test_grid_search_on_movielens_says_what_it_needs(tmp_path):
    with pytest.raises(AssertionError, match=r"u\.data of MovieLens 100K"):
        run(str(ROOT / "examples" / "movielens_grid_search.py"), "no-such-file", cwd=tmp_path)

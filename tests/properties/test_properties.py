"""Every property on a few generated cases; ``run.py`` tries many more, for minutes in CI."""

import pytest
from checks import CHECKS
from hypothesis import HealthCheck, given, settings

EXAMPLES = {
    "fits": 20,
    "fits of GLRM": 12,
    "containers": 15,
    "rows alone": 15,
    "permutations": 8,
    "saved models": 10,
}


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "hostile files"])
def test_generated_cases_end_as_documented(name):
    strategy, check = CHECKS[name]

    @settings(
        max_examples=EXAMPLES.get(name, 100), derandomize=True, database=None, deadline=None,
        suppress_health_check=[*HealthCheck],
    )  # fmt: skip
    @given(strategy())
    def run(case):
        check(case)

    run()

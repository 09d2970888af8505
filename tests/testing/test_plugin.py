"""The pytest plugin, as a project that only has the package installed uses it."""

from __future__ import annotations

import pytest

pytest_plugins = "pytester"

CLIENT = """
import openai
import pytest

HELLO = [{"role": "user", "content": "hello there"}]

def client(simulator):
    return openai.OpenAI(base_url=simulator.base_url, api_key="any", max_retries=0)
"""


def run(pytester: pytest.Pytester, code: str) -> pytest.RunResult:
    pytester.makepyfile(CLIENT + code)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-W", "error", "--strict-markers")


def test_the_fixture_gives_a_server_for_the_test(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_one(openai_simulator):
    with client(openai_simulator) as made:
        made.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert openai_simulator.summary().admitted == 1

def test_another_starts_anew(openai_simulator):
    assert openai_simulator.summary().calls == 0
""",
    )
    result.assert_outcomes(passed=2)


def test_the_marker_sets_it_up(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.openai_simulator(limits={"rpm": 1}, retry_after=True)
def test_refused(openai_simulator):
    with client(openai_simulator) as made:
        made.chat.completions.create(model="gpt-4o", messages=HELLO)
        with pytest.raises(openai.RateLimitError):
            made.chat.completions.create(model="gpt-4o", messages=HELLO)
""",
    )
    result.assert_outcomes(passed=1)


def test_the_factory_starts_as_many_as_wanted(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_two(openai_simulators):
    first = openai_simulators(limits={"rpm": 1})
    second = openai_simulators(own_process=True, limits={"rpm": 2})
    assert first.summary().meter("rpm").limit == 1
    assert second.summary().meter("rpm").limit == 2
""",
    )
    result.assert_outcomes(passed=1)


def test_the_test_says_by_how_much_the_limits_were_used(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.openai_simulator(limits={"tpd": 10}, charge="characters")
def test_full(openai_simulator):
    with client(openai_simulator) as made:
        for _ in range(2):
            made.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert 0.99 < openai_simulator.summary().utilization <= 1
""",
    )
    result.assert_outcomes(passed=1)


def test_a_wrong_setting_is_told_in_its_line(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.openai_simulator(limit={"rpm": 1})
def test_wrong(openai_simulator):
    pass
""",
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no setting limit; did you mean limits?*"])

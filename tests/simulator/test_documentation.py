"""The page about the simulator: its examples run, and it leaves nothing out."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from tests.simulator import recorded
from throttle.simulator import Settings
from throttle.simulator.charges import CHARGES
from throttle.simulator.faults import FAULTS
from throttle.simulator.headers import HEADER_FORMS
from throttle.simulator.judge import POLICIES
from throttle.simulator.limits import KNOWN_METERS
from throttle.simulator.others import PATTERNS
from throttle.simulator.refusals import REFUSAL_FORMS

pytest_plugins = "pytester"

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
BLOCKS = re.findall(r"```python( pytest)?\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("code", [code for kind, code in BLOCKS if not kind])
def test_an_example_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "docs/simulator.md", "exec"), {})


@pytest.mark.parametrize("code", [code for kind, code in BLOCKS if kind])
def test_an_example_of_a_test_passes(code: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(code)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "names",
    [
        [each.name for each in fields(Settings)],
        list(FAULTS),
        list(HEADER_FORMS),
        list(REFUSAL_FORMS),
        list(PATTERNS),
        list(POLICIES),
        list(CHARGES),
        list(KNOWN_METERS),
    ],
)
def test_every_setting_and_every_value_is_named(names: list[str]) -> None:
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_the_defaults_are_those_of_the_settings() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (`[^|]*`|\d[\d.]*|no) \|", PAGE, re.MULTILINE))
    defaults = Settings()
    told = {name: value for name, value in rows.items() if hasattr(defaults, name)}
    assert len(told) > 15
    for name, value in told.items():
        default = getattr(defaults, name)
        assert (False if value == "no" else eval(value.strip("`"))) == default, name


def test_the_counts_of_recorded_figures_are_right() -> None:
    counts = [
        int(count) for count in re.findall(r"^\| .* \| (\d+) \|$", PAGE.partition("How true it is")[2], re.MULTILINE)
    ]
    assert counts == [
        len(recorded.HEADERS),
        len(recorded.HIDDEN_FRACTIONS),
        len(recorded.REFUSALS),
        len(recorded.TOO_LARGE),
        len(recorded.CHARACTER_CHARGES),
        len(recorded.MAXIMUM_CHARGES),
        len(recorded.RESPONSE_CHARGES),
        len(recorded.SETTLED),
    ]

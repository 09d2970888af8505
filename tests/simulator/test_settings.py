from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from throttle.simulator import Settings, SettingsError
from throttle.simulator.delays import read_delay


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"polcy": "bucket"}, "no setting polcy; did you mean policy?"),
        ({"zzz": 1}, "no setting zzz; known are limits"),
        ({"policy": "leaky"}, "policy: 'leaky' is none of bucket, fixed, sliding, per-second"),
        ({"charge": "tokens"}, "charge: 'tokens' is none of characters, input, maximum, usage"),
        ({"start": 1.5}, "start: 1.5 is not a number from 0 to 1"),
        ({"start": "half"}, "start: 'half' is none of full, empty, or a number from 0 to 1"),
        ({"limits": {}}, "limits= must be a mapping"),
        ({"limits": {"rpm": "many"}}, "limits: default.rpm must be a number, not 'many'"),
        ({"limits": {"rpm": -1}}, "limits: default.rpm must not be below zero"),
        ({"limits": {"gpt-4o": {"rqm": 3}}}, "limits: gpt-4o has an unknown meter rqm; known are rpm"),
        ({"limits": {"gpt-4o": 3}}, "limits: gpt-4o must be a mapping of meters"),
        ({"limits": {"rpm": {"limit": 3, "windows": 3}}}, "limits: default.rpm has an unknown key windows"),
        (
            {"projects": {"p": {"gpt-4o": {"rpm": 1}}}},
            "projects: p limits the family gpt-4o, which limits= does not have",
        ),
        ({"latency_s": -1}, "latency_s: uniform takes 2 number(s) of seconds from 0 to 3600, not (-1, -1)"),
        ({"latency_s": (2, 1)}, "latency_s: the range begins at 2 and ends before that, at 1"),
        ({"latency_s": {"pareto": 1}}, "latency_s: give one of uniform, lognormal, exponential, values, not pareto"),
        ({"output_tokens": (1, 2, 3)}, "output_tokens: give a number or a range of two, not (1, 2, 3)"),
        ({"faults": ["sulk"]}, "faults: 'sulk' is none of status, 500"),
        ({"faults": [{"kind": "500", "rat": 1}]}, "faults: unknown key rat"),
        ({"faults": [{"kind": "500", "rate": 2}]}, "faults: rate 2 is not from 0 to 1"),
        ({"faults": [{"kind": "headers", "form": "x"}]}, "faults: form 'x' is none of openai"),
        ({"others": {"pattern": "chaos"}}, "others: pattern 'chaos' is none of steady"),
        ({"others": {"pool": "gpt-4o"}}, "others: pool: 'gpt-4o' is none of default"),
        ({"headers": "x"}, "headers: 'x' is none of openai"),
        ({"errors": "x"}, "errors: 'x' is none of openai"),
        ({"changes": [{"limits": {"rpm": 1}}]}, "changes: at_s: None is not a number"),
        ({"changes": [{"at_s": 1, "polcy": 1}]}, "no setting polcy"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.of(**settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_survive_the_way_to_another_process() -> None:
    settings = Settings.of(
        limits={"gpt-4o": {"rpm": 3, "tpm": {"limit": 100, "window_s": 2_592_000}}},
        latency_s={"lognormal": [1, 0.5], "most_s": 60},
        faults=["hang", {"kind": "500", "calls": [1, 2]}],
        others=[{"pattern": "poisson", "rpm": 3}],
        output_tokens=(1, 9),
        start="empty",
    )
    again = Settings.of(**json.loads(json.dumps(settings.plain())))
    assert again.account == settings.account
    assert again.script == settings.script
    assert again.crowd == settings.crowd
    assert (again.latency, again.output_range, again.level_at_start) == (settings.latency, (1, 9), 0)


@pytest.mark.parametrize(
    ("told", "low", "high"),
    [
        (0.5, 0.5, 0.5),
        ((1, 2), 1, 2),
        ({"lognormal": [1, 2], "most_s": 5}, 0, 5),
        ({"exponential": 3, "most_s": 4}, 0, 4),
        ({"values": [1, 60]}, 1, 60),
    ],
)
def test_delays_are_drawn_from_what_was_asked_for(told: Any, low: float, high: float) -> None:
    delay, random = read_delay("latency_s", told), Random(1)
    drawn = [delay.draw(random) for _ in range(500)]
    assert low <= min(drawn) <= max(drawn) <= high
    if low != high:
        assert len(set(drawn)) > 1
    again = Random(1)
    assert drawn == [delay.draw(again) for _ in range(500)]

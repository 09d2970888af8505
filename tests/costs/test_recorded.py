"""Counts that the API itself reported, for bodies as they were sent.

`recorded_counts.json` holds them with the public repository whose test recordings they were taken from (Apache-2.0:
Arize-ai/openinference, Future-House/ldp, braintrustdata/braintrust-sdk-python, charmbracelet/fantasy,
elastic/elastic-otel-python-instrumentations, open-telemetry/opentelemetry-python-contrib, simonw/llm,
traceloop/openllmetry; Apache-2.0 or BSD-3-Clause: DataDog/dd-trace-js, DataDog/dd-trace-py; MIT: Mirascope/mirascope,
crewAIInc/crewAI, pydantic/pydantic-ai, activeagents/activeagent, alexrudall/ruby-openai, jackmpcollins/magentic,
tidyverse/ellmer, tmc/langchaingo, vicentereig/dspy.rb).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from throttle.costs import CallCost

RECORDED: Final[list[dict[str, Any]]] = json.loads((Path(__file__).parent / "recorded_counts.json").read_text("ascii"))


def name_of(case: dict[str, Any]) -> str:
    return f"{case['source']} {case['date']} {case['model']} {case['endpoint']} {case['input_tokens']}"


@pytest.mark.parametrize("case", RECORDED, ids=name_of)
def test_what_the_api_reported_is_counted_to_the_token(case: dict[str, Any]) -> None:
    call = CallCost(case["body"], case["endpoint"], model=case["model"])
    assert call.input_tokens == case["input_tokens"]


@pytest.mark.parametrize("case", RECORDED, ids=name_of)
def test_the_bound_is_never_below_the_count(case: dict[str, Any]) -> None:
    call = CallCost(case["body"], case["endpoint"], model=case["model"])
    assert call.input_bound >= call.input_tokens


@pytest.mark.parametrize("case", RECORDED, ids=name_of)
def test_a_body_is_only_read(case: dict[str, Any]) -> None:
    before = json.dumps(case["body"])
    call = CallCost(case["body"], case["endpoint"])
    assert [call.booked(charge) >= 0 for charge in ("characters", "input", "maximum", "usage")] == [True] * 4
    assert call.heavy is False
    assert json.dumps(case["body"]) == before


def test_a_second_count_is_the_same_as_the_first() -> None:
    for case in RECORDED:
        first = CallCost(case["body"], case["endpoint"]).input_tokens
        assert CallCost(json.loads(json.dumps(case["body"])), case["endpoint"]).input_tokens == first

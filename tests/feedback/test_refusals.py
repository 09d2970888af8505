"""Each refusal taken for what it is: see refusal_texts.py for the texts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.feedback.refusal_texts import CASES, WALL_S, Case, body, requests, table, tokens
from throttle.feedback.refusals import Refusal, read_refusal


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_text_is_taken_for_what_it_is(case: Case) -> None:
    found = dataclasses.asdict(read_refusal(case.status, case.headers, case.body, wall_s=WALL_S))
    for ignored in ("code",):
        found.pop(ignored)
    blank = dataclasses.asdict(Refusal("other", False))
    expected = {**{name: blank[name] for name in found}, **case.expected}
    assert found == {k: pytest.approx(v) if isinstance(v, float) else v for k, v in expected.items()}


def test_there_are_texts_enough_and_the_docs_show_them_all() -> None:
    assert len(CASES) >= 40
    page = Path(__file__).parents[2] / "docs" / "refusals.md"
    assert table() in page.read_text(encoding="utf-8"), (
        "docs/refusals.md: renew by python -m tests.feedback.refusal_texts"
    )


def level_text(limit: int, used: int, requested: int, hint: str) -> str:
    return tokens(
        f"Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit {limit}, Used {used}, "
        f"Requested {requested}. Please try again in {hint}."
    )


def test_an_exact_text_tells_the_level() -> None:
    assert read_refusal(429, {}, level_text(30_000, 29_937, 385, "644ms"), wall_s=0).level == 63


@pytest.mark.parametrize("hint", ["7s", "643s", "30ms"])
def test_a_text_whose_numbers_do_not_fit_its_time_is_no_evidence(hint: str) -> None:
    refusal = read_refusal(429, {}, level_text(30_000, 29_937, 385, hint), wall_s=0)
    assert (refusal.kind, refusal.exact, refusal.level) == ("rate", False, None)


def test_a_server_that_always_says_full_and_one_is_told_apart() -> None:
    text = requests(
        "Rate limit reached for m in organization o on requests per min (RPM): Limit 600, Used 600, Requested 1. "
        "Please try again in 27s."
    )
    assert not read_refusal(429, {}, text, wall_s=0).exact


def test_a_hidden_part_of_a_request_is_no_contradiction() -> None:
    text = requests(
        "Rate limit reached for m in organization o on requests per min (RPM): Limit 3, Used 3, Requested 1. "
        "Please try again in 11.2s."
    )
    refusal = read_refusal(429, {}, text, wall_s=0)
    assert (refusal.exact, refusal.wait_s) == (True, 11.2)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after-ms": "850", "retry-after": "1"}, 0.85),
        ({"retry-after-ms": "0", "retry-after": "2"}, 2.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "Fri, 08 Aug 2025 15:40:30 GMT"}, 30.0),
        ({"retry-after": "1m2s"}, 62.0),
        ({"retry-after": "nonsense"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_headers_tell_when_where_the_text_does_not(headers: dict[str, str], wait_s: float | None) -> None:
    assert read_refusal(429, headers, body("Too many requests"), wall_s=WALL_S).wait_s == wait_s


def test_an_exact_text_is_believed_before_a_whole_window_in_the_header() -> None:
    text = level_text(30_000, 29_937, 385, "644ms")
    assert read_refusal(429, {"retry-after": "60"}, text, wall_s=0).wait_s == 0.644


def test_the_header_is_believed_before_a_text_without_numbers() -> None:
    text = body("Rate limit is exceeded. Try again in 30 seconds.")
    assert read_refusal(429, {"retry-after": "4"}, text, wall_s=0).wait_s == 4.0


def test_the_server_may_forbid_a_retry() -> None:
    assert not read_refusal(429, {"x-should-retry": "false"}, tokens("Rate limit reached"), wall_s=0).retry


def test_a_promise_of_the_server_does_not_make_an_empty_purse_worth_trying() -> None:
    quota = body("You exceeded your current quota", "insufficient_quota", "insufficient_quota")
    assert not read_refusal(429, {"x-should-retry": "true"}, quota, wall_s=0).retry


def test_a_busy_minute_that_calls_itself_a_quota_is_a_rate() -> None:
    found = [
        {
            "error": {
                "code": 429,
                "message": "You exceeded your current quota, please check your plan and billing details.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38s"}],
            }
        }
    ]
    refusal = read_refusal(429, {}, json.dumps(found), wall_s=0)
    assert (refusal.kind, refusal.wait_s, refusal.retry) == ("rate", 38.0, True)


@pytest.mark.parametrize("status", [408, 409, 500, 502, 504])
def test_faults_of_the_server_are_worth_a_retry_and_say_nothing_of_a_rate(status: int) -> None:
    refusal = read_refusal(status, {}, "<html><title>Bad gateway</title></html>", wall_s=0)
    assert (refusal.kind, refusal.retry) == ("server", True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_callers_mistake_is_never_sent_again(status: int) -> None:
    refusal = read_refusal(status, {}, body("No such model", "invalid_request_error"), wall_s=0)
    assert (refusal.kind, refusal.retry) == ("other", False)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "Rate limit reached for gpt-5"},
        {"type": "error", "error": {"type": "tokens", "code": "rate_limit_exceeded", "message": "Rate limit reached"}},
        {"error": {"code": 429, "message": "Rate limit reached"}},
        {"error": {"code": None, "message": "Rate limit reached"}},
    ],
)
def test_errors_inside_a_stream_are_rates_though_the_status_was_200(event: dict[str, object]) -> None:
    assert read_refusal(200, {}, json.dumps(event), wall_s=0).kind == "rate"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "server_error", "message": "The server had an error. See our rate limit guide."}, "server"),
        ({"code": "invalid_prompt", "message": "Invalid prompt"}, "other"),
        ({"code": None, "message": "The model is overloaded"}, "overloaded"),
        ({"code": None, "message": "Something went wrong"}, "other"),
    ],
)
def test_other_errors_inside_a_stream_are_not(error: dict[str, object], kind: str) -> None:
    assert read_refusal(200, {}, json.dumps({"error": error}), wall_s=0).kind == kind


def test_a_projects_limit_is_told_from_the_organizations() -> None:
    text = tokens("Rate limit reached for gpt-4o in project proj_x on tokens per min (TPM): Limit 10, Used 10.")
    assert read_refusal(429, {}, text, wall_s=0).scope == "project"


@given(
    status=st.sampled_from([200, 400, 413, 429, 500, 503]),
    text=st.one_of(
        st.none(),
        st.binary(max_size=60),
        st.text(alphabet='{}[]":,Limit 0123456789.sm~', max_size=80),
        st.builds(level_text, st.integers(), st.integers(), st.integers(), st.sampled_from(["0s", "1ms", "9h", "x"])),
        st.recursive(st.none() | st.integers() | st.just("error"), lambda s: st.lists(s, max_size=3)).map(json.dumps),
    ),
    after=st.sampled_from(["", "1", "inf", "1e400", "x", "Wed"]),
)
def test_nothing_raises_and_waits_are_sane(status: int, text: str | bytes | None, after: str) -> None:
    refusal = read_refusal(status, {"retry-after": after}, text, wall_s=0)
    assert refusal.wait_s is None or 0 <= refusal.wait_s < 1e9
    assert refusal.level is None or refusal.level >= 0


def test_a_megabyte_of_nonsense_is_not_searched_through() -> None:
    assert read_refusal(429, {}, "try again in " * 100_000, wall_s=0).kind == "rate"

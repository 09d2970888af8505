"""The service in virtual time: what goes wrong on purpose, and whatever else can be set."""

from __future__ import annotations

import gzip
import json
import zlib
from fractions import Fraction as F
from random import Random
from typing import Any

import pytest

from tests.simulator.virtual import HELLO, Virtual, told
from throttle.simulator import Settings
from throttle.simulator.faults import FAULTS
from throttle.simulator.headers import HEADER_FORMS, print_headers
from throttle.simulator.judge import Standing
from throttle.simulator.others import PATTERNS, Others
from throttle.simulator.refusals import REFUSAL_FORMS

LIMITS = {"rpm": 100, "tpm": 10_000}


@pytest.mark.parametrize(
    ("fault", "status", "words", "charged"),
    [
        ("500", 500, "The server had an error", True),
        ("503", 503, "currently overloaded with other requests", False),
        ("slow_down", 503, '"code": "slow_down"', False),
        ("engine_overloaded", 503, '"code": "engine_overloaded"', False),
        ("quota", 429, '"code": "insufficient_quota"', False),
        ("plain", 503, "upstream connect error", False),
        ("html", 502, "<html>", False),
        ({"kind": "status", "status": 408, "message": "Timed out."}, 408, "Timed out.", True),
        ({"kind": "500", "charged": False}, 500, "The server had an error", False),
        ({"kind": "slow_down", "charged": True}, 503, "slow_down", True),
    ],
)
def test_a_fault_answers_in_its_own_words_and_is_charged_as_it_should(
    fault: Any, status: int, words: str, charged: bool
) -> None:
    virtual = Virtual(limits=LIMITS, faults=[fault])
    reply = virtual.post(0)
    assert (reply.status, words in reply.body.decode()) == (status, True)
    assert (virtual.levels(0) == [99, 9995]) is charged
    assert reply.call.fault == (fault if isinstance(fault, str) else fault["kind"])
    assert virtual.service.summary(F(0)).by_fault == {reply.call.fault: 1}


def test_a_script_meets_the_calls_it_names() -> None:
    virtual = Virtual(
        limits=LIMITS,
        faults=[
            {"kind": "500", "calls": [2]},
            {"kind": "503", "every": 4},
            {"kind": "slow_down", "between_s": [6, 7]},
            {"kind": "plain", "model": "gpt-5", "times": 1},
            {"kind": "html", "endpoint": "embeddings"},
        ],
    )
    statuses = [virtual.post(at).status for at in range(8)]
    assert statuses == [200, 500, 200, 503, 200, 200, 503, 503]
    assert [virtual.post(8, {**HELLO, "model": "gpt-5"}).status for _ in range(2)] == [503, 200]
    assert virtual.post(9, {"model": "e", "input": "x"}, "/v1/embeddings").status == 502


def test_a_rate_is_drawn_from_the_seed() -> None:
    def statuses(seed: int) -> list[int]:
        virtual = Virtual(limits={"rpm": 10_000}, faults=[{"kind": "500", "rate": 0.2}], seed=seed)
        return [virtual.post(0).status for _ in range(300)]

    first = statuses(1)
    assert first == statuses(1) != statuses(2)
    assert 30 < first.count(500) < 90


def test_faults_that_end_a_connection_say_so() -> None:
    endings = {}
    for kind in ("hang", "reset", "reset_mid_body", "close_mid_body"):
        reply = Virtual(limits=LIMITS, faults=[kind]).post(0)
        endings[kind] = (reply.ending, reply.kept, reply.call.status)
    assert endings == {
        "hang": ("hang", 0, 0),
        "reset": ("reset", 0, 0),
        "reset_mid_body": ("reset", 0.5, 200),
        "close_mid_body": ("close", 0.5, 200),
    }


def test_slow_answers_and_trickling_ones_take_their_time() -> None:
    slow = Virtual(faults=[{"kind": "slow", "seconds": 60}]).post(0)
    assert (slow.first_s, slow.whole_s) == (60, 60)
    streamed = Virtual(faults=[{"kind": "slow", "seconds": 60}]).post(0, {**HELLO, "stream": True})
    assert (streamed.first_s, streamed.whole_s) == (18, 60)
    trickle = Virtual(faults=[{"kind": "trickle", "seconds": 5}]).post(0)
    assert trickle.events is not None
    assert len(trickle.events) > 20
    assert json.loads(b"".join(trickle.events))["object"] == "chat.completion"
    assert trickle.whole_s - trickle.first_s == 5


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/chat/completions", HELLO, b'data: {"error": {"message": "Rate limit reached'),
        ("/v1/responses", {"model": "gpt-4o", "input": "hi"}, b"event: response.failed\n"),
    ],
)
def test_a_stream_may_end_in_an_error(path: str, body: Any, words: bytes) -> None:
    fault = {"kind": "error_in_stream", "code": "rate_limit_exceeded", "message": "Rate limit reached for gpt-4o."}
    reply = Virtual(faults=[fault]).post(0, {**body, "stream": True}, path)
    assert reply.events is not None
    assert reply.status == 200
    assert reply.events[-1].startswith(words)
    assert b"[DONE]" not in b"".join(reply.events)
    assert Virtual(faults=[fault]).post(0, body, path).status == 200


def test_compressed_streams_can_be_read_piece_by_piece() -> None:
    virtual = Virtual(compress=True)
    reply = virtual.post(0, {**HELLO, "stream": True}, accept_encoding="gzip, deflate")
    assert ("content-encoding", "gzip") in reply.headers
    assert reply.events is not None
    reader = zlib.decompressobj(wbits=31)
    assert reader.decompress(reply.events[0]).startswith(b"data: {")
    assert b"[DONE]" in b"".join(reader.decompress(event) for event in reply.events[1:])
    whole = virtual.post(0, accept_encoding="gzip")
    assert json.loads(gzip.decompress(whole.body))["object"] == "chat.completion"
    assert "content-encoding" not in dict(virtual.post(0).headers)


STANDINGS = [
    Standing("default", "organization", "rpm", "requests", F(100), F(199, 2), F(3, 10), F(60)),
    Standing("default", "organization", "tpm", "tokens", F(12_000), F(11_000), F(5), F(60)),
]
SIX = {
    "x-ratelimit-limit-requests": "100",
    "x-ratelimit-remaining-requests": "99",
    "x-ratelimit-reset-requests": "300ms",
    "x-ratelimit-limit-tokens": "12000",
    "x-ratelimit-remaining-tokens": "11000",
    "x-ratelimit-reset-tokens": "5s",
}


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ("openai", SIX),
        ("requests-only", {name: value for name, value in SIX.items() if "requests" in name}),
        ("none", {}),
        ("xai", {name: value for name, value in SIX.items() if "reset" not in name}),
        (
            "azure",
            {
                **SIX,
                "x-ratelimit-reset-requests": "300",
                "x-ratelimit-reset-tokens": "5000",
                "x-ratelimit-renewalperiod-requests": "60",
                "x-ratelimit-renewalperiod-tokens": "60",
            },
        ),
        (
            "mistral",
            {
                "x-ratelimit-limit-req-minute": "100",
                "x-ratelimit-remaining-req-minute": "99",
                "x-ratelimit-limit-tokens-minute": "12000",
                "x-ratelimit-remaining-tokens-minute": "11000",
            },
        ),
        (
            "together",
            {
                "x-ratelimit-limit": "100",
                "x-ratelimit-remaining": "99",
                "x-ratelimit-reset": "1",
                "x-ratelimit-limit-tokens": "12000",
                "x-ratelimit-remaining-tokens": "11000",
                "x-ratelimit-reset-tokens": "5",
            },
        ),
        (
            "cerebras",
            {
                "x-ratelimit-limit-requests-minute": "100",
                "x-ratelimit-remaining-requests-minute": "99",
                "x-ratelimit-reset-requests-minute": "0.3",
                "x-ratelimit-limit-tokens-minute": "12000",
                "x-ratelimit-remaining-tokens-minute": "11000",
                "x-ratelimit-reset-tokens-minute": "5.0",
            },
        ),
        (
            "openrouter",
            {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "99", "x-ratelimit-reset": "1800000000300"},
        ),
        (
            "ietf",
            {
                "ratelimit": '"requests";r=99;t=1, "tokens";r=11000;t=5',
                "ratelimit-policy": '"requests";q=100;w=60, "tokens";q=12000;w=60',
            },
        ),
        ("negative", dict.fromkeys(SIX, "-1")),
        ("zero", dict.fromkeys(SIX, "0")),
        ("words", dict.fromkeys(SIX, "unlimited")),
    ],
)
def test_headers_are_printed_in_the_form_asked_for(form: str, headers: dict[str, str]) -> None:
    assert dict(print_headers(form, STANDINGS, 1_800_000_000.0)) == headers


def test_headers_may_be_doubled_stale_or_absurd() -> None:
    assert len(print_headers("twice", STANDINGS, 0)) == 12
    full = dict(print_headers("full", STANDINGS, 0))
    assert (full["x-ratelimit-remaining-tokens"], full["x-ratelimit-reset-tokens"]) == ("12000", "0s")
    assert dict(print_headers("absurd", STANDINGS, 0))["x-ratelimit-limit-tokens"] == "1"
    virtual = Virtual(limits=LIMITS, headers="late")
    remaining = [dict(virtual.post(0).limit_headers)["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert remaining == ["99", "99", "98"]


def test_a_header_fault_changes_the_form_of_the_calls_it_meets() -> None:
    virtual = Virtual(limits=LIMITS, faults=[{"kind": "headers", "form": "none", "calls": [1]}])
    assert [len(virtual.post(0).limit_headers) for _ in range(2)] == [0, 6]


def test_requests_by_the_day_show_before_those_by_the_minute() -> None:
    virtual = Virtual(limits={"rpm": 500, "rpd": 10_000, "tpm": 30_000, "tpd": 900_000})
    headers = dict(virtual.post(0).limit_headers)
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-reset-requests"]) == ("10000", "8.64s")
    assert headers["x-ratelimit-limit-tokens"] == "30000"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("openai", "on tokens per min (TPM): Limit 40, Used 35, Requested 21. Please try again in 24s."),
        (
            "openai-2023",
            "Rate limit reached for default-gpt-4o in organization org-simulator on tokens per min. Limit: 40 / min.",
        ),
        (
            "openai-2022",
            "on tokens per min. Limit: 40.000000 / min. Current: 56.000000 / min. Contact support@openai.com",
        ),
        (
            "azure",
            "have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 24 seconds.",
        ),
        ("openrouter", '"code": 429'),
        ("seconds", "please slow down and try again after 24.00 seconds."),
        ("lying", "Limit 40, Used 40, Requested 1. Please try again in 24s."),
        ("bare", '{"error": "Too Many Requests"}'),
        ("plain", "Too Many Requests"),
        ("html", "<h1>429 Too Many Requests</h1>"),
    ],
)
def test_refusals_are_told_in_the_form_asked_for(form: str, words: str) -> None:
    virtual = Virtual(limits={"tpm": 40}, errors=form, start=0.125)
    reply = virtual.post(0, {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * 76}]})
    assert reply.status == 429
    assert words in reply.body.decode()


def test_every_form_and_kind_has_been_tried() -> None:
    assert set(REFUSAL_FORMS) == {
        "openai", "openai-2023", "openai-2022", "azure", "openrouter", "seconds", "lying", "bare", "plain", "html"
    }  # fmt: skip
    assert len(HEADER_FORMS) == 17
    assert len(FAULTS) == 16


@pytest.mark.parametrize("pattern", PATTERNS)
def test_others_come_at_their_rate_in_order_and_again_with_the_same_seed(pattern: str) -> None:
    others = Others(pattern=pattern, rpm=600, period_s=7)

    def until(end: float) -> list[float]:
        seen: list[float] = []
        for at in others.instants(Random(1)):
            if at > end:
                return seen
            seen.append(at)
        return seen

    seen = until(700)
    assert seen == sorted(seen)
    assert seen == until(700)
    expected = 7000 - (35 if pattern == "ramp" else 0)
    assert len(seen) == pytest.approx(expected, rel=0.03 if pattern == "poisson" else 0.011)
    assert len([*Others(pattern=pattern, rpm=600, end_s=60).instants(Random(1))]) <= 700


def test_others_take_from_the_same_bucket_and_are_counted_apart() -> None:
    virtual = Virtual(limits={"rpm": 600, "tpm": 60_000}, others={"rpm": 60, "tokens": 500}, start="empty")
    assert virtual.levels(0) == [0, 0]
    assert virtual.post(10).status == 200  # 10,000 tokens flowed in, and the others took 10 * 500
    assert virtual.levels(10) == [89, 10_000 - 5000 - 5]
    tpm = virtual.service.summary(F(20)).meter("tpm")
    assert (tpm.charged, tpm.others) == (5, 5000)


def test_settings_change_at_their_time() -> None:
    virtual = Virtual(
        limits={"rpm": 60},
        changes=[{"at_s": 20, "limits": {"rpm": 1}}, {"at_s": 10, "faults": ["500"]}, {"at_s": 30, "faults": []}],
    )
    assert [virtual.post(at).status for at in (0, 10, 15, 20, 30, 31)] == [200, 500, 500, 500, 429, 429]
    assert virtual.levels(20 + 60) == [1]


def test_limits_changed_at_their_time_count_from_then_on() -> None:
    virtual = Virtual(limits={"tpm": 60}, start="empty", changes=[{"at_s": 10, "limits": {"tpm": 600}}])
    assert virtual.post(20, {"model": "m", "messages": []}).status == 400
    assert virtual.levels(20) == [10 + 100 - 1]


def test_calls_under_way_are_limited_and_come_back() -> None:
    virtual = Virtual(limits={"rpm": 100, "max_in_flight": 2})
    first, second, third = (virtual.post(0) for _ in range(3))
    assert [reply.status for reply in (first, second, third)] == [200, 200, 429]
    assert "Too many requests in flight" in told(third)["error"]["message"]
    virtual.service.finish(F(1), first)
    virtual.service.finish(F(1), first)
    assert [virtual.post(1).status for _ in range(2)] == [200, 429]
    assert virtual.service.summary(F(1)).meter("max_in_flight").utilization == 0


def test_a_lockout_lasts_as_long_as_somebody_keeps_trying() -> None:
    virtual = Virtual(limits={"rpm": 60}, start="empty", lockout_s=10)
    assert [virtual.post(at).status for at in (0, 9, 18, 28)] == [429, 429, 429, 200]


def test_images_are_refused_by_their_own_meter_in_its_own_words() -> None:
    virtual = Virtual(limits={"rpm": 100, "ipm": 5})
    body = {"model": "gpt-image-1", "prompt": "a cat", "n": 5}
    reply = virtual.post(0, body, "/v1/images/generations")
    assert len(told(reply)["data"]) == 5
    assert dict(reply.limit_headers)["x-ratelimit-remaining-images"] == "0"
    refused = virtual.post(0, {**body, "n": 1}, "/v1/images/generations")
    assert told(refused)["error"] == {
        "message": "Rate limit exceeded for images per minute in organization org-simulator. Limit: 5/1min. Current: "
        "6/1min. Please visit https://help.openai.com/en/articles/6696591 to learn how to increase your rate limit.",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
    }


def test_a_project_has_limits_of_its_own_beside_the_organizations() -> None:
    virtual = Virtual(limits={"gpt-4o": LIMITS}, projects={"proj_a": {"gpt-4o": {"rpm": 1, "tpm": 1000}}})
    first = virtual.post(0, openai_project="proj_a")
    headers = dict(first.limit_headers)
    assert headers["x-ratelimit-remaining-project-tokens"] == "995"
    assert headers["x-ratelimit-remaining-tokens"] == "9995"
    second = virtual.post(0, openai_project="proj_a")
    assert (second.status, second.call.refused_pool, second.call.refused_by) == (429, "proj_a/gpt-4o", "rpm")
    assert "(for limit proj_a/gpt-4o)" in told(second)["error"]["message"]
    assert virtual.post(0).status == 200


def test_a_long_context_draws_on_its_own_pool_too() -> None:
    limits = {"gpt-4o": {"tpm": 100_000, "long_context": {"over": 1000, "tpm": 3000}}}
    virtual = Virtual(limits=limits, charge="input")
    long = {"model": "gpt-4o", "messages": [{"role": "user", "content": " time" * 2000}]}
    assert [virtual.post(0, long).status for _ in range(2)] == [200, 429]
    assert virtual.service.record.calls[1].refused_pool == "gpt-4o-long-context"
    assert virtual.post(0).status == 200


def test_a_weight_counts_part_of_a_token() -> None:
    limits = {"davinci": {"tpm": 1000, "models": ["davinci", "ada"], "weights": {"ada": "1/200"}}}
    virtual = Virtual(limits=limits)
    virtual.post(0, {"model": "ada", "prompt": "hello there"}, "/v1/completions")
    assert virtual.levels(0, "davinci") == [1000 - F(4, 200)]


def test_settings_that_are_wrong_change_nothing() -> None:
    virtual = Virtual(limits=LIMITS)
    with pytest.raises(ValueError, match="policy"):
        virtual.service.change(F(1), limits={"rpm": 1}, policy="x")
    assert virtual.service.settings == Settings.of(limits=LIMITS)
    assert virtual.levels(1) == [100, 10_000]


def test_an_answer_that_ends_after_a_reset_changes_nothing() -> None:
    virtual = Virtual(limits=LIMITS, charge="usage")
    reply = virtual.post(0)
    virtual.service.reset(start="empty")
    virtual.service.finish(F(0), reply)
    assert virtual.levels(0) == [0, 0]
    assert virtual.service.summary(F(1)).calls == 0


def test_the_sums_hold_what_was_settled() -> None:
    virtual = Virtual(limits=LIMITS, charge="usage")
    reply = virtual.post(0)
    assert virtual.service.summary(F(0)).charged == {"requests": 1, "tokens": 9 + 217}
    virtual.service.finish(F(1), reply)
    summary = virtual.service.summary(F(1))
    assert summary.charged == {"requests": 1, "tokens": 9 + 16}
    assert summary.meter("tpm").charged == 25
    assert (summary.input_tokens, summary.output_tokens) == (9, 16)
    assert reply.call.charge == {"requests": 1, "tokens": 25}


def test_mixed_sampling_shows_some_headers_of_the_end() -> None:
    virtual = Virtual(limits={"rpm": 1000}, sampled="mixed", latency_s=1)
    late = [virtual.post(0).sampled_late for _ in range(50)]
    assert 5 < sum(late) < 45

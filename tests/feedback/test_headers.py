"""Every family of rate-limit headers that was seen, and what must not fool the reader."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from throttle.feedback.headers import Reading, infer_window_s, read_duration_s, read_headers

WALL_S = 1_769_759_893.0


class Pairs(dict[str, str]):
    """Headers as HTTP clients hold them: pairs of bytes, repeated names and all."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__(pairs)
        self.raw = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in pairs]


def six(limits: tuple[str, str], left: tuple[str, str], resets: tuple[str, str]) -> dict[str, str]:
    units = ("requests", "tokens")
    kinds = {"limit": limits, "remaining": left, "reset": resets}
    return {f"x-ratelimit-{kind}-{unit}": v[i] for kind, v in kinds.items() for i, unit in enumerate(units)}


def only(headers: Mapping[str, str], unit: str = "tokens", **named: str) -> Reading:
    found = [
        r
        for r in read_headers(headers, wall_s=WALL_S)
        if r.unit == unit and all(getattr(r, k) == v for k, v in named.items())
    ]
    assert len(found) == 1, found
    return found[0]


def test_the_six_of_openai_are_read_alike_from_a_dict_and_from_raw_pairs() -> None:
    plain = six(("5000", "450000"), ("4999", "449874"), ("12ms", "16ms"))
    raw = Pairs([("date", "now"), *plain.items(), ("x-request-id", "req")])
    assert read_headers(raw, wall_s=0) == read_headers(plain, wall_s=0)
    requests, tokens = read_headers(raw, wall_s=0)
    assert requests == Reading("requests", "requests", "organization", 5000, 4999, 0.012, 60.0)
    assert tokens == Reading("tokens", "tokens", "organization", 450_000, 449_874, 0.016, 60.0)


def test_names_are_read_in_any_case() -> None:
    plain = {name.title(): text for name, text in six(("500", "90000"), ("499", "80000"), ("120ms", "6.667s")).items()}
    assert only(plain).remaining == 80_000
    assert only(Pairs(list(plain.items()))).remaining == 80_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("2ms", 0.002),
        ("8.64s", 8.64),
        ("1m0s", 60.0),
        ("6m0s", 360.0),
        ("17m31.871s", 1051.871),
        ("24m35s", 1475.0),
        ("83h10m39.057s", 299439.057),
        ("2h47m48.417s", 10068.417),
        ("934.976314ms", 0.934976314),
        ("8.5µs", 8.5e-6),
        ("8.5us", 8.5e-6),
        ("120ns", 1.2e-7),
        ("1.984999999s", 1.984999999),
    ],
)
def test_durations_are_read_as_go_prints_them(text: str, seconds: float) -> None:
    assert read_duration_s(text) == pytest.approx(seconds, abs=1e-12)
    assert only(six(("5", "1000"), ("4", "10"), ("12s", text))).reset_s == pytest.approx(seconds, abs=1e-12)


def test_a_micro_sign_that_came_as_utf_8_is_read() -> None:
    headers = Pairs([])
    headers.raw = [(b"x-ratelimit-limit-tokens", b"9"), (b"x-ratelimit-reset-tokens", "8.5µs".encode())]
    assert only(headers).reset_s == pytest.approx(8.5e-6)


@pytest.mark.parametrize("text", ["", "ms", "5 apples", "-3s", "1h2", "REDACTED", "1" * 50 + "s"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert read_duration_s(text) is None


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "window_s"),
    [
        ("10000", "8554", "8.676s", 60.0),
        ("100000", "88447", "83h10m39.057s", 2_592_000.0),  # thirty days, though the name says nothing of it
        ("10000", "9998", "12.676s", 86_400.0),  # a fraction of a request is hidden in `remaining`
        ("14400", "14399", "6s", 86_400.0),  # Groq: requests are by the day
        ("60", "59", "1s", 60.0),
        ("30000000", "29999965", "0s", None),  # too few digits
        ("1000", "999", "1m0s", None),  # seen beside nearly full buckets: says nothing
        ("200", "150", "2.5s", 10.0),  # a window of the server's own
    ],
)
def test_the_window_follows_from_the_numbers(limit: str, remaining: str, reset: str, window_s: float | None) -> None:
    reading = only(six((limit, "1000"), (remaining, "500"), (reset, "30s")), "requests")
    assert reading.window_s == (None if window_s is None else pytest.approx(window_s, rel=0.02))


@given(
    limit=st.integers(1, 10**9),
    part=st.floats(0.1, 0.9),
    window_s=st.sampled_from([60.0, 86_400.0, 2_592_000.0]),
)
def test_a_bucket_well_below_its_brim_never_tells_another_window(limit: int, part: float, window_s: float) -> None:
    level = limit * part
    reset_s = math.floor((limit - level) * window_s / limit * 1000) / 1000
    assert infer_window_s(limit, math.floor(level), reset_s) in (None, window_s) or limit < 30


def test_azure_counts_milliseconds_beside_a_renewal_period() -> None:
    headers = six(("120", "120000"), ("119", "119986"), ("500", "7")) | {
        "x-ratelimit-renewalperiod-requests": "60",
        "x-ratelimit-renewalperiod-tokens": "60",
    }
    assert (only(headers, "requests").reset_s, only(headers, "requests").window_s) == (0.5, 60.0)
    assert (only(headers).reset_s, only(headers).window_s, only(headers).said_window_s) == (0.007, 60.0, 60.0)


def test_mistral_names_windows_and_sends_no_reset() -> None:
    headers = {
        "x-ratelimit-limit-req-10-second": "60",
        "x-ratelimit-remaining-req-10-second": "57",
        "x-ratelimit-limit-tokens-minute": "20000000",
        "x-ratelimit-remaining-tokens-minute": "19999958",
        "x-ratelimit-limit-tokens-month": "200000000000",
        "x-ratelimit-remaining-tokens-month": "9999999370",
        "x-ratelimit-tokens-query-cost": "21",
    }
    assert {(r.name, r.unit, r.said_window_s, r.window_s) for r in read_headers(headers, wall_s=0)} == {
        ("req-10-second", "requests", 10.0, None),
        ("tokens-minute", "tokens", 60.0, None),
        ("tokens-month", "tokens", 2_592_000.0, None),
    }


@pytest.mark.parametrize(
    ("suffix", "unit", "scope"),
    [
        ("images", "images", "organization"),
        ("input-images", "input_images", "organization"),
        ("project-tokens", "tokens", "project"),
        ("project-requests", "requests", "project"),
        ("tokens-usage-based", "tokens", "usage-based"),
        ("tokens_usage_based", "tokens", "usage-based"),
        ("requests-day", "requests", "organization"),
        ("tokens-minute", "tokens", "organization"),
        ("audio-seconds", "audio_seconds", "organization"),
    ],
)
def test_units_and_scopes_are_told_from_the_name(suffix: str, unit: str, scope: str) -> None:
    headers = {f"x-ratelimit-limit-{suffix}": "50", f"x-ratelimit-remaining-{suffix}": "20"}
    (reading,) = read_headers(headers, wall_s=0)
    assert (reading.unit, reading.scope, reading.limit, reading.remaining) == (unit, scope, 50, 20)


def test_a_proxy_that_puts_the_unit_last_is_read() -> None:
    headers = {
        "x-ratelimit-model_per_key-remaining-tokens": "90",
        "x-ratelimit-model_per_key-limit-tokens": "100",
    }
    (reading,) = read_headers(headers, wall_s=0)
    assert (reading.unit, reading.scope, reading.remaining, reading.limit) == ("tokens", "model-per-key", 90, 100)


def test_together_counts_requests_where_it_names_no_unit() -> None:
    headers = {
        "x-ratelimit-limit": "10",
        "x-ratelimit-remaining": "9",
        "x-ratelimit-reset": "2",
        "x-ratelimit-limit-tokens": "3000",
        "x-ratelimit-remaining-tokens": "3000",
    }
    assert (only(headers, "requests").remaining, only(headers, "tokens").remaining) == (9, 3000)
    (alone,) = read_headers({"x-ratelimit-limit": "2", "x-ratelimit-remaining": "1"}, wall_s=0)
    assert alone.unit == ""


@pytest.mark.parametrize("reset", ["1769759903", "1769759903.0", "1769759903000", "2026-01-30T07:58:23Z"])
def test_a_reset_may_be_an_instant(reset: str) -> None:
    headers = {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    assert only(headers, "").reset_s == pytest.approx(10.0)


def test_an_instant_that_has_passed_is_now() -> None:
    headers = {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1569759903"}
    assert only(headers, "").reset_s == 0.0


def test_anthropic_writes_the_unit_first_and_instants() -> None:
    headers = {
        "anthropic-ratelimit-input-tokens-limit": "20000",
        "anthropic-ratelimit-input-tokens-remaining": "15000",
        "anthropic-ratelimit-input-tokens-reset": "2026-01-30T07:58:28Z",
    }
    reading = only(headers, "input_tokens")
    assert (reading.limit, reading.remaining, reading.reset_s, reading.window_s) == (20_000, 15_000, 15.0, 60.0)


def test_a_compatible_endpoint_that_leaves_out_the_word_limit_is_read() -> None:
    headers = {"x-ratelimit-tokens": "2400000", "x-ratelimit-remaining-tokens": "2399000"}
    assert (only(headers).limit, only(headers).remaining) == (2_400_000, 2_399_000)


def test_the_drafts_of_the_ietf_are_read_old_and_new() -> None:
    new = {
        "RateLimit": '"200-in-10sec"; r=199; t=10, "day";r=900;t=40000',
        "RateLimit-Policy": '"200-in-10sec"; q=200; w=10, "day";q=1000;w=86400',
    }
    short, day = read_headers(new, wall_s=0)
    assert (short.name, short.unit, short.limit, short.remaining, short.reset_s, short.said_window_s) == (
        "200-in-10sec",
        "requests",
        200,
        199,
        10.0,
        10.0,
    )
    assert (day.limit, day.remaining, day.said_window_s) == (1000, 900, 86_400.0)
    old = {"RateLimit": "limit=100, remaining=50, reset=30", "RateLimit-Policy": "100;w=60"}
    assert (only(old, "").remaining, only(old, "").window_s, only(old, "").said_window_s) == (50, 60.0, 60.0)
    split = {"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "50", "RateLimit-Reset": "30"}
    assert (only(split, "").limit, only(split, "").remaining) == (100, 50)


def test_a_header_that_came_twice_counts_once() -> None:
    pairs = list(six(("500", "90000"), ("499", "80000"), ("120ms", "6.667s")).items())
    assert read_headers(Pairs(pairs + pairs), wall_s=0) == read_headers(Pairs(pairs), wall_s=0)
    merged = {name: f"{text}, {text}" for name, text in pairs}
    assert only(merged).limit == 90_000


def test_of_two_that_differ_the_one_that_leaves_less_is_taken_whole() -> None:
    far = list(six(("500", "90000"), ("499", "80000"), ("120ms", "6.667s")).items())
    near = list(six(("50", "9000"), ("49", "1000"), ("1.2s", "53.333s")).items())
    reading = only(Pairs(far + near))
    assert (reading.limit, reading.remaining, reading.reset_s) == (9000, 1000, 53.333)


@pytest.mark.parametrize(
    "text", ["-1", "unlimited", "", "nan", "inf", "1e999", "9223372036854775807", "REDACTED", "0x10"]
)
def test_what_can_be_no_level_counts_as_absent(text: str) -> None:
    assert only(six((text, "1000"), ("4", "10"), ("12s", "1s")), "requests").limit is None
    assert only(six(("5", "1000"), (text, "10"), ("12s", "1s")), "requests").remaining is None


def test_a_limit_of_zero_is_no_limit_to_adopt() -> None:
    assert only(six(("0", "1000"), ("0", "10"), ("12s", "1s")), "requests").limit is None


def test_a_name_longer_than_any_that_means_something_is_left_alone() -> None:
    name = "x-ratelimit-remaining-" + "a" * 100
    assert read_headers({name: "5"}, wall_s=0.0) == ()
    assert read_headers({name[:90]: "5"}, wall_s=0.0)[0].remaining == 5


def test_other_headers_say_nothing() -> None:
    assert read_headers({"content-type": "text/html", "x-ratelimit-key": "gpt-5.2_2025-12-11"}, wall_s=0) == ()
    assert read_headers({}, wall_s=0) == ()
    assert read_headers(Pairs([("server", "cloudflare")]), wall_s=0) == ()


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *six(("", ""), ("", ""), ("", "")),
                "x-ratelimit-limit",
                "ratelimit",
                "ratelimit-policy",
                "x-ratelimit-reset-project-tokens",
                "x-ratelimit-renewalperiod-tokens",
                "anthropic-ratelimit-tokens-reset",
                "x-ratelimit-limit-req-9999999999-second",
            ]
        ),
        st.one_of(
            st.text(alphabet='0123456789.,-+eEmsh;="w q_µ²', max_size=30),
            st.integers().map(str),
            st.floats().map(str),
            st.sampled_from(["1ms", "0s", '"a";r=1;t=2', "Wed, 21 Oct 2026 07:28:00 GMT", ";;;,,,=", "1m0s, 2m0s"]),
        ),
    ),
    st.floats(0, 4e9),
)
def test_nothing_raises_and_nothing_absurd_comes_out(headers: dict[str, str], wall_s: float) -> None:
    forms = [headers]
    if all(text.isascii() for text in headers.values()):
        forms.append(Pairs(list(headers.items())))
    for form in forms:
        for reading in read_headers(form, wall_s=wall_s):
            assert reading.limit is None or 0 < reading.limit <= 10**15
            assert reading.remaining is None or 0 <= reading.remaining <= 10**15
            assert reading.reset_s is None or 0 <= reading.reset_s < 1e8
            assert reading.window_s is None or reading.window_s > 0

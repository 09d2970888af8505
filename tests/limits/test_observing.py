"""Limits as an account tells them: which tier they are of, what differs, and the file that is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from throttle.limits import (
    Change,
    LimitsTable,
    bundled_path,
    compare,
    compare_tables,
    figures_of_rate_limits,
    limits_text,
    load_limits,
    matching_tiers,
    read_limits,
    read_recording,
    resolve,
)


@pytest.fixture(scope="module")
def table() -> LimitsTable:
    return read_limits(bundled_path())


# -- detection ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observed", "tiers"),
    [
        ({"gpt-4o": {"rpm": 10_000, "tpm": 30_000_000}}, ("tier-5",)),
        ({"gpt-4o": {"requests": 10_000, "tokens": 2_000_000}}, ("tier-4",)),
        ({"gpt-4o": {"requests": 10_000}}, ("tier-4", "tier-5")),
        ({"gpt-4o-2024-08-06": {"requests": 500, "tokens": 30_000}}, ("tier-1",)),
        ({"gpt-4o-mini": {"requests": 10_000, "tokens": 200_000}}, ("tier-1",)),
        ({"gpt-5.4-mini": {"tpm": 500_000}}, ("tier-1",)),
        ({"gpt-5.4-mini": {"tpm": 200_000}}, ("tier-1",)),
        ({"gpt-4o": {"tpm": 30_000}, "gpt-4.1": {"tpm": 30_000_000}}, ()),
        ({"gpt-4o": {"tpm": 31_000}}, ()),
        ({"gpt-4o": {"images": 5}}, ()),
        ({"gpt-4.1": {"batch_queue_tokens": 900_000}}, ("tier-1",)),
        ({"text-davinci-003": {"requests": 3000, "tokens": 250_000}}, ("pay-as-you-go", "tier-1", "tier-2")),
        ({}, ()),
    ],
)
def test_the_tier_is_told_by_the_limits_that_answers_show(
    table: LimitsTable, observed: dict[str, dict[str, int]], tiers: tuple[str, ...]
) -> None:
    found = matching_tiers(table, observed)
    assert found[: len(tiers)] == tiers if "text-davinci-003" in observed else found == tiers


def test_a_server_s_own_tiers_are_told_at_its_address(table: LimitsTable) -> None:
    observed = {"gpt-4.1": {"tokens": 9_000_000}}
    assert matching_tiers(table, observed, base_url="https://x.openai.azure.com") == ("tier-3",)


# -- comparison --------------------------------------------------------------------------------------------------------


def small(**rows: object) -> LimitsTable:
    families = {name: {"models": [name]} for name in rows}
    return load_limits({"families": families, "tiers": {"t": rows}, "accounts": {"default": {"headroom": 0.5}}})


def test_tables_that_say_the_same_do_not_differ(table: LimitsTable) -> None:
    assert compare_tables(table, table) == ()


def test_figures_that_came_went_and_changed_are_listed() -> None:
    old = small(a={"rpm": 1, "tpm": 5}, gone={"rpm": 1})
    new = small(a={"rpm": 2, "rpd": 9, "batch_queue_tokens": 7}, come={"rpm": 1})
    assert compare_tables(old, new) == (
        Change("", "t", "a", "rpm", 1, 2),
        Change("", "t", "a", "tpm", 5, None),
        Change("", "t", "gone", "rpm", 1, None),
        Change("", "t", "a", "rpd", None, 9),
        Change("", "t", "come", "rpm", None, 1),
        Change("", "t", "a", "batch_queue_tokens", None, 7),
    )


def test_tiers_and_servers_that_only_one_has_are_listed() -> None:
    server = {"base_url": "http://x", "families": {"f": {"models": ["*"]}}, "tiers": {"u": {"f": {"rpm": 3}}}}
    old = small(a={"rpm": 1})
    new = load_limits({"extends": "bundled", "families": {}, "tiers": {}, "servers": {"s": server}})
    assert Change("s", "u", "f", "rpm", None, 3) in compare_tables(old, new)
    assert Change("", "t", "a", "rpm", 1, None) in compare_tables(old, new)


def test_two_accounts_limits_can_be_compared(table: LimitsTable) -> None:
    old, new = (resolve(table, tier=tier, environ={}) for tier in ("tier-4", "tier-5"))
    assert Change("", "tier-5", "gpt-4o", "tpm", 2_000_000, 30_000_000) in compare(old, new)


# -- writing -----------------------------------------------------------------------------------------------------------

OBSERVED = {
    "gpt-4o": {"tpm": 30_000_000, "rpm": 10_000, "batch_queue_tokens": 5_000_000_000},
    "gpt-4o-2024-08-06": {"tpm": 30_000_000, "rpm": 10_000, "batch_queue_tokens": 5_000_000_000},
    "gpt-4o-2024-05-13": {"rpm": 1, "tpm": 3},
    "gpt-4": {"rpm": 10, "tpm": 11},
    "gpt-4-0613": {"rpm": 20, "tpm": 21},
    "gpt-5.5-long-context": {"rpm": 3},
    "house-model": {"rpm": 5},
    "house-model-2026-01-01": {"rpm": 5},
    "odd: name": {"rpm": 6},
}


def test_a_file_from_observed_limits_says_what_was_observed_and_nothing_twice(
    table: LimitsTable, tmp_path: Path
) -> None:
    text = limits_text(OBSERVED, table=table, tier="tier-5", source="administration API", as_of="2026-11-25")
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    resolved = resolve(load_limits(path), environ={})
    assert (resolved.tier, resolved.account) == ("tier-5", "default")
    for model, figures in OBSERVED.items():
        if model.endswith("long-context"):
            continue
        match = resolved.match(model)
        assert match is not None
        told = {meter.name: meter.limit for meter in match.pools[0].meters if meter.origin == "user"}
        assert told == {name: limit for name, limit in figures.items() if name != "batch_queue_tokens"}
    long = resolved.match("gpt-5.5")
    assert long is not None
    assert {meter.name: meter.limit for meter in long.pools_for(input_tokens=300_000)[0].meters}["rpm"] == 3
    assert text.count("30_000_000") == 1
    assert text.count("house-model") == 3


def test_models_that_were_not_observed_keep_the_limits_of_the_tier(table: LimitsTable, tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(limits_text(OBSERVED, table=table, tier="tier-5", source="x", as_of="2026-11-25", account="team"))
    match = resolve(load_limits(path), account="team", environ={}).match("o3")
    assert match is not None
    assert {meter.origin for meter in match.pools[0].meters} == {"bundled"}


# -- the administration API and recordings -----------------------------------------------------------------------------


def test_rows_of_the_administration_api_become_figures() -> None:
    row = SimpleNamespace(
        model="gpt-4o",
        max_requests_per_1_minute=10_000,
        max_tokens_per_1_minute=30_000_000,
        max_requests_per_1_day=None,
        max_images_per_1_minute=0,
        batch_1_day_max_input_tokens=5_000_000_000,
    )
    nothing = SimpleNamespace(model="dall-e-2", max_requests_per_1_minute=0, max_tokens_per_1_minute=0)
    assert figures_of_rate_limits([row, nothing]) == {
        "gpt-4o": {"rpm": 10_000, "tpm": 30_000_000, "batch_queue_tokens": 5_000_000_000}
    }


HEADERS = {"x-ratelimit-limit-requests": "500", "x-ratelimit-limit-tokens": "30000"}
BODY = json.dumps({"model": "gpt-4o", "messages": []})

CASSETTE = """\
interactions:
- request:
    body: '{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}'
    headers: {accept: [application/json]}
  response:
    body: {string: '{"model": "gpt-4o-2024-08-06"}'}
    headers:
      x-ratelimit-limit-requests: ['500']
      x-ratelimit-limit-tokens: ['30000']
version: 1
"""


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (json.dumps({"model": "gpt-4o", "headers": HEADERS}), "gpt-4o"),
        (json.dumps({"model": "gpt-4o", **HEADERS}) + "\n" + json.dumps({"status": 200}) + "\n", "gpt-4o"),
        (json.dumps({"model": "gpt-4o", **HEADERS}) + "\n{torn", "gpt-4o"),
        (json.dumps({"headers": {**HEADERS, "openai-model": "gpt-4o-2024-11-20"}}), "gpt-4o-2024-11-20"),
        (json.dumps({"request": {"body": BODY}, "response": {"headers": list(map(list, HEADERS.items()))}}), "gpt-4o"),
        (
            json.dumps(
                {
                    "log": {
                        "entries": [
                            {
                                "request": {"postData": {"text": BODY}, "headers": []},
                                "response": {"headers": [{"name": k, "value": v} for k, v in HEADERS.items()]},
                            }
                        ]
                    }
                }
            ),
            "gpt-4o",
        ),
        (CASSETTE, "gpt-4o"),
    ],
    ids=["json", "lines", "torn-line", "openai-model", "pairs", "har", "cassette"],
)
def test_recordings_of_many_kinds_are_read(text: str, model: str) -> None:
    ((found, headers),) = read_recording(text)
    assert found == model
    assert {name: headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize(
    "text", ["", "no recording", "[1, 2]", json.dumps({"headers": HEADERS}), '{"a": {"b": []}}', "a: [", "[" * 50]
)
def test_what_holds_no_limits_or_no_model_gives_nothing(text: str) -> None:
    assert list(read_recording(text)) == []

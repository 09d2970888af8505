"""The table that ships: what it says, and that it can be trusted to say where it has it from."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest

from throttle.limits import LimitsTable, bundled_path, find_server, read_limits, resolve
from throttle.limits.matching import Pattern

KINDS = ("free-trial", "pay-as-you-go-new", "pay-as-you-go")
TIERS = ("free", "tier-1", "tier-2", "tier-3", "tier-4", "tier-5")


@pytest.fixture(scope="module")
def table() -> LimitsTable:
    return read_limits(bundled_path())


def figures(table: LimitsTable, tier: str, model: str, base_url: str | None = None) -> dict[str, int] | None:
    match = resolve(table, tier=tier, base_url=base_url, environ={}).match(model)
    return {meter.name: meter.limit for meter in match.pools[0].meters} if match else None


def test_it_has_the_account_kinds_and_the_tiers(table: LimitsTable) -> None:
    assert list(table.tiers) == [*KINDS, *TIERS]
    assert table.origin == "bundled"
    assert len(table.families) >= 95


@pytest.mark.parametrize(
    ("tier", "model", "expected"),
    [
        ("free-trial", "text-davinci-003", {"rpm": 20, "tpm": 150_000}),
        ("free-trial", "text-embedding-ada-002", {"rpm": 20, "tpm": 150_000}),
        ("free-trial", "code-davinci-002", {"rpm": 20, "tpm": 150_000}),
        ("free-trial", "text-davinci-edit-001", {"rpm": 20, "tpm": 150_000}),
        ("free-trial", "gpt-3.5-turbo", {"rpm": 20, "tpm": 40_000}),
        ("pay-as-you-go-new", "text-davinci-003", {"rpm": 60, "tpm": 250_000}),
        ("pay-as-you-go-new", "text-similarity-davinci-001", {"rpm": 60, "tpm": 250_000}),
        ("pay-as-you-go-new", "code-cushman-001", {"rpm": 20, "tpm": 150_000}),
        ("pay-as-you-go-new", "code-davinci-edit-001", {"rpm": 20, "tpm": 150_000}),
        ("pay-as-you-go-new", "gpt-3.5-turbo-0301", {"rpm": 60, "tpm": 60_000}),
        ("pay-as-you-go", "davinci", {"rpm": 3000, "tpm": 250_000}),
        ("pay-as-you-go", "curie:ft-acme-2023-01-01-00-00-00", {"rpm": 3000, "tpm": 250_000}),
        ("pay-as-you-go", "code-davinci-002", {"rpm": 20, "tpm": 150_000}),
        ("pay-as-you-go", "text-davinci-edit-001", {"rpm": 20, "tpm": 150_000}),
        ("pay-as-you-go", "gpt-3.5-turbo", {"rpm": 3500, "tpm": 90_000}),
        ("pay-as-you-go", "gpt-4-32k-0314", {"rpm": 400, "tpm": 80_000}),
        ("pay-as-you-go", "gpt-4o", None),
    ],
)
def test_the_account_kinds_of_the_article(
    table: LimitsTable, tier: str, model: str, expected: dict[str, int] | None
) -> None:
    assert figures(table, tier, model) == expected


@pytest.mark.parametrize(
    ("model", "weight"),
    [
        ("davinci", 1),
        ("text-davinci-002", 1),
        ("text-search-davinci-doc-001", 1),
        ("curie", Fraction(1, 25)),
        ("text-curie-001", Fraction(1, 25)),
        ("curie:ft-acme-2023-01-01-00-00-00", Fraction(1, 25)),
        ("babbage", Fraction(1, 100)),
        ("text-babbage-001", Fraction(1, 100)),
        ("code-search-babbage-text-001", Fraction(1, 100)),
        ("ada", Fraction(1, 200)),
        ("text-ada-001", Fraction(1, 200)),
        ("text-embedding-ada-002", Fraction(1, 200)),
    ],
)
def test_cheaper_models_count_as_the_fraction_of_a_davinci_token_that_was_published(
    table: LimitsTable, model: str, weight: Fraction
) -> None:
    for tier in KINDS:
        match = resolve(table, tier=tier, environ={}).match(model)
        assert match is not None
        assert (match.weight, match.pools[0].name) == (weight, "text-and-embeddings")


@pytest.mark.parametrize(
    ("tier", "model", "expected"),
    [
        ("tier-1", "gpt-4o", {"rpm": 500, "tpm": 30_000}),
        ("tier-1", "gpt-4o-mini", {"rpm": 500, "rpd": 10_000, "tpm": 200_000}),
        ("tier-4", "gpt-4o-2024-08-06", {"rpm": 10_000, "tpm": 2_000_000}),
        ("tier-5", "gpt-4o", {"rpm": 10_000, "tpm": 30_000_000}),
        ("tier-5", "gpt-4o-mini", {"rpm": 30_000, "tpm": 150_000_000}),
        ("tier-1", "gpt-5.6-sol", {"rpm": 500, "tpm": 500_000}),
        ("tier-2", "gpt-6-luna", {"rpm": 5000, "tpm": 2_000_000}),
        ("tier-3", "gpt-4.1", {"rpm": 5000, "tpm": 800_000}),
        ("tier-1", "text-embedding-3-small", {"rpm": 3000, "tpm": 1_000_000}),
        ("tier-1", "text-embedding-ada-002", {"rpm": 3000, "tpm": 1_000_000}),
        ("tier-1", "gpt-image-2", {"tpm": 100_000, "ipm": 5}),
        ("tier-2", "gpt-live-1", {"max_in_flight": 50}),
        ("tier-3", "gpt-realtime-whisper", {"audio_minutes_per_minute": 650}),
        ("tier-1", "ft:gpt-4o-mini-2024-07-18:acme::1", {"rpm": 500, "rpd": 10_000, "tpm": 200_000}),
        ("tier-1", "gpt-9-unheard-of", {"rpm": 3000, "tpm": 250_000}),
        ("tier-1", "computer-use-preview", None),
        ("free", "text-embedding-3-small", {"rpm": 100, "rpd": 2000, "tpm": 40_000}),
        ("free", "whisper-1", {"rpm": 3, "rpd": 200}),
        ("free", "gpt-4o-mini", {"rpm": 3, "rpd": 50, "tpm": 40_000}),
    ],
)
def test_the_tiers_of_today(table: LimitsTable, tier: str, model: str, expected: dict[str, int] | None) -> None:
    assert figures(table, tier, model) == expected


@pytest.mark.parametrize(
    ("model", "meter", "lower", "other"),
    [
        ("gpt-5.4-mini", "tpm", 200_000, 500_000),
        ("o3-mini", "rpm", 500, 1000),
        ("o3-mini", "tpm", 100_000, 200_000),
        ("gpt-4o-search-preview", "tpm", 6000, 30_000),
        ("gpt-audio", "rpm", 500, 3000),
        ("davinci-002", "tpm", 10_000, 250_000),
        ("gpt-3.5-turbo-instruct", "tpm", 90_000, 200_000),
        ("dall-e-3", "ipm", 5, 500),
        ("gpt-5.4-pro", "tpm", 50_000, 500_000),
        ("chat-latest", "tpm", 30_000, 500_000),
    ],
)
def test_where_sources_disagree_the_lower_figure_stands_and_the_other_is_known(
    table: LimitsTable, model: str, meter: str, lower: int, other: int
) -> None:
    assert (figures(table, "tier-1", model) or {})[meter] == lower
    row = table.tiers["tier-1"][model]
    assert row is not None
    assert other in row.seen[meter]
    # What was taken from an account page in place of OpenAI's own says so.
    by_hand = {"gpt-audio", "davinci-002", "gpt-5.4-pro", "chat-latest"}
    assert row.verified is (None if model in by_hand else False)


def test_batch_queues_are_there_and_are_no_meter(table: LimitsTable) -> None:
    match = resolve(table, tier="tier-1", environ={}).match("gpt-4.1")
    assert match is not None
    assert match.pools[0].batch_queue_tokens == 90_000
    assert "batch_queue_tokens" not in {meter.name for meter in match.pools[0].meters}


def test_models_that_share_a_limit_share_a_pool(table: LimitsTable) -> None:
    resolved = resolve(table, tier="tier-2", environ={})
    shared = [
        ("gpt-image", ["gpt-image-1", "gpt-image-2", "gpt-image-2.5-flare"]),
        ("gpt-4o-realtime", ["gpt-realtime", "gpt-realtime-1.5", "gpt-4o-realtime-preview"]),
        ("gpt-4-turbo", ["gpt-4-turbo", "gpt-4-turbo-2024-04-09", "gpt-4-0125-preview", "gpt-4-1106-preview"]),
        ("gpt-4o", ["gpt-4o", "gpt-4o-2024-05-13", "gpt-4o-audio-preview-2024-12-17"]),
    ]
    for pool, models in shared:
        assert {match.pools[0].name for model in models if (match := resolved.match(model))} == {pool}


@pytest.mark.parametrize(
    ("model", "over", "pool"),
    [
        ("gpt-5.5", 272_000, "gpt-5.5-long-context"),
        ("gpt-5.4", 272_000, "gpt-5.4-long-context"),
        ("gpt-5.4-pro", 272_000, "gpt-5.4-pro-long-context"),
        ("gpt-5.2-pro", 128_000, "gpt-5.2-pro-long-context"),
        ("gpt-4.1", 128_000, "gpt-4.1-long-context"),
        ("gpt-4.1-mini-2025-04-14", 128_000, "gpt-4.1-mini-long-context"),
        ("gpt-4.1-nano", 128_000, "gpt-4.1-nano-long-context"),
    ],
)
def test_long_calls_draw_on_pools_of_their_own(table: LimitsTable, model: str, over: int, pool: str) -> None:
    match = resolve(table, tier="tier-3", environ={}).match(model)
    assert match is not None
    assert match.pools_for(input_tokens=over) == match.pools
    assert [found.name for found in match.pools_for(input_tokens=over + 1)] == [pool]


def test_every_family_says_where_its_figures_come_from(table: LimitsTable) -> None:
    for name, family in table.families.items():
        assert family.source in table.sources, name
        assert family.as_of, name
        assert family.verified is not None, name
        assert family.verified or family.note, f"{name}: not verified, and no note why"
    for name, server in table.servers.items():
        assert server.source in table.sources, name
        assert server.as_of, name
        assert server.verified or server.note, name
    for tier in table.tiers:
        assert table.tier_rules[tier].source in table.sources


def test_rows_that_name_a_source_name_a_known_one(table: LimitsTable) -> None:
    rows = [row for tier in table.tiers.values() for row in tier.values() if row and row.source]
    assert rows
    assert {row.source for row in rows} <= set(table.sources)


def test_every_name_in_the_table_finds_its_own_family(table: LimitsTable) -> None:
    for tier in table.tiers:
        resolved = resolve(table, tier=tier, environ={})
        for name, family in table.families.items():
            if family.tiers is not None and tier not in family.tiers:
                continue
            for model in family.models:
                match = resolved.match(model.replace("*", "2024-13")) if model != "*" else None
                assert match is None or match.model_family == name, (tier, model)


def test_no_tier_of_a_family_has_less_than_the_one_below_unless_its_note_says_so(table: LimitsTable) -> None:
    odd = {"gpt-3.5-turbo-instruct"}
    paid = TIERS[1:]
    for name in table.families:
        rows = [table.tiers[tier].get(name) for tier in paid]
        for lower, higher in pairwise(rows):
            if not lower or not higher or name in odd:
                continue
            for meter, figure in lower.meters.items():
                above = higher.meters.get(meter)
                assert above is None or figure is None or above.limit >= figure.limit, name
    assert all(table.families[name].note for name in odd)


def test_nothing_in_it_is_shadowed_or_unreachable(table: LimitsTable) -> None:
    reached = {family.long_context.family for family in table.families.values() if family.long_context}
    assert all(family.models or name in reached for name, family in table.families.items())
    assert not any(Pattern(model).text.count("**") for family in table.families.values() for model in family.models)


def test_it_speaks_of_public_places_only() -> None:
    text = bundled_path().read_text(encoding="utf-8")
    assert "../" not in text
    assert "\t" not in text


# -- other servers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "server"),
    [
        ("https://api.openai.com/v1", ""),
        ("http://127.0.0.1:8000/v1", ""),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.mistral.ai/v1/", "mistral"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.together.xyz/v1", "together"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "gemini"),
        ("https://api.fireworks.ai/inference/v1", "fireworks"),
        ("https://api.x.ai/v1", "xai"),
        ("http://localhost:11434/v1", "ollama"),
        ("https://my-resource.openai.azure.com/openai/", "azure"),
        ("HTTPS://My-Resource.OpenAI.Azure.com/openai/deployments/mine/", "azure"),
        ("https://api.groq.com.evil.example/v1", ""),
    ],
)
def test_servers_are_told_by_their_address(table: LimitsTable, base_url: str, server: str) -> None:
    assert find_server(table, base_url) == server


@pytest.mark.parametrize(
    ("base_url", "model", "tier", "expected"),
    [
        (
            "https://api.groq.com/openai/v1",
            "llama-3.3-70b-versatile",
            "free",
            {"rpm": 30, "rpd": 1000, "tpm": 12_000, "tpd": 100_000},
        ),
        ("https://api.mistral.ai/v1", "mistral-large-latest", "free", None),
        ("https://api.deepseek.com", "deepseek-v4-pro", "standard", {"max_in_flight": 500}),
        ("https://api.together.xyz/v1", "meta-llama/Llama-3-70b", "dynamic", {}),
        ("https://openrouter.ai/api/v1", "meta/llama:free", "below-10-credits", {"rpm": 20, "rpd": 50}),
        ("https://openrouter.ai/api/v1", "openai/gpt-4o", "below-10-credits", {}),
        ("http://localhost:11434/v1", "llama3.2", "default", {"max_in_flight": 512}),
        ("https://x.openai.azure.com/openai/", "gpt-4.1", "tier-1", {"rpm": 1000, "tpm": 1_000_000}),
    ],
)
def test_a_server_starts_from_its_own_tier(
    table: LimitsTable, base_url: str, model: str, tier: str, expected: dict[str, int] | None
) -> None:
    # THROTTLE_TIER speaks of OpenAI's tiers, whatever else has a tier of that name.
    resolved = resolve(table, base_url=base_url, environ={"THROTTLE_TIER": "tier-4"})
    assert resolved.tier == tier
    match = resolved.match(model)
    found = {meter.name: meter.limit for meter in match.pools[0].meters} if match else {}
    assert expected is None or found == expected


def test_openai_s_models_elsewhere_have_none_of_openai_s_limits(table: LimitsTable) -> None:
    assert resolve(table, base_url="https://api.together.xyz/v1", environ={}).match("gpt-4o") is None


def test_the_default_for_unlisted_models_holds_at_openai_s_address_only(table: LimitsTable) -> None:
    found = [
        resolve(table, base_url=base_url, environ={}).match("my-own-model") is not None
        for base_url in (None, "https://api.openai.com/v1", "https://eu.api.openai.com/v1", "http://localhost:4000/v1")
    ]
    assert found == [True, True, True, False]


def test_servers_tell_what_their_headers_count(table: LimitsTable) -> None:
    headers = dict(resolve(table, base_url="https://api.groq.com/openai/v1", environ={}).headers)
    assert headers == {"x-ratelimit-limit-requests": "rpd", "x-ratelimit-limit-tokens": "tpm"}


def test_azure_s_requests_go_by_the_second(table: LimitsTable) -> None:
    match = resolve(table, base_url="https://x.openai.azure.com", environ={}).match("gpt-4.1")
    assert match is not None
    assert {meter.name: meter.burst_s for meter in match.pools[0].meters} == {"rpm": 1.0, "tpm": 60.0}

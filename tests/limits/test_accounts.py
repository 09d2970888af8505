"""Which account a client belongs to, and Azure's deployments."""

from __future__ import annotations

from typing import Any

import pytest

from throttle.limits import LimitsTable, find_account, key_hash, load_limits, resolve

KEY, OTHER = "sk-first-key", "sk-second-key"


def table_of(**parts: Any) -> LimitsTable:
    base = {"families": {"a": {"models": ["m"]}}, "tiers": {"tier-1": {"a": {"rpm": 10}}, "tier-2": {"a": {"rpm": 20}}}}
    return load_limits({**base, **parts})


ACCOUNTS = table_of(
    accounts={
        "default": {"tier": "tier-1"},
        "by-key": {"tier": "tier-2", "key_hash": key_hash(KEY)[:12]},
        "by-whole-hash": {"tier": "tier-2", "key_hash": f"sha256:{key_hash(OTHER)}"},
        "by-organization": {"tier": "tier-2", "organization": "org-1"},
        "by-project": {"tier": "tier-2", "projects": {"proj_1": {"limits": {"a": {"rpm": 5}}}}},
    }
)


@pytest.mark.parametrize(
    ("client", "account"),
    [
        ({"api_key": KEY}, "by-key"),
        ({"api_key": OTHER}, "by-whole-hash"),
        ({"api_key": KEY, "organization": "org-1"}, "by-key"),
        ({"api_key": "sk-third", "organization": "org-1"}, "by-organization"),
        ({"api_key": "sk-third", "project": "proj_1"}, "by-project"),
        ({"api_key": "sk-third"}, None),
        ({}, None),
    ],
)
def test_an_account_is_found_by_key_then_organization_then_project(client: dict[str, str], account: str | None) -> None:
    assert find_account(ACCOUNTS, **client) == account


def test_accounts_are_chosen_by_name() -> None:
    assert resolve(ACCOUNTS, account="by-key", environ={}).tier == "tier-2"
    assert resolve(ACCOUNTS, environ={}).account == "default"


AZURE = load_limits(
    {
        "extends": "bundled",
        "servers": {
            "mine": {
                "base_url": "https://mine.openai.azure.com",
                "inherit": True,
                "window": {"rpm": "10s"},
                "deployments": {
                    "chat": {
                        "model": "gpt-4o",
                        "charge": "maximum",
                        "headroom": 0.1,
                        "limits": {"rpm": 2700, "tpm": 450_000},
                    },
                    "unbound": {"model": "gpt-4o-mini"},
                    "own": {"model": "my-fine-tuned-thing", "limits": {"tpm": 1000}},
                },
            }
        },
    }
)


def test_a_deployment_has_the_limits_given_to_it_in_a_pool_of_its_own() -> None:
    resolved = resolve(AZURE, base_url="https://mine.openai.azure.com/openai/", environ={})
    assert resolved.server == "mine"
    match = resolved.match("chat")
    assert match is not None
    (pool,) = match.pools
    assert (pool.name, pool.family, pool.charge, pool.headroom) == ("chat", "gpt-4o", "maximum", 0.1)
    assert [(meter.name, meter.limit, meter.burst_s) for meter in pool.meters] == [
        ("rpm", 2700, 10.0),
        ("tpm", 450_000, 60.0),
    ]
    assert {meter.origin for meter in pool.meters} == {"user"}
    assert {"chat", "unbound", "own"} <= {pool.name for pool in resolved.pools}


def test_a_deployment_without_limits_has_those_of_its_model_and_shares_them_with_nobody() -> None:
    match = resolve(AZURE, base_url="https://mine.openai.azure.com", environ={}).match("unbound")
    assert match is not None
    assert match.pools[0].name == "unbound"
    assert {meter.name: meter.limit for meter in match.pools[0].meters} == {"rpm": 500, "rpd": 10_000, "tpm": 200_000}


def test_a_deployment_may_be_of_a_model_that_no_family_has() -> None:
    match = resolve(AZURE, base_url="https://mine.openai.azure.com", environ={}).match("own")
    assert match is not None
    assert {meter.name: meter.limit for meter in match.pools[0].meters} == {"tpm": 1000}


def test_the_more_specific_address_wins_over_the_bundled_one() -> None:
    assert resolve(AZURE, base_url="https://other.openai.azure.com", environ={}).server == "azure"


def test_an_account_can_name_its_server() -> None:
    table = load_limits(
        {
            "extends": "bundled",
            "accounts": {"local": {"server": "vllm", "limits": {"vllm": {"max_in_flight": 32}}}, "default": {}},
        }
    )
    resolved = resolve(table, account="local", environ={})
    match = resolved.match("qwen3")
    assert match is not None
    assert (resolved.server, resolved.tier, match.pools[0].meters[0].limit) == ("vllm", "default", 32)
    assert resolve(table, environ={}).server == ""


def test_the_default_account_is_openai_s_where_the_address_is_another_server_s() -> None:
    table = load_limits({"extends": "bundled", "accounts": {"default": {"tier": "tier-5"}}})
    resolved = resolve(table, base_url="https://api.groq.com/openai/v1", environ={})
    assert (resolved.account, resolved.tier) == ("", "free")


def test_an_account_of_another_server_counts_only_where_it_is_named_or_the_default() -> None:
    named = load_limits({"extends": "bundled", "accounts": {"local": {"server": "vllm"}}})
    assert resolve(named, environ={}).server == ""
    assert resolve(named, account="local", base_url="https://api.openai.com/v1", environ={}).server == "vllm"
    default = load_limits({"extends": "bundled", "accounts": {"default": {"server": "vllm"}}})
    assert resolve(default, base_url="http://localhost:8000/v1", environ={}).server == "vllm"
    assert resolve(default, base_url="https://api.groq.com/openai/v1", environ={}).server == "groq"

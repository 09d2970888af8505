"""Limits that change while a program runs: by time, with the file, and by what the server's answers show."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

import throttle
from tests.core.virtual import VirtualLoop, run_virtually
from throttle import Limiter
from throttle.account import Identity
from throttle.client import wrap
from throttle.costs import CallCost
from throttle.pool import PoolSnapshot

EMBED = CallCost({"model": "m", "input": "x"}, "/embeddings")


def table(**tiers: Any) -> dict[str, Any]:
    return {"version": 1, "families": {"all": {"models": ["*"]}}, "tiers": {k: {"all": v} for k, v in tiers.items()}}


def limits_of(limiter: Limiter, pool: str = "all") -> dict[str, float]:
    return {name: meter.limit for name, meter in limiter.snapshot().pools[pool].meters.items()}


def openai_headers(rpm: int, tpm: int, used: int = 1) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": str(rpm),
        "x-ratelimit-remaining-requests": str(rpm - used),
        "x-ratelimit-reset-requests": f"{60 * used / rpm:.3f}s",
        "x-ratelimit-limit-tokens": str(tpm),
        "x-ratelimit-remaining-tokens": str(tpm - 1000 * used),
        "x-ratelimit-reset-tokens": f"{60 * 1000 * used / tpm:.3f}s",
    }


# time


def test_a_new_paying_account_has_the_higher_limits_after_48_hours_without_a_restart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    since = datetime.now(UTC) - timedelta(hours=47, minutes=59)
    given = table(**{"pay-as-you-go-new": {"rpm": 60}, "pay-as-you-go": {"rpm": 3000}})
    given["accounts"] = {"default": {"tier": "pay-as-you-go-new", "since": since.isoformat()}}

    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter(given, clock=loop.now_us)
        await limiter.acquire("m")
        assert limits_of(limiter) == {"rpm": 60}
        await asyncio.sleep(61)
        await limiter.acquire("m")
        assert limits_of(limiter) == {"rpm": 3000}
        assert limiter.tier == "pay-as-you-go"

    run_virtually(main)
    assert "the tier is pay-as-you-go from now on, after pay-as-you-go-new" in caplog.text


def test_a_meter_with_an_hour_of_its_own_is_full_again_then_and_not_before() -> None:
    given = table(**{"tier-1": {"rpm": 6000, "rpd": {"limit": 2, "resets": "00:00 UTC"}}})

    async def main(loop: VirtualLoop) -> float:
        limiter = Limiter(given, clock=loop.now_us)
        for _ in range(2):
            await limiter.acquire("m")
        wait_s = limiter.wait_time("m")
        await limiter.acquire("m")
        assert loop.time() == pytest.approx(wait_s, abs=0.01)
        return wait_s

    begun = datetime.now(UTC)
    midnight = (begun + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert run_virtually(main) == pytest.approx((midnight - begun).total_seconds(), abs=5)


def test_a_meter_of_ones_own_counts_what_the_file_says() -> None:
    given = table(**{"tier-1": {"rpm": 600, "weighted": 100}})
    given["meters"] = {"weighted": {"unit": "points", "window": 60, "counts": {"requests": 10, "images": 5}}}
    limiter = Limiter(given, clock=lambda: 0)
    assert limiter.try_acquire("m", images=8) is not None
    assert limiter.snapshot().pools["all"].meters["weighted"].level == 50
    assert limiter.try_acquire("m", images=9) is None
    assert limiter.try_acquire("m", images=8) is not None


# the file


def write(path: Path, rpm: int) -> None:
    path.write_text(f"version: 1\nfamilies: {{all: {{models: ['*']}}}}\ntiers: {{tier-1: {{all: {{rpm: {rpm}}}}}}}\n")
    os.utime(path, (0, rpm))


class Edited:
    """A file that is edited while a limiter goes by it, and looked at again after the edit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_us = 0

    def write(self, text: str) -> None:
        self.path.write_text(text)
        self.now_us += 10_000_000
        os.utime(self.path, (0, self.now_us))

    def pool_of(self, limiter: Limiter, model: str) -> PoolSnapshot:
        """Make a call, and show the pool that it drew on."""
        before = {name: pool.admitted for name, pool in limiter.snapshot().pools.items()}
        with limiter.acquire(model) as permit:
            permit.observe(openai_headers(600, 60_000))
        pools = limiter.snapshot().pools
        (name,) = [name for name, pool in pools.items() if pool.admitted != before.get(name, 0)]
        return pools[name]


FAMILIES = """
version: 1
families: {a: {models: %s}, b: {models: %s}, each: {models: ["e*"], per_model: true}}
tiers: {tier-1: {a: {rpm: 60}, b: {rpm: 600}, each: {rpm: %d}}}
accounts: {default: {tier: tier-1}}
"""


def test_a_model_that_an_edit_puts_into_another_family_draws_on_that_from_then_on(tmp_path: Path) -> None:
    edited = Edited(tmp_path / "limits.yaml")
    edited.write(FAMILIES % ("[m, n]", "[o]", 60))
    limiter = Limiter(edited.path, clock=lambda: edited.now_us)
    assert edited.pool_of(limiter, "n").name == "a"
    edited.write(FAMILIES % ("[m]", "[o, n]", 60))
    edited.pool_of(limiter, "m")  # the file is looked at with a call
    assert edited.pool_of(limiter, "n").name == "b"


def test_a_pool_for_each_model_takes_up_an_edit_too(tmp_path: Path) -> None:
    edited = Edited(tmp_path / "limits.yaml")
    edited.write(FAMILIES % ("[m]", "[o]", 60))
    limiter = Limiter(edited.path, clock=lambda: edited.now_us)
    with limiter.acquire("e1"):
        pass
    edited.write(FAMILIES % ("[m]", "[o]", 5))
    with limiter.acquire("e1"):
        pass
    assert {meter.limit for pool in limiter.snapshot().pools.values() for meter in pool.meters.values()} == {5}


def test_a_tier_that_an_edit_adds_is_found_in_answers_that_showed_it_before(tmp_path: Path) -> None:
    edited = Edited(tmp_path / "limits.yaml")
    one = "version: 1\nfamilies: {a: {models: [m]}}\ntiers:\n  tier-1: {a: {rpm: 60, tpm: 6000}}\n"
    edited.write(one)
    limiter = Limiter(edited.path, clock=lambda: edited.now_us)
    edited.pool_of(limiter, "m")
    edited.write(one + "  tier-2: {a: {rpm: 600, tpm: 60000}}\n")
    edited.pool_of(limiter, "m")
    assert limiter.tier == "tier-2"


def test_a_tier_whose_limits_an_edit_makes_those_of_earlier_answers_is_found(tmp_path: Path) -> None:
    edited = Edited(tmp_path / "limits.yaml")
    text = "version: 1\nfamilies: {a: {models: [m]}}\ntiers:\n  tier-1: {a: {rpm: 60}}\n  tier-2: {a: {rpm: %d}}\n"
    edited.write(text % 6000)
    limiter = Limiter(edited.path, clock=lambda: edited.now_us)
    edited.pool_of(limiter, "m")
    assert limiter.tier == "tier-1"
    edited.write(text % 600)
    edited.pool_of(limiter, "m")
    assert limiter.tier == "tier-2"


def test_a_changed_file_is_taken_up_while_a_caller_waits_and_the_level_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "limits.yaml"
    write(path, 60)

    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter(path, clock=loop.now_us)
        await limiter.acquire("m", requests=60)
        waiting = asyncio.ensure_future(_await(limiter.acquire("m", requests=50)))
        await asyncio.sleep(5)
        write(path, 6000)
        await waiting
        assert loop.time() < 6.5
        assert limits_of(limiter) == {"rpm": 6000}
        assert limiter.snapshot().pools["all"].meters["rpm"].level < 150

    run_virtually(main)
    assert f"the limits of {path} are taken up" in caplog.text


def test_a_broken_file_is_reported_and_the_old_limits_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "limits.yaml"
    write(path, 60)

    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter(path, clock=loop.now_us)
        await limiter.acquire("m")
        path.write_text("version: 1\nfamilies: {all: {models: ['*']}}\ntiers: {tier-1: {all: {rpm: -5}}}\n")
        await asyncio.sleep(2)
        await limiter.acquire("m")
        assert limits_of(limiter) == {"rpm": 60}

    run_virtually(main)
    assert "the limits stay as they were" in caplog.text
    assert f"{path}:3:" in caplog.text


# the server


def test_with_no_tier_given_the_first_answer_tells_it_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THROTTLE_TIER", raising=False)
    given = table(**{"tier-1": {"rpm": 500, "tpm": 30_000}, "tier-2": {"rpm": 5000, "tpm": 450_000}})
    given["families"]["other"] = {"models": ["other"]}
    given["tiers"]["tier-1"]["other"] = {"rpm": 3}
    given["tiers"]["tier-2"]["other"] = {"rpm": 300}

    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter(given, clock=loop.now_us)
        assert limiter.snapshot().tier_origin == "assumed"
        await limiter.acquire("other")
        for _ in range(3):
            async with limiter.permit_for("", "api.openai.com", EMBED) as permit:
                permit.observe(openai_headers(5000, 450_000))
            await asyncio.sleep(1)
        snapshot = limiter.snapshot()
        assert (snapshot.tier, snapshot.tier_origin) == ("tier-2", "detected")
        assert limits_of(limiter) == {"rpm": 5000, "tpm": 450_000}
        assert limits_of(limiter, "other") == {"rpm": 300}

    run_virtually(main)
    assert caplog.text.count("the limits in the server's answers are those of tier-2") == 1


def test_a_tier_that_the_server_contradicts_is_said_once_and_the_server_wins(caplog: pytest.LogCaptureFixture) -> None:
    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter(table(**{"tier-1": {"rpm": 500, "tpm": 30_000}}), tier="tier-1", clock=loop.now_us)
        for _ in range(3):
            async with limiter.permit_for("", "api.openai.com", EMBED) as permit:
                permit.observe(openai_headers(200, 30_000))
            await asyncio.sleep(1)
        assert limits_of(limiter) == {"rpm": 200, "tpm": 30_000}
        assert limiter.snapshot().pools["all"].meters["rpm"].origin == "server"

    run_virtually(main)
    assert caplog.text.count("the server's rpm is 200, not 500") == 1


def test_a_model_without_limits_gets_those_that_the_headers_show() -> None:
    given: dict[str, Any] = {
        "version": 1,
        "families": {"known": {"models": ["known"]}},
        "tiers": {"tier-1": {"known": {"rpm": 1}}},
    }

    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter(given, tier="tier-1", clock=loop.now_us)
        async with limiter.permit_for("", "api.openai.com", EMBED) as permit:
            permit.observe(openai_headers(3, 40_000))
        assert limits_of(limiter, "m") == {"rpm": 3, "tpm": 40_000}
        began = loop.time()
        for _ in range(4):
            async with limiter.permit_for("", "api.openai.com", EMBED):
                pass
        assert loop.time() - began > 15

    run_virtually(main)


def test_a_limit_that_is_told_whole_only_later_gets_its_meter_then() -> None:
    whole = {name: text for name, text in openai_headers(3, 40_000).items() if "reset" not in name}
    part = {name: text for name, text in whole.items() if "remaining-tokens" not in name}

    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter({"rpm": 3}, clock=loop.now_us)
        for headers, known in ((part, {"rpm": 3}), (part, {"rpm": 3}), (whole, {"rpm": 3, "tpm": 40_000})):
            async with limiter.acquire("m", tokens=1000) as permit:
                permit.observe(headers)
            meters = limiter.snapshot().pools["default"].meters
            assert {name: meter.limit for name, meter in meters.items()} == known

    run_virtually(main)


def test_a_limit_of_the_same_name_that_turns_out_to_count_something_else_gets_its_meter_too() -> None:
    """The drafts leave the unit to the policy, which may say it later or not at all."""

    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter({"rpm": 1000}, clock=loop.now_us)
        for more, known in (("", {"rpm": 1000}), (';qu="tokens"', {"rpm": 1000, "tpm": 1000})):
            async with limiter.permit_for("", "gateway.test", EMBED) as permit:
                permit.observe({"RateLimit": '"d";r=900;t=6', "RateLimit-Policy": f'"d";q=1000;w=60{more}'})
            assert limits_of(limiter, "default") == known

    run_virtually(main)


def test_answers_that_are_shown_by_hand_are_followed_too() -> None:
    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter({"rpm": 600, "tpm": 60_000}, clock=loop.now_us)
        for _ in range(3):
            async with limiter.acquire("m", tokens=1000) as permit:
                permit.observe(openai_headers(60, 30_000))
            await asyncio.sleep(1)
        pool = limiter.snapshot().pools["default"]
        assert {name: meter.limit for name, meter in pool.meters.items()} == {"rpm": 60, "tpm": 30_000}
        assert (pool.under_way, pool.admitted) == (0, 3)

    run_virtually(main)


# accounts and pools


def test_the_account_of_a_key_is_found_in_the_file_and_another_key_has_pools_of_its_own() -> None:
    from throttle.limits import key_hash

    given = table(**{"tier-1": {"rpm": 500}, "tier-2": {"rpm": 5000}})
    given["accounts"] = {
        "ours": {"tier": "tier-2", "key_hash": key_hash("sk-ours")},
        "theirs": {"tier": "tier-1", "key_hash": key_hash("sk-theirs")},
    }
    client = wrap(OpenAI(api_key="sk-ours", base_url="http://127.0.0.1:9/v1"), limits=given)
    limiter = throttle.limiter_of(client)
    assert limiter.tier == "tier-2"
    other = client.with_options(api_key="sk-theirs")
    assert throttle.limiter_of(other) is limiter
    (account,) = [name for name in limiter._routing._accounts if name]
    with limiter.permit_for("", "h", EMBED), limiter.permit_for(account, "h", EMBED):
        pools = limiter.snapshot().pools
    assert pools["all"].meters["rpm"].limit == 5000
    assert pools[f"all@{account}"].meters["rpm"].limit == 500
    assert "sk-" not in repr(limiter) + repr(pools)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({}, {"tier": "tier-2"}, "with tier tier-1 of .*can't have another with tier tier-2"),
        ({}, {"store": "sqlite:///a.db"}, "with store memory://, and can't have another with store sqlite:///a.db"),
        ({}, {"store": "redis://:hidden@host/0"}, "and can't have another with store redis://host/0;"),
        ({}, {"on_store_error": "closed"}, "with on_store_error local, and can't have another with .* closed"),
        ({"on_store_error": "open"}, {"on_store_error": "local"}, "with on_store_error open, and can't .* local"),
        ({}, {"pacing": "smooth"}, "with pacing auto, and can't have another with pacing smooth; pass limiter= to bo"),
        ({"pacing": "smooth"}, {"pacing": "burst"}, "with pacing smooth, and can't have another with pacing burst"),
    ],
)
def test_an_account_that_has_a_limiter_can_not_have_another_with_other_settings(
    first: dict[str, Any], second: dict[str, Any], told: str
) -> None:
    client = OpenAI(api_key=f"sk-one of {told}", base_url="http://127.0.0.1:9/v1")
    wrapped = wrap(client, **{"tier": "tier-1", **first})
    with pytest.raises(throttle.ThrottleError, match=told):
        wrap(client, **second)
    assert throttle.limiter_of(wrap(client, **first)) is throttle.limiter_of(wrapped)


def test_settings_that_are_not_given_or_are_the_same_share_the_accounts_limiter() -> None:
    client = OpenAI(api_key="sk-two", base_url="http://127.0.0.1:9/v1")
    given: dict[str, Any] = {"store": "memory://", "on_store_error": "closed", "pacing": "smooth"}
    wrapped = wrap(client, **given)
    for more in ({}, given, {"pacing": "auto"}, {"store": "memory://"}):
        assert throttle.limiter_of(wrap(client, **more)) is throttle.limiter_of(wrapped)
    bare = OpenAI(api_key="sk-three", base_url="http://127.0.0.1:9/v1")
    in_memory = wrap(bare)
    assert throttle.limiter_of(wrap(bare, store="memory://")) is throttle.limiter_of(in_memory)


@pytest.mark.parametrize("wrong", [{"on_store_error": "closd"}, {"pacing": "smoth"}], ids=str)
def test_a_setting_that_there_is_not_is_refused_whether_or_not_the_account_has_a_limiter(wrong: Any) -> None:
    client = OpenAI(api_key=f"sk-four of {wrong}", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ValueError, match="is wanted"):
        wrap(client, **wrong)
    wrapped = wrap(client)
    with pytest.raises(ValueError, match="is wanted"):
        wrap(client, **wrong)
    with pytest.raises(ValueError, match="is wanted") if "pacing" in wrong else pytest.raises(TypeError):
        wrap(client, limiter=throttle.limiter_of(wrapped), **wrong)


def test_a_project_draws_on_its_own_limit_and_on_the_organizations_which_others_share() -> None:
    given = table(**{"tier-1": {"rpm": 600, "tpm": 6000}})
    given["accounts"] = {
        "default": {
            "tier": "tier-1",
            "projects": {"proj_a": {"limits": {"all": {"rpm": 60}}}, "proj_b": {"limits": {"all": {"rpm": 60}}}},
        }
    }
    limiter = Limiter(given, clock=lambda: 0, who=Identity(project="proj_a"))
    permit = limiter.try_acquire("m", tokens=100)
    assert permit is not None
    assert len(permit.meters) == 3
    for _ in range(59):
        assert limiter.try_acquire("m") is not None
    assert limiter.try_acquire("m") is None


def test_a_long_call_draws_on_the_long_context_pool() -> None:
    given = table(**{"tier-1": {"rpm": 600, "tpm": 30_000}})
    given["families"]["all"]["long_context"] = {"over": 1000, "family": "all-long-context"}
    given["families"]["all-long-context"] = {"models": []}
    given["tiers"]["tier-1"]["all-long-context"] = {"rpm": 10, "tpm": 200_000}
    limiter = Limiter(given, tier="tier-1", clock=lambda: 0)
    short, long = (
        {"model": "gpt-4.1", "messages": [{"role": "user", "content": text}]} for text in ("hi", "word " * 5000)
    )
    for body, pool in ((short, "all"), (long, "all-long-context")):
        permit = limiter.permit_for("", "h", CallCost(body))
        assert permit.pool.name == pool
        permit.cancel()


def test_a_deployment_is_counted_as_the_model_behind_it() -> None:
    given: dict[str, Any] = {
        "version": 1,
        "families": {"gpt-4o": {"models": ["gpt-4o"]}},
        "tiers": {"tier-1": {"gpt-4o": {"rpm": 500}}},
        "servers": {
            "azure": {
                "base_url": "https://*.openai.azure.com",
                "inherit": True,
                "deployments": {"our-chat": {"model": "gpt-4o", "limits": {"rpm": 60, "tpm": 10_000}}},
            }
        },
    }
    limiter = Limiter(given, who=Identity(base_url="https://us.openai.azure.com/openai"), clock=lambda: 0)
    assert limiter.counted_as("", "our-chat") == "gpt-4o"
    assert limiter.counted_as("", "gpt-4o") is None
    permit = limiter.try_acquire("our-chat")
    assert permit is not None
    assert {meter.name: meter.limit for meter in permit.meters} == {"rpm": 60, "tpm": 10_000}


def test_what_one_server_books_of_a_model_is_not_believed_of_another_behind_the_same_limiter() -> None:
    limiter = Limiter({"rpm": 600, "tpm": 60_000}, clock=lambda: 0)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}
    booked = {}
    for host in ("api.openai.com", "ours.openai.azure.com"):
        permit = limiter.permit_for("", host, CallCost(body))
        booked[host] = permit.charge
        permit.cancel()
    assert booked == {"api.openai.com": "characters", "ours.openai.azure.com": "maximum"}
    assert limiter.snapshot().charges == {
        "gpt-4o /chat/completions@api.openai.com": "characters",
        "gpt-4o /chat/completions@ours.openai.azure.com": "maximum",
    }


async def _await(permit: throttle.Permit) -> throttle.Permit:
    return await permit

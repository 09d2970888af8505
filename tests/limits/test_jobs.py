"""A job of its own models on each account kind and tier, in virtual time, against a server with the same limits."""

from __future__ import annotations

import asyncio
import random
from fractions import Fraction

import pytest

from tests.core.virtual import VirtualLoop, run_virtually
from throttle.limiter import Limiter
from throttle.limits import LimitsTable, bundled_path, read_limits, resolve
from throttle.simulator.judge import Admission, Judge
from throttle.simulator.limits import read_limits as read_simulated

SPAN_S = 150.0
MOST_CALLS = 400

JOBS = {
    "free-trial": ["text-davinci-003", "text-ada-001", "text-embedding-ada-002", "code-davinci-002", "gpt-3.5-turbo"],
    "pay-as-you-go-new": ["text-davinci-003", "text-curie-001", "text-davinci-edit-001", "gpt-4", "gpt-3.5-turbo-0301"],
    "pay-as-you-go": ["davinci", "curie:ft-acme-2023-01-01-00-00-00", "babbage", "gpt-4-32k", "code-cushman-001"],
    "free": ["gpt-4o-mini", "text-embedding-3-small", "whisper-1", "omni-moderation-latest"],
    "tier-1": ["gpt-4o", "gpt-4o-mini", "gpt-5.5", "text-embedding-3-large", "gpt-image-2", "gpt-4"],
    "tier-2": ["gpt-4o-2024-08-06", "gpt-5.4-pro", "omni-moderation-latest", "gpt-live-1", "gpt-image-1-mini"],
    "tier-3": ["gpt-4.1", "o3", "gpt-4", "gpt-4o-mini-tts"],
    "tier-4": ["gpt-5.6-sol", "gpt-4-turbo", "ft:gpt-4.1-2025-04-14:acme::1", "gpt-5.4-pro"],
    "tier-5": ["gpt-5.5-pro", "sora-2", "gpt-5.2-codex", "gpt-4"],
}


@pytest.fixture(scope="module")
def table() -> LimitsTable:
    return read_limits(bundled_path())


def test_every_tier_has_its_job(table: LimitsTable) -> None:
    assert list(JOBS) == list(table.tiers)


@pytest.mark.parametrize("tier", JOBS)
def test_a_job_of_a_tier_s_own_models_meets_no_refusal(tier: str, table: LimitsTable) -> None:
    resolved = resolve(table, tier=tier, environ={})
    pools = {
        match.pools[0].name: {meter.name: meter.limit for meter in match.pools[0].meters}
        for model in JOBS[tier]
        if (match := resolved.match(model))
    }
    judge = Judge(read_simulated({name: {"models": [name], **meters} for name, meters in pools.items()}))
    seen: dict[str, int] = {}

    async def call(limiter: Limiter, loop: VirtualLoop, model: str, tokens: int) -> None:
        match = resolved.match(model)
        assert match is not None
        pool = match.pools[0]
        images = 1 if any(meter.unit == "images" for meter in pool.meters) else 0
        async with limiter.acquire(model, tokens=tokens, images=images):
            now = Fraction(loop.now_us(), 10**6)
            weighed = Fraction(tokens) * match.weight
            charge: dict[str, Fraction | int] = {"requests": 1, "tokens": weighed, "images": images}
            answer = judge.arrive(now, charge, (pool.name,))
            assert isinstance(answer, Admission), answer
            seen[model] = seen.get(model, 0) + 1
            await asyncio.sleep(0.5)
            judge.release(Fraction(loop.now_us(), 10**6), answer)

    def sizes_of(model: str) -> list[int]:
        """From next to nothing to a whole bucket."""
        match = resolved.match(model)
        assert match is not None
        limits = {meter.name: meter.limit for meter in match.pools[0].meters}
        most = int(min(limits.get("tpm", 10_000), 40_000) / match.weight)
        return [1, most // 50, most // 7, most]

    async def job(loop: VirtualLoop) -> None:
        limiter = Limiter(table, tier=tier, clock=loop.now_us)
        draw = random.Random(tier)
        # Models take turns, so that each has its share of a pool that several draw on.
        models = JOBS[tier] * MOST_CALLS
        calls = [call(limiter, loop, model, draw.choice(sizes_of(model))) for model in models]
        tasks = [asyncio.ensure_future(one) for one in calls]
        done, waiting = await asyncio.wait(tasks, timeout=SPAN_S)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for task in done:
            task.result()

    run_virtually(job)
    assert set(seen) == set(JOBS[tier])
    assert all(count >= 3 for count in seen.values()), seen

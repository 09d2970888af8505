"""What must hold in a world that was played: judged from outside, by what the server saw and what callers waited."""

from __future__ import annotations

from tests.simulation.world import Outcome

__all__ = ["complaints"]

# most refusals a run may have, and the least part of the limit it must use; a quarter above and half a percent below
# the worst of twenty seeds, so that chance doesn't fail them and a mistake does
BARS: dict[str, tuple[int, float]] = {
    "plain": (1, 0.985),
    "x2": (2, 0.985),
    "x0.5": (1, 0.98),
    "noise-50%": (4, 0.98),
    "empty": (1, 0.99),
    "partly-full": (1, 0.99),
    "empty-x2": (4, 0.99),
    "lags-2s": (4, 0.97),
    "lags-rare-5s": (4, 0.975),
    "slow": (1, 0.97),
    "slow-x2": (4, 0.97),
    "slow-x0.5": (1, 0.93),
    "slow-x2-empty": (4, 0.985),
    "slow-streamed-x2": (2, 0.985),
    "others-30%": (5, 0.98),
    "others-60%": (4, 0.98),
    "others-60%-poisson": (6, 0.95),
    "others-60%-onoff": (14, 0.955),
    "others-bursts": (14, 0.94),
    "others-ramp-60%": (3, 0.98),
    "others-60%-slow": (8, 0.92),
    "job-empty-calm": (0, 0.995),
    "job-full-calm": (0, 0.985),
    "job-empty": (2, 0.98),
    "job-full": (1, 0.975),
    "completion": (4, 0.975),
    "completion-slow": (4, 0.955),
    "mixed": (3, 0.98),
    "mixed-slow-x2": (8, 0.93),
    "fixed-window": (8, 0.88),
    "sliding-window": (8, 0.95),
    "by-the-second": (1, 0.97),
    "by-the-second-headers": (2, 0.97),
    "no-headers": (1, 0.88),
    "no-headers-no-text": (1, 0.88),
    "no-headers-x1.3": (8, 0.95),
    "requests-only": (1, 0.88),
    "headers-lost": (3, 0.97),
    "no-text": (12, 0.97),
    "limit-x2": (3, 0.985),
    "limit-half": (4, 0.98),
    "processes-2": (3, 0.975),
    "processes-8": (40, 0.97),
    "processes-8-slow": (45, 0.92),
    "cancelled-10%": (3, 0.98),
    "crashes-2%": (3, 0.975),
    "small": (1, 0.85),
    "large": (8, 0.985),
    "two-models": (2, 0.985),
    "two-models-blocks": (3, 0.975),
    "huge-and-small": (4, 0.93),
}
ATTEMPTS_MOST = 6
STARVED = 3.0  # no call waits longer than so many times what all but one in a hundred wait, and some seconds


def complaints(outcome: Outcome) -> list[str]:
    """Tell what is wrong with an outcome; each line names the seed that shows it."""
    refused_most, use_least = BARS[outcome.scenario]
    found = list(outcome.leaks)
    if outcome.refused > refused_most:
        found.append(f"{outcome.refused} of {outcome.calls} calls were refused, {refused_most} may be")
    if outcome.utilization < use_least:
        found.append(f"{outcome.utilization:.2%} of the limit was used, {use_least:.2%} must be")
    if outcome.overtaken:
        found.append(f"{outcome.overtaken} calls overtook one that asked before them")
    if outcome.longest_wait_s > STARVED * outcome.p99_wait_s + 10.0:
        found.append(
            f"one call waited {outcome.longest_wait_s:.0f} s, 99 in 100 no longer than {outcome.p99_wait_s:.0f}"
        )
    if outcome.most_attempts > ATTEMPTS_MOST:
        found.append(f"one call was sent {outcome.most_attempts} times")
    return [f"{outcome.scenario}, seed {outcome.seed}: {line}" for line in found]

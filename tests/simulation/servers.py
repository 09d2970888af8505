"""The other side of the simulated wire: servers that admit, refuse and tell, with arithmetic of their own.

Nothing of the package is used here: an oracle that reckoned with the code under test would prove nothing. Times are
seconds since the world began; a level is in requests or tokens.
"""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

UNITS = ("requests", "tokens")
SHORT = ("requests per min (RPM)", "tokens per min (TPM)")
MINUTE = 60.0
DUST = 1e-9


@dataclass(frozen=True)
class No:
    """A refusal: which meter, the numbers a text would give, and when to come back."""

    meter: int
    limit: float
    used: float | None
    requested: float
    wait_s: float


@dataclass(frozen=True)
class Sight:
    """One meter as a header shows it."""

    limit: float
    remaining: int
    reset_s: float | None


class Server(Protocol):
    def admit(self, now: float, charge: tuple[float, float]) -> No | None: ...

    def show(self, now: float) -> list[Sight]: ...

    def offered(self, now: float) -> list[float]: ...

    def change(self, now: float, factor: float) -> None: ...


class Bucket:
    """A token bucket for each meter, refilled continuously; `depth_s` seconds of refill at most are in it."""

    def __init__(self, limits: tuple[float, float], full: float, depth_s: float = MINUTE) -> None:
        self.limits = list(limits)
        self.depth_s = depth_s
        self.at = 0.0
        self.levels = [limit * depth_s / MINUTE * full for limit in limits]
        self.given = list(self.levels)

    def admit(self, now: float, charge: tuple[float, float]) -> No | None:
        self._refill(now)
        for i, amount in enumerate(charge):
            lack = amount - self.levels[i]
            if lack > DUST:
                used = self.limits[i] - self.levels[i] if self.depth_s >= MINUTE else None
                return No(i, self.limits[i], used, amount, lack * MINUTE / self.limits[i])
        for i, amount in enumerate(charge):
            self.levels[i] -= amount
        return None

    def show(self, now: float) -> list[Sight]:
        self._refill(now)
        sights = []
        for limit, level in zip(self.limits, self.levels, strict=True):
            if self.depth_s >= MINUTE:
                reset_s = math.ceil((limit - level) * MINUTE / limit * 1000) / 1000
                sights.append(Sight(limit, math.floor(level + DUST), reset_s))
            else:  # enforced by the second, told by the minute, without a reset, as Azure does
                room = limit * self.depth_s / MINUTE
                sights.append(Sight(limit, math.floor(limit - room + level), None))
        return sights

    def offered(self, now: float) -> list[float]:
        self._refill(now)
        return list(self.given)

    def change(self, now: float, factor: float) -> None:
        self._refill(now)
        self.limits = [limit * factor for limit in self.limits]
        self.levels = [
            min(level, limit * self.depth_s / MINUTE) for level, limit in zip(self.levels, self.limits, strict=True)
        ]

    def _refill(self, now: float) -> None:
        for i, limit in enumerate(self.limits):
            gain = (now - self.at) * limit / MINUTE
            self.given[i] += gain
            self.levels[i] = min(limit * self.depth_s / MINUTE, self.levels[i] + gain)
        self.at = now


class FixedWindow:
    """A count that starts anew every minute, at a phase that nobody tells."""

    def __init__(self, limits: tuple[float, float], first_end: float) -> None:
        self.limits = list(limits)
        self.end = first_end
        self.used = [0.0, 0.0]
        self.begun = 1

    def admit(self, now: float, charge: tuple[float, float]) -> No | None:
        self._roll(now)
        for i, amount in enumerate(charge):
            if self.used[i] + amount > self.limits[i] + DUST:
                return No(i, self.limits[i], self.used[i], amount, self.end - now)
        for i, amount in enumerate(charge):
            self.used[i] += amount
        return None

    def show(self, now: float) -> list[Sight]:
        self._roll(now)
        return [
            Sight(limit, math.floor(limit - used + DUST), round(self.end - now, 3))
            for limit, used in zip(self.limits, self.used, strict=True)
        ]

    def offered(self, now: float) -> list[float]:
        self._roll(now)
        windows = self.begun - 1 + min(1.0, (now - self.end + MINUTE) / MINUTE)
        return [limit * windows for limit in self.limits]

    def change(self, now: float, factor: float) -> None:
        self.limits = [limit * factor for limit in self.limits]

    def _roll(self, now: float) -> None:
        while now >= self.end:
            self.end, self.used, self.begun = self.end + MINUTE, [0.0, 0.0], self.begun + 1


class SlidingWindow:
    """What came during the last minute counts."""

    def __init__(self, limits: tuple[float, float]) -> None:
        self.limits = list(limits)
        self.past: deque[tuple[float, float, float]] = deque()
        self.used = [0.0, 0.0]

    def admit(self, now: float, charge: tuple[float, float]) -> No | None:
        self._forget(now)
        for i, amount in enumerate(charge):
            short = self.used[i] + amount - self.limits[i]
            if short > DUST:
                return No(i, self.limits[i], self.used[i], amount, self._room_in(now, i, short))
        for i, amount in enumerate(charge):
            self.used[i] += amount
        self.past.append((now, *charge))
        return None

    def show(self, now: float) -> list[Sight]:
        self._forget(now)
        reset_s = round(self.past[-1][0] + MINUTE - now, 3) if self.past else 0.0
        return [
            Sight(limit, math.floor(limit - used + DUST), reset_s)
            for limit, used in zip(self.limits, self.used, strict=True)
        ]

    def offered(self, now: float) -> list[float]:
        return [limit * now / MINUTE for limit in self.limits]

    def change(self, now: float, factor: float) -> None:
        self.limits = [limit * factor for limit in self.limits]

    def _forget(self, now: float) -> None:
        while self.past and self.past[0][0] <= now - MINUTE:
            _, *charge = self.past.popleft()
            for i, amount in enumerate(charge):
                self.used[i] -= amount

    def _room_in(self, now: float, i: int, short: float) -> float:
        wait_s = MINUTE
        for at, *charge in self.past:
            wait_s, short = at + MINUTE - now, short - charge[i]
            if short <= DUST:
                break
        return wait_s


def headers_of(sights: list[Sight], units: tuple[str, ...] = UNITS) -> dict[str, str]:
    """Write an answer's headers as OpenAI does."""
    headers = {"content-type": "application/json"}
    for unit, sight in zip(UNITS, sights, strict=True):
        if unit in units:
            headers[f"x-ratelimit-limit-{unit}"] = f"{sight.limit:.0f}"
            headers[f"x-ratelimit-remaining-{unit}"] = str(sight.remaining)
            if sight.reset_s is not None:
                headers[f"x-ratelimit-reset-{unit}"] = go_duration(sight.reset_s)
    return headers


def go_duration(seconds: float) -> str:
    """Write a duration as Go does: `6m0s`, `1.5s`, `20ms`."""
    ms = round(seconds * 1000)
    if ms == 0:
        return "0s"
    if ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    text = f"{ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{text}" if minutes else text


def refusal_of(no: No, *, text: bool) -> tuple[dict[str, str], str]:
    """Write a refusal's headers and body, with the numbers or without."""
    if not text or no.used is None:
        wait_s = math.ceil(no.wait_s) if no.used is None else no.wait_s
        return {"retry-after": f"{wait_s:.6f}"}, json.dumps({"error": {"message": "Too Many Requests"}})
    message = (
        f"Rate limit reached for gpt-4o in organization org-x on {SHORT[no.meter]}: Limit {no.limit:.0f}, "
        f"Used {math.ceil(no.used - DUST)}, Requested {no.requested:.0f}. "
        f"Please try again in {go_duration(math.ceil(no.wait_s * 1000) / 1000)}."
    )
    error = {"message": message, "type": UNITS[no.meter], "param": None, "code": "rate_limit_exceeded"}
    return {}, json.dumps({"error": error})

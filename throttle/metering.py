"""Meters made of what a limits file, or a server's header, says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from throttle.feedback.belief import Belief
from throttle.feedback.headers import Reading
from throttle.learning import MINUTE_S, meter_name, takes_bursts
from throttle.limits.values import MeterSpec, PoolSpec
from throttle.meter import BucketMeter, InFlightMeter, Meter, ResetMeter

__all__ = ["Pacing", "Workshop"]

Pacing = Literal["auto", "burst", "smooth"]


@dataclass(frozen=True, slots=True)
class Workshop:
    """Makes meters.

    Attributes:
        pacing: how calls are paced, as for `Limiter`.
        wall_s: tells the time of day, in seconds of the epoch, at an instant of the limiter's clock.
    """

    pacing: Pacing
    wall_s: Callable[[int], float]

    def meter_of(self, pool: PoolSpec, spec: MeterSpec, now_us: int, host: str | None) -> Meter:
        """Make the meter of a limit; `host` is the server whose answers it follows, None where none will be seen."""
        meter: Meter
        if spec.unit == "in_flight":
            meter = InFlightMeter(spec.name, spec.limit, origin=spec.origin)
        elif spec.resets:
            meter = ResetMeter(
                spec.name,
                spec.unit,
                spec.limit,
                self._resets(spec.resets),
                window_s=spec.window_s,
                origin=spec.origin,
                wall_us=lambda at_us: round(self.wall_s(at_us) * 1e6),
            )
        elif host is None:
            meter = BucketMeter(
                spec.name,
                spec.unit,
                spec.limit,
                round(spec.window_s * 1e6),
                now_us=now_us,
                burst_us=round(spec.burst_s * 1e6),
                headroom=pool.headroom,
                origin=spec.origin,
            )
        else:
            meter = Belief(
                spec.name,
                spec.unit,
                spec.limit,
                round(spec.window_s * 1e6),
                now_us=now_us,
                origin=spec.origin,
                burst_us=round(spec.burst_s * 1e6),
                headroom=pool.headroom,
                pacing=self.pacing,
                bursts=takes_bursts(host),
            )
        meter.pool, meter.scope = pool.name, pool.scope
        meter.counts = tuple((unit, float(factor)) for unit, factor in spec.counts)
        return meter

    def meter_told(self, reading: Reading, now_us: int, host: str) -> Belief:
        """Make the meter of a limit that only a header tells of."""
        window_s = reading.window_s or reading.said_window_s or MINUTE_S
        meter = Belief(
            meter_name(reading.unit, window_s),
            reading.unit,
            float(reading.limit or 1),
            round(window_s * 1e6),
            now_us=now_us,
            origin="server",
            pacing=self.pacing,
            bursts=takes_bursts(host),
        )
        meter.scope = reading.scope
        return meter

    def _resets(self, told: str) -> Callable[[int], int]:
        """Tell, for an instant, the next one at which a meter is full again."""
        from throttle.limits import next_reset  # loaded by the table's check of the hour, where there is one

        def next_us(now_us: int) -> int:
            wall_s = self.wall_s(now_us)
            at = next_reset(told, datetime.fromtimestamp(wall_s, UTC))
            return now_us + round((at.timestamp() - wall_s) * 1e6)

        return next_us

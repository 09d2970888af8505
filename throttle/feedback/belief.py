"""What one meter of a pool is believed to hold, and when a call may go on that belief.

The level and its doubt come from filter.py. This file decides: a call may leave when the level, less five deviations
of what is doubtful about it, covers it. Around that stands what a filter of straight lines doesn't know:

- *Cold start.* Before the first header the server may be empty or full and nothing tells which: it is taken for
  empty, the ratio for the highest that is covered. A lone call goes at once; where more are queueing, the first one
  waits until even an empty bucket would hold it.
- *Slow start.* The level is shared with clients of which nothing is known. So much may be out since the newest anchor
  as `allowance` says; it doubles while anchors come in as expected and halves at a bad surprise.
- *Order.* Calls that left within the jitter of one another arrive in any order: a header is placed at the mean of the
  possible orders, with the variance of that.
- *Where the header was sampled*: at admission, mostly; at completion, by some. The likelier reading is taken.
- *Surprises* in others' use are heavy-tailed. The largest of late stands as a cushion (a standing level costs its
  size once; a slower rate would cost for ever). Outliers move the level, downwards at once, but not the slow states;
  where they don't end, everything but the ratios is forgotten.
- *Other servers.* No reset in the header, or a refusal without a word: perhaps enforced by the second, so calls
  trickle. Resets that don't fit a bucket: windows, see windows.py. No headers: the estimate is believed, and only its
  own error doubted.
- *Liveness.* With nothing under way doubt only grows, so then one call may go on the mean alone.

Times inside are seconds as floats; at the seam they are whole microseconds. The look and the charge have a short way,
taken where there is room to spare: it defers the filter, which loses nothing, since both of its steps are sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from throttle.bucket import NEVER
from throttle.feedback.filter import RATIO_SD, Filter
from throttle.feedback.headers import Reading
from throttle.feedback.ledger import MOST_ENTRIES, Ledger
from throttle.feedback.refusals import Refusal
from throttle.feedback.trickle import Trickle
from throttle.feedback.windows import WindowCount

__all__ = ["Belief", "BeliefSnapshot", "Mark"]

SIGMAS = 5.0
"""Deviations of the level that are kept in hand: every admission is a trial, thousands a run. Three cost more
refusals than they gain in use."""
OWN_SIGMAS = 3.0
OWN_FREE = 0.02
"""Deviations of one call's own error that are kept in hand where five would be more than this share of the limit: a
call's error is bounded, and five of a call of half the bucket would be a sixth of it."""
COLD_RATIO = 2.1
"""What a server may charge of our estimate, at most, before anything is known: twice, and estimates are off by some."""
COLD_S, COLD_RATIO_LATER = 4.0, 1.8
"""Where answers are slow, refusals are not: with none for so long, that the server is empty and charges more than
this besides is worth the one refusal that would tell the level exactly, against a full bucket that spills over."""
LOOK_S = 0.01
"""How long the very first call looks whether it is alone: threads and tasks of a job start within this."""
HOLD_S = 1.5
"""How long at most the very first call of a job waits for what an empty bucket would need to hold it."""
LONG_WINDOW_S = 600.0
"""A meter of a longer window starts full in our belief: pacing a day's limit from nothing would stop a program for
hours."""
JITTER_S = 0.3
"""Spread of the way there before anything is seen; too little reads disorder as another ratio. The first round trip
bounds it."""
JITTER_LEAST_S, JITTER_MOST_S = 0.002, 1.0
NOISE_LEAST, NOISE_MOST = 0.06, 0.6
UNREST_LEAST, UNREST_MOST = 1e-4, 0.03
"""Bounds of what is learned. The least are not small: sources of noise can't be told apart well, and the cushion that
they cost is paid once."""
ALLOWANCE = 0.07
"""Share of the limit that may be out unconfirmed at first: eight clients that start together may each take as much
unseen."""
ALLOWANCE_LEAST = 0.05
SLOWED = 0.75
"""Share of the refill at which calls follow one another where more is out unconfirmed than is allowed."""
PLACEABLE = 0.03
"""Share of the limit that may leave within the jitter, so that a header can be placed among its neighbours."""
NEAR_FULL = 0.95
"""Where the bucket is that full, nobody else takes much."""
BURST_MEMORY_S = 600.0
BURST_SCALE, BURST_MOST = 1.8, 0.3
"""How much of the largest surprise stands as cushion, and which share of the limit at most."""
BRIM = 0.98
"""A call that needs nearly the whole bucket goes when it is this full: completely full and certain, it never is."""
ORDER_SD = 0.29
"""Standard deviation of an even distribution, in its widths."""
FINE, COARSE = 0.003, 0.02
"""Share of the limit by which a reset may miss the level of a bucket; a whole number of seconds may be rounded to
it."""
COMPLETION = 0.1
"""Belief, at first, that a header is sampled at completion: by some servers, and by OpenAI for reasoning in
responses."""
CEILING_SIGMAS = 3.0
"""How far above the newest anchor the level may be believed, in deviations of what places that anchor."""
MISFIT_MOST = 4.0
"""Mean of squared surprises over what was expected of them, beyond which everything is doubted."""
LEARN = 0.05
"""Step of the slow averages: twenty answers."""
BLAME_S = 10.0
"""A level that was unknown for longer than this and then missing was used up, not taken in a burst."""
RARE_S = 40.0
"""Answers that come half as seldom count for half of what is thought of the fit: waiting for twenty would take for
ever."""
SILENT_MOST = 3
"""Answers without this meter's header after which the server is taken for silent."""
SILENT_AGAIN = 20
"""The same of a server that has sent it before: proxies lose some."""
BRIMFUL_MOST = 5
"""Headers in a row that show a full bucket before one is believed: some show it whatever is left."""
EASE_ABOVE = 0.25
"""Share of the limit that must be there beyond the cushion for the short way: in a saturated meter every look
counts."""
RATIOS_MOST, NAMES_MOST = 6, 1024
"""Models with a ratio of their own, and names remembered: an answer costs the square of the former."""
EASE_S = 0.05
"""How long the short way may be taken before the filter catches up: a twelve-hundredth of a minute's refill is lost
at most."""
ALONE_S = 0.1
"""Refill that a call which may go on the mean alone waits for, beside its own error: seldom too early, and never for
long."""
HASTEN_S = 4.0
"""A delay that one call's pace put on the next is looked at again if it is longer: by then answers tell more."""
ASK_S = 5.0
"""With nothing under way, a call asks after this long at most."""


class Mark(NamedTuple):
    """The note that `take` makes of a call, to be given back with its answer."""

    at: float
    number: int
    totals: tuple[float, ...]
    sent: float
    own: float
    k: int
    estimate: float


_new = tuple.__new__  # a named tuple's own constructor takes thrice as long, and a mark is made for every call


@dataclass(frozen=True, slots=True)
class BeliefSnapshot:
    """What one meter is believed to hold, and why a call of it waits.

    Attributes:
        name: the meter's name in the limits file (`"rpm"`, …), or the header's where it was learned from one.
        unit: what it counts.
        level: what is believed to be left now, in `unit`; below zero where more was charged than there was.
        doubt: one standard deviation of that.
        limit: what flows in during one window, and what the bucket holds.
        window_s: the window.
        capacity: what can be charged at once when it is full.
        origin: where the limit comes from: `"bundled"`, `"user"`, `"server"`.
        mode: `"cold"` before the first header, `"bucket"`, `"window"`, `"blind"` where headers don't come.
        ratios: what the server charges of one unit of our estimate, by model.
        others_per_s: what others take from it, per second.
        cushion: what is kept in hand because of surprises.
        unconfirmed: what left since the newest answer.
        allowance: how much may be out unconfirmed.
        trickles: calls are spread because the server may enforce by the second.
        jitter_s: the spread of the way there.
        anchor_age_s: how long ago the newest call left of which an answer has come; None before the first.
    """

    name: str
    unit: str
    level: float
    doubt: float
    limit: float
    window_s: float
    capacity: float
    origin: str
    mode: str
    ratios: Mapping[str, float] = field(default_factory=dict)
    others_per_s: float = 0.0
    cushion: float = 0.0
    unconfirmed: float = 0.0
    allowance: float = 0.0
    trickles: bool = False
    jitter_s: float = 0.0
    anchor_age_s: float | None = None


class Belief:
    """One meter of one pool, in the closed loop. See the file's head for what it decides and why.

    The pool asks `ready_at`, then calls `take` at that instant; whoever sees the answer brings it back with the mark.
    `crowded` is set by the pool where more than one call waits; `change` holds the last limit that was adopted, to be
    told once.
    """

    __slots__ = (
        "_anchored",
        "_answered_at",
        "_at_completion",
        "_begun",
        "_brimful",
        "_burst",
        "_burst_at",
        "_bursts",
        "_clipped_at",
        "_clock",
        "_confirmed",
        "_confirmed_at",
        "_cut_at",
        "_doubled",
        "_ease",
        "_ease_until_us",
        "_grain",
        "_index",
        "_lag_s",
        "_limit_from",
        "_misfit",
        "_newest_at",
        "_next_at",
        "_next_us",
        "_paced",
        "_pending",
        "_pending_squares",
        "_per_unit_s",
        "_ratios",
        "_resetless",
        "_silent",
        "_sure_at",
        "_votes",
        "_wary",
        "allowance",
        "blind",
        "change",
        "counts",
        "crowded",
        "filter",
        "fixed",
        "headroom",
        "jitter_s",
        "known",
        "ledger",
        "limit",
        "name",
        "origin",
        "pacing",
        "pool",
        "rate",
        "scope",
        "share",
        "trickle",
        "unit",
        "window_s",
        "windows",
    )

    def __init__(
        self,
        name: str,
        unit: str,
        limit: float,
        window_us: int,
        *,
        now_us: int,
        origin: str = "bundled",
        fixed: bool | None = None,
        burst_us: int | None = None,
        headroom: float = 0.0,
        pacing: str = "auto",
        bursts: bool = False,
        full: bool | None = None,
    ) -> None:
        """Make the meter.

        Args:
            name: its name in the limits file.
            unit: what it counts.
            limit: how much flows in during one window, and what the bucket holds.
            window_us: the window in microseconds.
            now_us: the instant of its making.
            origin: where the limit comes from.
            fixed: every call is charged exactly its estimate; by default for everything but tokens.
            burst_us: how many microseconds of refill may go at once; the whole window by default.
            headroom: the fraction of the limit that is left to others, 0 to below 1.
            pacing: `"burst"`, `"smooth"`, or `"auto"`: bursts where the host takes them or its headers show it.
            bursts: the host is known to take bursts.
            full: believe the bucket full at the start; by default where the window is long.
        """
        self.name = name
        self.unit = unit
        self.origin = origin
        self.window_s = window_us * 1e-6
        self.limit = float(limit)
        self.rate = self.limit / self.window_s
        self.fixed = "tokens" not in unit if fixed is None else fixed
        self.headroom = headroom
        self.pacing = pacing
        self.crowded = False
        self.pool = ""
        self.scope = "organization"
        self.counts: tuple[tuple[str, float], ...] = ()
        self.change: tuple[float, float] | None = None
        self.filter = Filter(self.limit, self.rate, fixed=self.fixed)
        self._ratios = self.filter.ratios
        self.ledger = Ledger()
        self.windows = WindowCount(self.limit, self.window_s)
        self.trickle: Trickle | None = None
        self.share = (
            Trickle(self.rate * (1 - headroom), self.limit * (1 - headroom), now_us * 1e-6) if headroom > 0.0 else None
        )
        self.jitter_s = JITTER_S
        self.allowance = ALLOWANCE
        self.known = self.blind = False
        self._bursts = bursts or pacing == "burst"
        if burst_us is not None and burst_us * 1e-6 < self.window_s:
            self.trickle = Trickle(self.rate, self.rate * burst_us * 1e-6, now_us * 1e-6)
            self._bursts = True  # as far as told
        elif not self._bursts:
            self._calm(now_us * 1e-6)
        self._index: dict[str, int] = {}
        self._clock = now_us * 1e-6
        self._begun: float | None = None
        self._next_at = -math.inf
        self._per_unit_s = 0.0
        self._paced = math.inf
        self._next_us = 0
        self._pending: list[float] = []
        self._pending_squares = 0.0
        self._ease = -1.0
        self._ease_until_us = 0
        self._burst = 0.0
        self._burst_at = self._clock
        self._misfit = 1.0
        self._answered_at = self._clock
        self._sure_at = self._clock
        self._clipped_at = self._clock
        self._newest_at = self._clock
        self._confirmed = 0.0
        self._confirmed_at = self._clock
        self._doubled = 0.0
        self._wary = 0
        self._lag_s = 1.0
        self._limit_from = -math.inf
        self._votes = [0, 0]
        self._grain = 0.1
        self._at_completion = COMPLETION
        self._silent = 0
        self._brimful = 0
        self._resetless = False
        self._cut_at = -math.inf
        self._anchored = False
        if full or (full is None and self.window_s > LONG_WINDOW_S):
            self._begun = self._clock
            self._believe_estimate()
            self.filter.level = self.limit

    # -- the pool asks -------------------------------------------------------------------------------------------------

    @property
    def largest(self) -> float:
        """What one call may cost at most; headroom and cushions never lower it."""
        return self.limit

    def ready_at(self, now_us: int, amount: float, model: str, alone: bool) -> int:
        """Tell the first instant at which a call of `amount` may leave, as far as known now; never earlier than now.

        `alone` says that no call of the pool is under way, so that no answer can come to teach more.
        """
        if amount <= self._ease and self._next_us <= now_us < self._ease_until_us:
            return now_us
        wait = self._wait(now_us * 1e-6, float(amount), model, alone)
        if wait <= 1e-9:
            return now_us
        return now_us + math.ceil(wait * 1e6) if wait < 1e9 else NEVER

    def was_used(self, amount: float) -> bool:
        """Take into account what left before the meter was made, where its bucket was believed full; tells whether it
        was.
        """
        if self.known:
            self.filter.level -= amount
        return self.known

    def give(self, now_us: int, amount: float) -> None:
        """Take back so much of what left before the meter was made; below zero: it was more."""
        self._catch_up(now_us * 1e-6)
        self.filter.level = min(self.limit, self.filter.level + amount)
        self._ease_until_us = 0

    def foretell(self, now_us: int, total: float, model: str) -> int:
        """Tell when calls that need `total` together will all have gone, at the earliest; may exceed the capacity."""
        now = now_us * 1e-6
        self._catch_up(now)
        k = self._index.get(model)
        ratio = self.filter.ratios[k] if k is not None else 1.0
        ready = self.filter.level - (self._cushion(now) if self.known else 0.0)
        lack = ratio * float(total) - max(ready, 0.0 if not self.known else ready)
        wait = max(lack / self._free_rate(), self._next_at - now, 0.0)
        return now_us + math.ceil(wait * 1e6)

    def take(self, now_us: int, amount: float, model: str) -> Mark:
        """Charge a call that leaves now."""
        k = self._index.get(model, -1)
        if k < 0 or amount > self._ease or now_us >= self._ease_until_us:
            return self._charge(now_us * 1e-6, float(amount), model)
        now = now_us * 1e-6
        own = self._ratios[k] * amount
        self._ease -= amount
        self._pending[k] += amount
        self._pending_squares += own * own
        if own * self._per_unit_s > 1e-6:
            self._next_at = max(self._next_at, now) + own * self._per_unit_s
            self._next_us = math.ceil(self._next_at * 1e6)
        ledger = self.ledger  # `Ledger.add`, written out
        totals, sums, squares = ledger.totals, ledger.sums, ledger.squares
        totals[k] += amount
        sent = sums[-1] + own
        ledger.times.append(now)
        sums.append(sent)
        squares.append(squares[-1] + own * own)
        ledger.number = number = ledger.number + 1
        if len(sums) > MOST_ENTRIES:
            ledger.thin(now)
        return _new(Mark, (now, number, tuple(totals), sent, own, k, amount))

    def cancel(self, now_us: int, mark: Mark) -> None:
        """Give back the charge of a call that was not sent."""
        now = now_us * 1e-6
        self._catch_up(now)
        self._void(now, mark)
        self._ease_until_us = 0

    def release(self, now_us: int, mark: Mark) -> None:
        """Learn that the call has ended; its charge stays."""

    def lost(self, now_us: int, mark: Mark) -> None:
        """Learn that the call failed without an answer: it may have been charged, so it stays charged."""

    def settle(self, now_us: int, mark: Mark, amount: float) -> Mark:
        """Replace what was charged by what the call really cost, in the meter's unit; returns the new mark.

        For servers that book usage once a call has ended: the difference comes back, or goes, now.
        """
        now = now_us * 1e-6
        self._catch_up(now)
        ratio = self.filter.ratios[mark.k]
        more = float(amount) - mark.estimate
        self.filter.level = min(self.limit, self.filter.level - ratio * more)
        if more < 0.0:
            self.ledger.void(now, mark.number, mark.k, -more, mark.at, ratio * -more)
        else:
            self.ledger.add(now, mark.k, more, ratio * more)
        self._ease_until_us = 0
        return mark._replace(estimate=float(amount), own=ratio * float(amount))

    # -- the server answers --------------------------------------------------------------------------------------------

    def answered(self, now_us: int, mark: Mark, reading: Reading | None) -> None:
        """Learn from the headers of a call's answer; None where they don't show this meter."""
        now = now_us * 1e-6
        self._catch_up(now)
        self._ease_until_us = 0
        if reading is None or reading.remaining is None:
            self._silent += 1
            if self._silent >= (SILENT_AGAIN if self._anchored else SILENT_MOST) and not self.blind:
                self._go_blind(now)
            return
        limit = float(reading.limit or self.limit)
        if limit != self.limit:
            if mark.at < self._limit_from:
                return  # from before the change that is known already
            self._relimit(limit)
            self._limit_from = mark.at
        remaining, reset_s = float(reading.remaining), reading.reset_s
        if remaining >= limit:
            self._brimful += 1
            if self._brimful < BRIMFUL_MOST:
                return
            remaining = limit
        elif remaining == 0.0 and reset_s is not None and reset_s < 1.0:
            return
        else:
            self._brimful = 0
        self._silent, self.blind = 0, False
        remaining = self._refine(now, remaining, reset_s)
        if self.known:
            age = min(60.0, now - max(mark.at, self._confirmed_at))
            self._lag_s += 0.1 * (age - self._lag_s)
        if self._in_windows():
            shift, _ = self._order(mark.at, mark.sent, mark.own)
            self.windows.see(now, mark.at, reset_s, limit - remaining, shift, self.ledger)
            self.known = True
            if self.windows.settled and not self._bursts and self.pacing != "smooth":
                self._bursts, self.trickle = True, None
        elif self.known and self._anchored:
            self._blend(now, mark, remaining, exact=False)
        else:
            self._begin(now, mark, remaining)
        self._confirm(mark)
        if self._next_at > now + HASTEN_S:
            self._hasten(now)

    def refused(self, now_us: int, mark: Mark, refusal: Refusal, *, mine: bool | None = True) -> None:
        """Learn that the server refused a call for its rate: it was not charged.

        Args:
            now_us: now.
            mark: of the call.
            refusal: as read.
            mine: whether it was this meter; None where the server didn't say.
        """
        now = now_us * 1e-6
        self._catch_up(now)
        self._ease_until_us = 0
        self._void(now, mark)
        if mine is False:
            return
        limit = refusal.limit
        if mine and limit and limit != self.limit and mark.at >= self._limit_from and refusal.used is not None:
            self._relimit(limit)
            self._limit_from = mark.at
        if mine and refusal.level is not None and not self._in_windows():
            self._told(now, mark, refusal.level, refusal.requested)
        elif mark.at > self._cut_at:
            self._cut_at = now
            self._untold(now, mine is True)

    def adopt(self, now_us: int, limit: float, origin: str) -> None:
        """Go on with another limit that somebody else than the server told; the level stays, as far as it fits."""
        self._catch_up(now_us * 1e-6)
        self._ease_until_us = 0
        self._relimit(float(limit))
        self.origin, self.change = origin, None

    def snapshot(self, now_us: int) -> BeliefSnapshot:
        """Tell what is believed now."""
        now = now_us * 1e-6
        self._catch_up(now)
        state = self.filter
        mode = "cold" if not self.known else "blind" if self.blind else "window" if self._in_windows() else "bucket"
        level = self.windows.left(now, self.ledger) if mode == "window" else state.level
        return BeliefSnapshot(
            name=self.name,
            unit=self.unit,
            level=level,
            doubt=state.level_sd(),
            limit=self.limit,
            window_s=self.window_s,
            capacity=self.trickle.room if self.trickle else self.limit,
            origin=self.origin,
            mode=mode,
            ratios={model: state.ratios[k] for model, k in self._index.items()},
            others_per_s=state.others,
            cushion=self._cushion(now) if self.known else 0.0,
            unconfirmed=self.ledger.sums[-1] - self._confirmed,
            allowance=self.allowance * self.limit,
            trickles=self.trickle is not None,
            jitter_s=self.jitter_s,
            anchor_age_s=now - self._confirmed_at if self._anchored else None,
        )

    # -- admission -----------------------------------------------------------------------------------------------------

    def _wait(self, now: float, estimate: float, model: str, alone: bool) -> float:
        """Tell in how many seconds a call may leave."""
        k = self._of(model)
        self._catch_up(now)
        state = self.filter
        own = state.ratios[k] * estimate
        wait = max(0.0, self._next_at - now)
        for front in (self.trickle, self.share):
            if front is not None:
                wait = max(wait, front.wait(now, own))
        if not self.known:
            return self._wait_cold(now, own, wait)
        if alone:
            margin = min(self._margin(now, k, estimate), OWN_SIGMAS * state.noise * own + ALONE_S * self.rate)
            wait = max(min(wait, ASK_S), (min(own + margin, self.limit) - state.level) / self._free_rate())
            if wait <= 0.0:
                self._relax(now)
            return wait
        if self._in_windows():
            return max(wait, self.windows.wait(now, own, self.ledger))
        need = min(own + self._margin(now, k, estimate), max(min(own, self.limit), BRIM * self.limit))
        wait = max(wait, (need - state.level) / self._free_rate())
        if wait <= 0.0:
            self._relax(now)
        return wait

    def _wait_cold(self, now: float, own: float, wait: float) -> float:
        begun = self._begin_cold(now)
        sure = self._cold_charge(now, own)
        wait = max(wait, (sure - self.filter.level) / self.rate)
        if self.ledger.number == 0:
            return min(wait, begun + (HOLD_S if self.crowded else LOOK_S) - now)
        return wait

    def _cold_charge(self, now: float, own: float) -> float:
        """Tell what a call may be charged at most, before anything is known."""
        if self.fixed:
            return own
        return own * (COLD_RATIO if now < self._begin_cold(now) + COLD_S else COLD_RATIO_LATER)

    def _begin_cold(self, now: float) -> float:
        """Take the server for empty from the first look on: that we were idle doesn't say that others were."""
        if self._begun is None:
            self._begun = self._clock = now
            self.filter.level = 0.0
        return self._begun

    def _margin(self, now: float, k: int, estimate: float) -> float:
        """Tell what must be left once the call has gone."""
        state = self.filter
        variance = SIGMAS * SIGMAS * max(0.0, state.level_variance_after(k, estimate))
        if not self.fixed:
            error = state.noise * state.ratios[k] * estimate
            error = min(SIGMAS * error, max(OWN_SIGMAS * error, OWN_FREE * self.limit))
            variance += error * error
        return max(math.sqrt(variance), self._burst)

    def _cushion(self, now: float) -> float:
        return max(SIGMAS * self.filter.level_sd(), self._burst)

    def _free_rate(self) -> float:
        return max(0.05 * self.rate, self.rate - self.filter.others)

    def _relax(self, now: float) -> None:
        """Reckon how much may leave without another look: what the lower bound covers at the worst of the ratios."""
        state = self.filter
        if not self.known or self.trickle is not None or self.share is not None or self._in_windows():
            return
        worst = 1.0 if self.fixed else 1.0 + SIGMAS * math.hypot(RATIO_SD, state.noise)  # of a model not seen yet
        for k, ratio in enumerate(state.ratios):
            worst = max(worst, ratio + math.hypot(SIGMAS * state.ratio_sd(k), SIGMAS * state.noise * ratio))
        spare = state.level - self._cushion(now) - EASE_ABOVE * self.limit
        sent = self.ledger.sums[-1]
        if self.allowance < 1.0 and not self.blind:
            spare = min(spare, self.allowance * self.limit - (sent - self._confirmed))
        self._ease = spare / worst
        self._ease_until_us = int((now + EASE_S) * 1e6) if spare > 0.0 else 0
        self._next_us = math.ceil(self._next_at * 1e6) if self._next_at > now else 0
        self._per_unit_s = 1.0 / self._speed(now, sent)

    def _charge(self, now: float, estimate: float, model: str) -> Mark:
        k = self._of(model)
        self._catch_up(now)
        state = self.filter
        own = state.ratios[k] * estimate
        self._begin_cold(now)
        if not self.known:
            state.level -= self._cold_charge(now, own)
        else:
            state.charge(k, estimate, own * own)
        for front in (self.trickle, self.share):
            if front is not None:
                front.take(now, own)
        number, totals, sent = self.ledger.add(now, k, estimate, own)
        self._ease -= estimate
        speed = self._speed(now, sent)
        self._next_at = max(now, self._next_at) + own / speed
        self._next_us = math.ceil(self._next_at * 1e6)
        self._paced = speed
        return Mark(now, number, totals, sent, own, k, estimate)

    def _speed(self, now: float, sent: float) -> float:
        """Tell how fast calls may follow one another: what the refill leaves, and what is in hand spread over the
        loop's own delay, the longer the more others compete for it."""
        rate = self.rate
        if self.pacing == "smooth":
            return max(0.02 * rate, rate - self.filter.others)
        if not self.known or self.blind:
            return math.inf
        if self._in_windows():
            return 6 * rate
        free = max(0.02 * rate, rate - self.filter.others)
        if self.allowance < 1.0 and sent - self._confirmed > self.allowance * self.limit:
            return SLOWED * free
        rivals = min(16.0, rate / free)
        spare = max(0.0, self.filter.level - SIGMAS * self.filter.level_sd())
        placeable = free + PLACEABLE * self.limit / self.jitter_s
        return min(placeable, free + spare / max(0.02, self._lag_s * (0.5 if rivals < 1.1 else rivals)))

    # -- time and charges ----------------------------------------------------------------------------------------------

    def _of(self, model: str) -> int:
        """Find the model's place in the state. A meter whose charge is fixed knows no models; where there are many, the
        later ones share a place."""
        k = self._index.get(model, -1)
        if k < 0:
            if len(self._pending) >= (1 if self.fixed else RATIOS_MOST):
                k = len(self._pending) - 1
            else:
                self._catch_up(self._clock)
                k = self.filter.add_model(sure=self.blind)
                self.ledger.totals.append(0.0)
                self._pending.append(0.0)
            if len(self._index) < NAMES_MOST:
                self._index[model] = k
        return k

    def _catch_up(self, now: float) -> None:
        """Bring the filter up to now: time first, then the charges that were deferred, so that it errs to the safe
        side."""
        gap = now - self._clock
        state = self.filter
        if gap > 0.0:
            self._clock = now
            if self.known and not self.blind:
                state.pass_time(gap)
            else:
                state.level += (self.rate - state.others) * gap
            if state.level > 0.5 * self.limit:
                recent = now - 3 * self.jitter_s
                room = self.limit - self.ledger.between(recent, now)
                if state.level > room:
                    room += self.ledger.returned(recent)  # which takes no room any more
                    if state.level > room:
                        self._clip(now, room)
        if self._pending_squares:
            squares, self._pending_squares = self._pending_squares, 0.0
            for k, estimate in enumerate(self._pending):
                if estimate:
                    self._pending[k] = 0.0
                    state.charge(k, estimate, squares)
                    squares = 0.0

    def _clip(self, now: float, room: float) -> None:
        """The bucket is full: what would have gone above the brim narrows the doubt instead."""
        state = self.filter
        sd = state.level_sd()
        state.narrow(max(0.0, 1.0 - (state.level - room) / (SIGMAS * sd)) if sd > 0.0 else 0.0)
        state.level = room
        self._clipped_at = now

    def _void(self, now: float, mark: Mark) -> None:
        self.ledger.void(now, mark.number, mark.k, mark.estimate, mark.at, mark.own)
        self.filter.level = min(self.limit, self.filter.level + mark.own)

    def _relimit(self, limit: float) -> None:
        """Adopt another limit: the level stays, as far as it fits."""
        state = self.filter
        self.change = (self.limit, limit)
        self.origin = "server"
        state.level = min(state.level, limit)
        state.cov[0][0] += (0.02 * limit) ** 2
        state.cov[1][1] *= (limit / self.limit) ** 2
        self.limit, self.rate = limit, limit / self.window_s
        state.limit, state.rate = self.limit, self.rate
        state.others = min(state.others, 0.9 * self.rate)
        self.windows.limit = limit
        if self.trickle is not None:
            self.trickle.scale(self.rate)
        if self.share is not None:
            self.share.scale(self.rate * (1 - self.headroom))

    # -- what headers say ----------------------------------------------------------------------------------------------

    def _refine(self, now: float, remaining: float, reset_s: float | None) -> float:
        """Judge whether the reset fits a bucket; where it does it is finer than `remaining`, which is cut to whole
        units."""
        self._resetless = reset_s is None
        if reset_s is None:
            if not self._bursts:
                self._calm(now)
            return remaining
        exact = self.limit - reset_s * self.rate
        slack = (COARSE if reset_s == int(reset_s) else FINE) * self.limit
        fits = -slack - 1.0 < exact - remaining < 1.0 + slack
        self._votes[0 if fits else 1] += 1
        if not fits:
            self._grain = 0.1
            return remaining
        self._grain = 1e-4
        if self._votes[0] > self._votes[1] and not self._bursts and self.pacing != "smooth":
            self._bursts = True
            self.trickle = None
        return min(remaining + 1.0, max(remaining, exact))

    def _in_windows(self) -> bool:
        return self._votes[1] > self._votes[0]

    def _confirm(self, mark: Mark) -> None:
        """Take note of the newest call that was answered, and let more be out unconfirmed if all is as expected."""
        self._anchored = True
        if mark.sent <= self._confirmed:
            return
        self._confirmed, self._confirmed_at = mark.sent, mark.at
        if self._wary > 0:
            self._wary -= 1
        elif self.allowance < 1.0 and self._confirmed - self._doubled >= 0.3 * self.allowance * self.limit:
            self.allowance, self._doubled = min(1.0, 2 * self.allowance), self._confirmed

    def _hasten(self, now: float) -> None:
        """Shorten the pace's delay where an answer has shown that calls may follow faster than when the last one
        left."""
        speed = self._speed(now, self.ledger.sums[-1])
        if speed > self._paced:
            self._next_at = now + (self._next_at - now) * self._paced / speed
            self._paced = speed

    def _order(self, at: float, sent: float, own: float) -> tuple[float, float]:
        """Tell how much more charge is to be expected before a look at `at` than the order of sending says, and the
        variance of that: calls that left within the jitter of one another arrive in any order. A call's `own` charge
        comes before its header whatever the order."""
        before, after = self.ledger.around(at, 2 * self.jitter_s)
        reach = ORDER_SD * max(0.0, after - before - own)
        drift = self.jitter_s * self.rate
        return 0.5 * (after + before + own) - sent, reach * reach + drift * drift

    def _begin(self, now: float, mark: Mark, remaining: float) -> None:
        """Take the first anchor: the level outright, with all that is unknown about what was charged since."""
        state = self.filter
        age = now - mark.at
        self.jitter_s = min(self.jitter_s, max(0.01, age))  # the way there took no longer than there and back
        gone = self.ledger.since(mark.number, mark.totals)
        since = sum(ratio * estimate for ratio, estimate in zip(state.ratios, gone, strict=True))
        low = remaining - since  # if it was sampled just now
        mean = low + self.rate * age
        variance = self._order(mark.at, mark.sent, mark.own)[1] + (state.unrest * self.limit) ** 2 * age
        variance += (0.002 * self.limit) ** 2
        level = mean
        if age >= 3.0:
            level = 0.5 * (mean + low)
            variance += ((mean - low) / 8) ** 2
        if not self.fixed:
            variance += state.noise**2 * self.ledger.squares_since(mark.at)
        state.place(min(self.limit, level), variance, [0.0, age, *gone])
        if remaining > 0.9 * self.limit:
            self._clipped_at = now
        self.known = True
        self._newest_at = mark.at

    def _blend(self, now: float, mark: Mark, remaining: float, *, exact: bool) -> None:
        """Correct level, others and ratios together by what a header shows of the past."""
        state, ledger = self.filter, self.ledger
        cov = state.cov
        age = now - mark.at
        gone = ledger.since(mark.number, mark.totals)
        drift = (state.unrest * self.limit) ** 2
        shift, order = self._order(mark.at, mark.sent, mark.own)
        gone[mark.k] = max(0.0, gone[mark.k] - shift / state.ratios[mark.k])
        grain = (1e-4 * self.limit) ** 2 + self._grain
        squares = last = 0.0
        newest = max(self._newest_at, mark.at)
        if not self.fixed:
            noise = state.noise * state.noise
            squares = noise * ledger.squares_since(mark.at)
            last = noise * ledger.squares_since(newest)
        surprise = remaining - state.expected(age, gone)
        look = [1.0, age] if self.fixed else [1.0, age, *gone]
        after = drift * (now - newest) + last  # happened since the newest anchor: no header can tell
        between = drift * (newest - mark.at) + squares - last  # before it: an old header is the vaguer for it
        self._newest_at = newest
        if remaining > NEAR_FULL * self.limit:
            state.others *= 0.9
            cov[1][1] *= 0.9
        if self._resetless and remaining > NEAR_FULL * self.limit:
            self._brim(remaining, age, gone, order)
            return
        if mark.at < self._clipped_at:  # it has been full since: an upper bound of the level, no more
            surprise += state.expected(age, gone) - state.level
            surprise += (self.rate - state.others) * age - self._charged(gone)
            look = [1.0] + [0.0] * (len(cov) - 1)
            if surprise > -2 * math.sqrt(cov[0][0] + order + grain):
                return
        if not exact and age > 0.1:
            late = remaining - state.level  # as if sampled just now
            late_order = self._order(now, ledger.sums[-1], 0.0)[1]
            belief = 0.0
            if (late - surprise) ** 2 > 4 * (order + late_order + grain):  # else both readings come to the same
                here = state.look_through(look, cov[0][0])[1] + order + grain + between
                belief = self._completion(surprise, here, late, cov[0][0] + late_order + grain)
            if belief > 0.5:
                apart = (1 - belief) * (late - surprise) ** 2
                surprise, look = late, [1.0] + [0.0] * (len(cov) - 1)
                order, after, between = late_order + apart, 0.0, 0.0
                self._newest_at = now
            elif belief > 0.0:
                between += belief * (late - surprise) ** 2
        after = min(after, 0.98 * state.loose())
        prior = cov[0][0] - after
        if exact:
            prior += surprise * surprise
        tied, spread = state.look_through(look, prior)
        total = spread + order + grain + between
        ratio = surprise * surprise / total
        if exact:
            plain = total - surprise * surprise
            bad = surprise < 0 and surprise * surprise > 9 * plain
            self._startle(now, mark, surprise, bad, exact=True)
            if bad:  # what was before says nothing any more, but that there was no more than it says
                self._blame_others(mark.at, surprise)
                self._clipped_at = max(self._clipped_at, mark.at)
            self._sure_at = max(self._sure_at, mark.at)
            mild = surprise
        else:
            self._startle(now, mark, surprise, surprise < 0 and ratio > 9, exact=False)
            step = max(LEARN, min(0.5, (now - self._answered_at) / RARE_S))
            self._answered_at = now
            self._misfit += step * (min(25.0, ratio) - self._misfit)
            if self._misfit > MISFIT_MOST:
                self._restart(now, mark, remaining)
                return
            unsure = look[1] * look[1] * cov[1][1]
            self._tune(ratio, order / total, squares / total, (drift * age + unsure) / total)
            most = 3.0 * math.sqrt(total)
            mild = min(most, max(-most, surprise))
        state.correct(surprise, tied, total, prior=prior, after=after, mild=mild)
        if newest == mark.at and look[1] == age:  # nothing raises the level above what the newest anchor allows
            ceiling = (
                remaining + self.rate * age - self._charged(gone) + CEILING_SIGMAS * math.sqrt(order + grain + between)
            )
            state.level = min(state.level, ceiling)

    def _brim(self, remaining: float, age: float, gone: list[float], order: float) -> None:
        """Place the level by a header without a reset that is nearly full: perhaps it is another bucket's brim, so it
        tells nothing of ratios or others."""
        state = self.filter
        state.level = min(self.limit, remaining + self.rate * age - self._charged(gone))
        state.narrow(0.0)
        state.cov[0][0] = order + (0.01 * self.limit) ** 2

    def _charged(self, gone: list[float]) -> float:
        return sum(ratio * estimate for ratio, estimate in zip(self.filter.ratios, gone, strict=True))

    def _completion(self, surprise: float, here: float, late: float, there: float) -> float:
        """Weigh whether a header was sampled at completion."""
        a = (1 - self._at_completion) / _unlikely(surprise, here)
        b = self._at_completion / _unlikely(late, there)
        belief = b / (a + b)
        self._at_completion = min(0.95, max(0.02, self._at_completion + 0.03 * (belief - self._at_completion)))
        return belief

    def _startle(self, now: float, mark: Mark, surprise: float, bad: bool, *, exact: bool) -> None:
        """Keep a cushion of the largest surprise, and be wary for a while after a bad one."""
        self._burst *= math.exp((self._burst_at - now) / BURST_MEMORY_S)
        self._burst_at = now
        if not bad:
            return
        if self.allowance < 1.0:
            self.allowance, self._wary = max(ALLOWANCE_LEAST, 0.5 * self.allowance), 3
        own = self.ledger.between(mark.at - 0.5, mark.at + 0.5)
        if exact or -surprise > own:  # more than calls of ours out of order could explain
            self._burst = max(self._burst, min(BURST_MOST * self.limit, -BURST_SCALE * surprise))

    def _blame_others(self, at: float, surprise: float) -> None:
        """Where answers come too seldom to show it, what is missing since the level was last known was taken by
        others."""
        span = at - max(self._sure_at, self._confirmed_at)
        if span < BLAME_S or self.blind:  # without headers nothing would ever take it back
            return
        state = self.filter
        taken = min(0.9 * self.rate, -surprise / span)
        if taken > state.others:
            state.others += 0.5 * (taken - state.others)
            state.cov[1][1] = max(state.cov[1][1], (0.5 * (taken - state.others)) ** 2)

    def _tune(self, ratio: float, order: float, squares: float, others: float) -> None:
        """Let each source of noise answer for the surprises in which it had a share."""
        push, state = LEARN * (min(ratio, 6.0) - 1.0), self.filter
        self.jitter_s = min(JITTER_MOST_S, max(JITTER_LEAST_S, self.jitter_s * math.exp(push * min(1.0, order))))
        state.noise = min(NOISE_MOST, max(NOISE_LEAST, state.noise * math.exp(push * min(1.0, squares))))
        state.unrest = min(UNREST_MOST, max(UNREST_LEAST, state.unrest * math.exp(push * min(1.0, others))))

    def _restart(self, now: float, mark: Mark, remaining: float) -> None:
        """Surprises far beyond what was expected, again and again: keep the ratios, doubt everything else."""
        self.filter.doubt_all()
        self._misfit, self.jitter_s = 1.0, min(self.jitter_s, JITTER_S)
        self.filter.unrest = max(0.001, min(self.filter.unrest, 0.003))
        self._begin(now, mark, remaining)

    # -- what refusals say ---------------------------------------------------------------------------------------------

    def _told(self, now: float, mark: Mark, level: float, requested: float | None) -> None:
        """A text gives the level at that moment, and what this call is charged, both exactly."""
        if requested and mark.estimate > 0:
            self.filter.learn_ratio(mark.k, requested / mark.estimate)
        totals = list(mark.totals)
        totals[mark.k] -= mark.estimate
        before = mark._replace(number=mark.number - 1, totals=tuple(totals))
        if self.known and self._anchored:
            self._blend(now, before, level, exact=True)
        else:
            self._begin(now, before, level)
            self._anchored = True

    def _untold(self, now: float, mine: bool) -> None:
        """A refusal that doesn't say why: the server may enforce by the second, or be emptier than thought."""
        if self._in_windows() and self.windows.settled:
            self.windows.widen()
            return
        if self.trickle is None and self.pacing != "burst":
            self._calm(now)
        elif self.blind or not self.known:
            self.filter.level = min(self.filter.level, 0.0)
            if not self.fixed:
                self.filter.ratios[:] = [ratio * 1.1 for ratio in self.filter.ratios]
        if self.trickle is not None:
            self.trickle.level = min(self.trickle.level, 0.0)

    def _calm(self, now: float) -> None:
        """From now on no burst longer than half a second's refill: in the long run it costs nothing. Nobody enforces a
        day's limit by the second."""
        if self.trickle is None and self.window_s <= LONG_WINDOW_S:
            self.trickle = Trickle(self.rate, self.rate * TRICKLE_S, now)

    def _go_blind(self, now: float) -> None:
        """No headers: believe the estimate, and let the doubt grow with its noise alone."""
        if self.pacing != "burst":
            self._calm(now)
        if not self.known:
            begun = self._begun if self._begun is not None else now
            self.filter.level = self.rate * (now - begun) - self.ledger.sums[-1]
        self._believe_estimate()

    def _believe_estimate(self) -> None:
        self.blind = self.known = True
        self._anchored = False
        for row in self.filter.cov:
            row[:] = [0.0] * len(row)


TRICKLE_S = 0.5
"""How much refill may go at once where the server may enforce by the second: half of it, for jitter moves calls
together."""


def _unlikely(surprise: float, variance: float) -> float:
    """Tell how unlikely a surprise is, up to a factor, with the heavy tails of Student's distribution (three degrees
    of freedom).

    A ratio of 2 is four deviations off at first; a Gaussian would call that impossible beside a header merely sampled
    late.
    """
    off = 1.0 + surprise * surprise / (3.0 * variance)
    return off * off * math.sqrt(variance)

"""Servers that count over windows instead of refilling a bucket: how much may still leave.

A *sliding* window forgets each charge a window after it came, so nothing that left during the last window (and the
spread of the way there) may exceed the limit. A *fixed* window forgets everything at once when it ends. Its headers
give that away: `reset` counts down to one instant, so send time plus reset is the same for all calls of a window, and
a whole number of windows apart for the others, but for the way there: `end - reset` lies between the ends of the
ways' spread. A call that leaves after the latest of these instants can't arrive before the end; one that leaves after
the earliest may already be counted in the next.
"""

from __future__ import annotations

from throttle.feedback.ledger import Ledger

__all__ = ["WindowCount"]

MARGIN = 0.01  # of the limit: estimates are off, and in windows a cushion is paid in each, so it is kept small
REACH_S = 0.3  # how much longer than others a call may be on its way
WIDEN, MARGIN_MOST, REACH_MOST_S = 1.5, 0.05, 3.0  # after a refusal both are taken to be larger, within bounds
SAME_S = 1.5  # resets that name instants closer than this name the same end: rounding to seconds, and the way there
APART_S = 4.0  # calls that left so far apart tell whether the end stays
OTHERS_LEARN = 0.2
SETTLED = 5  # headers after which the kind of window is believed


class WindowCount:
    """How much of the present window is used, by us and by others."""

    __slots__ = ("early", "late", "limit", "margin", "others", "reach_s", "since", "votes", "window_s")

    def __init__(self, limit: float, window_s: float) -> None:
        self.limit = limit
        self.window_s = window_s
        self.others = 0.0
        self.margin = MARGIN
        self.reach_s = REACH_S
        self.early = self.late = 0.0  # where the ends lie, each modulo a window; `late` counts from `early`
        self.since: float | None = None  # when the call left that named the first of these ends
        self.votes = [0, 0]  # resets that name the known end, and that don't

    @property
    def fixed(self) -> bool:
        """Whether all is forgotten at one instant."""
        return self.votes[0] >= 3 and self.votes[0] > 2 * self.votes[1]

    @property
    def settled(self) -> bool:
        """Whether enough was seen to tell a count over windows from a bucket, and which kind it is."""
        return sum(self.votes) >= SETTLED

    def see(
        self,
        now: float,
        sent_at: float,
        reset_s: float | None,
        used: float,
        shift: float,
        ledger: Ledger,
    ) -> None:
        """Learn from a header: when the window ends, and how much of it others used.

        `shift` is how much more of our own charge is to be expected before this call than the order of sending says.
        """
        if reset_s is not None:
            self._place(sent_at, sent_at + reset_s)
        start = self._start(sent_at) if self.fixed else sent_at - self.window_s
        extra = used - ledger.between(start, sent_at) - shift
        most = 0.9 * self.limit
        self.others += OTHERS_LEARN * (min(most, max(-most, extra)) - self.others)

    def _place(self, sent_at: float, end: float) -> None:
        """Compare the end that a header names with those known. Only calls some seconds apart can tell an end that
        stays from one that moves along."""
        if sum(self.votes) == 0 and self.since is None:
            self.early, self.late, self.since = end, 0.0, sent_at
            return
        off = (end - self.early + SAME_S) % self.window_s - SAME_S
        if -SAME_S <= off <= SAME_S:
            if off < 0.0:
                self.early += off
                self.late -= off
            self.late = max(self.late, off)
            if self.since is None or abs(sent_at - self.since) > APART_S:
                self.votes[0] += 1
        else:
            self.votes[1] += 1
            if self.votes[1] > self.votes[0]:
                self.early, self.late, self.since = end, 0.0, sent_at

    def _start(self, now: float) -> float:
        """Tell from when on calls may have been counted in the window of a call that leaves now."""
        return now - (now - self.early) % self.window_s

    def widen(self) -> None:
        """Take estimates and ways to be worse than thought: a call was refused."""
        self.margin = min(MARGIN_MOST, WIDEN * self.margin)
        self.reach_s = min(REACH_MOST_S, WIDEN * self.reach_s)

    def left(self, now: float, ledger: Ledger) -> float:
        """Tell what may still leave."""
        start = self._start(now) if self.fixed else now - self.window_s - self.reach_s
        return self.limit * (1 - self.margin) - max(0.0, self.others) - ledger.between(start, now)

    def wait(self, now: float, own: float, ledger: Ledger) -> float:
        """Tell in how many seconds a charge of `own` fits."""
        if self.fixed:
            opens = self._start(now) + self.late
            if now < opens:
                return opens - now
            if own <= self.left(now, ledger) or ledger.between(self._start(now), now) <= 0.0:
                return 0.0  # what exceeds a whole window goes first in one, and the server decides
            return opens + self.window_s - now
        most = max(0.0, self.limit * (1 - self.margin) - max(0.0, self.others) - own)
        start = ledger.sums[-1] - most  # what left before the sum came to this must be out of the window
        at = ledger.reached_at(start) if start > 0.0 else None
        return max(0.0, at + self.window_s + self.reach_s - now) if at is not None else 0.0

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

MARGIN = 0.015  # of the limit: estimates are off, and in windows a cushion is paid in each, so it is kept small
SLACK_S = 0.05  # beyond three jitters of the way there
SAME_S = 1.5  # resets that name instants closer than this name the same end: rounding to seconds, and the way there
OTHERS_LEARN = 0.2


class WindowCount:
    """How much of the present window is used, by us and by others."""

    __slots__ = ("early", "late", "limit", "others", "votes", "window_s")

    def __init__(self, limit: float, window_s: float) -> None:
        self.limit = limit
        self.window_s = window_s
        self.others = 0.0
        self.early = self.late = 0.0  # where the ends lie, each modulo a window; `late` counts from `early`
        self.votes = [0, 0]  # resets that name the known end, and that don't

    @property
    def fixed(self) -> bool:
        """Whether all is forgotten at one instant."""
        return self.votes[0] >= 3 and self.votes[0] > 4 * self.votes[1]

    def see(
        self,
        now: float,
        sent_at: float,
        reset_s: float | None,
        used: float,
        shift: float,
        ledger: Ledger,
        jitter_s: float,
    ) -> None:
        """Learn from a header: when the window ends, and how much of it others used.

        `shift` is how much more of our own charge is to be expected before this call than the order of sending says.
        """
        if reset_s is not None:
            self._place(sent_at + reset_s)
        start = self._start(sent_at) if self.fixed else sent_at - self.window_s
        extra = used - ledger.between(start, sent_at) - shift
        self.others += OTHERS_LEARN * (min(0.9 * self.limit, max(0.0, extra)) - self.others)

    def _place(self, end: float) -> None:
        off = (end - self.early + SAME_S) % self.window_s - SAME_S
        if sum(self.votes) == 0:
            self.early, self.late = end, 0.0
            self.votes[0] += 1
        elif -SAME_S <= off <= SAME_S:
            self.votes[0] += 1
            if off < 0.0:
                self.early += off
                self.late -= off
            self.late = max(self.late, off)
        else:
            self.votes[1] += 1
            if self.votes[1] >= self.votes[0]:
                self.early, self.late = end, 0.0
                self.votes = [1, max(0, self.votes[1] - 1)]

    def _start(self, now: float) -> float:
        """Tell from when on calls may have been counted in the window of a call that leaves now."""
        return now - (now - self.early) % self.window_s

    def left(self, now: float, ledger: Ledger, jitter_s: float) -> float:
        """Tell what may still leave."""
        span = self.window_s + 3 * jitter_s + SLACK_S
        start = self._start(now) if self.fixed else now - span
        return self.limit * (1 - MARGIN) - self.others - ledger.between(start, now)

    def wait(self, now: float, own: float, ledger: Ledger, jitter_s: float) -> float:
        """Tell in how many seconds a charge of `own` fits."""
        if self.fixed:
            start = self._start(now)
            opens = start + self.late
            if now < opens:
                return opens - now
            if ledger.between(start, now) + own <= max(own, self.limit * (1 - MARGIN) - self.others):
                return 0.0
            return start + self.window_s + self.late - now
        most = max(0.0, self.limit * (1 - MARGIN) - self.others - own)
        start = ledger.sums[-1] - most  # what left before the sum came to this must be out of the window
        at = ledger.reached_at(start) if start > 0.0 else None
        span = self.window_s + 3 * jitter_s + SLACK_S
        return max(0.0, at + span - now) if at is not None else 0.0

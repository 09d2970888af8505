"""The Kalman filter of one meter: what its level at the server is believed to be, and how sure that is.

**State.** `level` S now; `others` o, the rate at which others take from the same meter; `ratios` ρ, the server's
charge over our estimate, one for each model. One covariance P over all of them, in the order S, o, ρ₀, ρ₁, …

**Between looks the level moves by what is known**: `S += (r - o) dt` as time passes, `S -= ρ e` as a call with the
estimate `e` leaves. Both are linear in the state, so doubt moves with them: an uncertain ratio makes the level
doubtful exactly by the charge that no answer has confirmed yet. "How much may be out unconfirmed" is therefore no
rule of its own but a row of P.

**A header is a look at the past**: it tells the level when the call arrived, `age` seconds ago, before everything
that left since, `gone`. So `remaining = S - (r - o) age + Σ ρ gone`, linear again, with `H = (1, age, gone…)`.

Assumed: charges are proportional to the estimates, within a relative error `σ` of each call; others' use is a rate
that wanders plus unrest `u` (white, in limits per √s). What isn't so (bursts, disorder, servers of another kind) is
not the filter's business: see belief.py.
"""

from __future__ import annotations

import math

__all__ = ["RATIO_SD", "Filter"]

OTHERS_SD = 0.05  # of the refill, before anything is known: alone on the account is the common case
OTHERS_SD_MOST = 0.2  # of the refill: more doubt than that about a rate says nothing that a restart wouldn't say better
OTHERS_MOST = 0.9  # of the refill: at 1 the level would never recover on paper, and nobody could ask
RATIO_SD = 0.25  # before anything is known; with five of them a server that charges 2.25 times the estimate is covered
RATIO_SD_AGAIN = 0.04  # after a restart, where it was known well
WRONG = 4.0  # deviations by which a charge that the server told may miss before the ratio counts as wrong
RATIO_LEAST, RATIO_MOST = 0.1, 8.0  # no server is known to book less or more of what a call costs
LEVEL_SD_MOST = 0.5  # of the limit
TIGHT = 0.999  # correlations stay below one, or rounding makes variances negative
TINY = 1e-9  # the least variance: zero would make a state immovable
WANDER = 1e-7  # a ratio is never known for ever: variance added at every look


class Filter:
    """State and covariance. Callers bring `level` up to the present with `pass_time` and `charge`, and `correct` it."""

    __slots__ = ("cov", "fixed", "level", "limit", "noise", "others", "rate", "ratios", "unrest")

    def __init__(self, limit: float, rate: float, *, fixed: bool) -> None:
        """Make a filter for a meter of which every call takes its estimate (`fixed`: requests), or a share of it."""
        self.limit = limit
        self.rate = rate
        self.fixed = fixed
        self.level = 0.0
        self.others = 0.0
        self.ratios: list[float] = []
        self.cov: list[list[float]] = [[0.0, 0.0], [0.0, (OTHERS_SD * rate) ** 2]]
        self.noise = 0.08
        self.unrest = 0.001

    def add_model(self, *, sure: bool) -> int:
        """Add a ratio to the state; returns its index among the ratios."""
        self.ratios.append(1.0)
        if not self.fixed:
            for row in self.cov:
                row.append(0.0)
            self.cov.append([0.0] * (len(self.cov) + 1))
            self.cov[-1][-1] = 0.0 if sure else RATIO_SD**2
        return len(self.ratios) - 1

    def pass_time(self, gap: float) -> None:
        """Let `gap` seconds pass: refill less what others take, and doubt about both."""
        cov = self.cov
        first, second = cov[0], cov[1]
        self.level += (self.rate - self.others) * gap
        unrest = self.unrest * self.limit
        first[0] += gap * (gap * second[1] - 2 * first[1]) + unrest * unrest * gap
        for j in range(1, len(cov)):
            first[j] -= gap * second[j]
            cov[j][0] = first[j]
        second[1] += (10 * self.unrest * self.rate) ** 2 * gap
        self._bound(1, OTHERS_SD_MOST * self.rate)

    def charge(self, k: int, estimate: float, squares: float) -> None:
        """Let calls of model `k` with `estimate` in sum leave; `squares` is the sum of their squared charges."""
        self.level -= self.ratios[k] * estimate
        if self.fixed:
            return
        cov, m = self.cov, 2 + k
        first, row = cov[0], cov[m]
        spread = first[0] + estimate * (estimate * row[m] - 2 * first[m]) + self.noise * self.noise * squares
        for j in range(1, len(cov)):
            first[j] -= estimate * row[j]
            cov[j][0] = first[j]
        first[0] = spread if spread > 0.0 else 0.0

    def level_sd(self) -> float:
        """Tell the standard deviation of the level."""
        return math.sqrt(max(0.0, self.cov[0][0]))

    def ratio_sd(self, k: int) -> float:
        """Tell the standard deviation of a model's ratio."""
        return 0.0 if self.fixed else math.sqrt(max(0.0, self.cov[2 + k][2 + k]))

    def level_variance_after(self, k: int, estimate: float) -> float:
        """Tell the variance that the level will have once a call left, the error of its own estimate left out."""
        cov = self.cov
        if self.fixed:
            return cov[0][0]
        m = 2 + k
        return cov[0][0] + estimate * (estimate * cov[m][m] - 2 * cov[0][m])

    def narrow(self, factor: float) -> None:
        """Scale the level's doubt down, its ties to the other states with it."""
        first = self.cov[0]
        first[0] *= factor * factor
        for j in range(1, len(first)):
            first[j] *= factor
            self.cov[j][0] = first[j]

    def expected(self, age: float, gone: list[float]) -> float:
        """Tell what a header should show that was sampled `age` ago, before `gone` left."""
        value = self.level - (self.rate - self.others) * age
        for ratio, estimate in zip(self.ratios, gone, strict=True):
            value += ratio * estimate
        return value

    def place(self, level: float, variance: float, look: list[float]) -> None:
        """Set the level outright, from a look at the past: what is doubtful about the time since makes it doubtful."""
        cov = self.cov
        self.level = level
        for j in range(1, len(cov)):
            tie = 0.0
            for i in range(1, len(cov)):
                tie -= cov[j][i] * look[i]
            cov[0][j] = cov[j][0] = tie
            variance += look[j] * look[j] * cov[j][j]
        cov[0][0] = variance
        self.mend()

    def look_through(self, look: list[float], prior: float) -> tuple[list[float], float]:
        """Tell `P Hᵀ` and `H P Hᵀ`, with `prior` in place of the level's variance."""
        cov = self.cov
        if len(cov) == 2:  # no models, or one: the common cases, written out
            first, second = cov
            age = look[1]
            a, b = prior + age * second[0], first[1] + age * second[1]
            spread = a * look[0] + b * age
            return [a, b], spread if spread > 0.0 else 0.0
        if len(cov) == 3:
            first, second, third = cov
            age, gone = look[1], look[2]
            a = prior + age * second[0] + gone * third[0]
            b = first[1] + age * second[1] + gone * third[1]
            c = first[2] + age * second[2] + gone * third[2]
            spread = a * look[0] + b * age + c * gone
            return [a, b, c], spread if spread > 0.0 else 0.0
        tied = [prior, *cov[0][1:]]
        for i in range(1, len(cov)):
            weight = look[i]
            if weight:
                row = cov[i]
                for j in range(len(row)):
                    tied[j] += weight * row[j]
        spread = 0.0
        for value, weight in zip(tied, look, strict=True):
            spread += value * weight
        return tied, spread if spread > 0.0 else 0.0

    def correct(
        self, surprise: float, tied: list[float], total: float, *, prior: float, after: float, mild: float
    ) -> None:
        """Correct the state by a surprise.

        Args:
            surprise: what was seen less what was expected.
            tied: `P Hᵀ`.
            total: the variance that was expected of the surprise.
            prior: the level's variance, less what no look at the past can tell.
            after: that part, to be put back.
            mild: the surprise as the slow states may see it: an outlier must not move them, and must not make them
                surer than it moves them. Downwards the level follows in full.
        """
        cov = self.cov
        over = surprise - mild if surprise < mild else 0.0
        weight = 1.0 / total
        self.level += tied[0] * weight * mild + over
        self.others = min(OTHERS_MOST * self.rate, max(0.0, self.others + tied[1] * weight * mild))
        cov[0][0] = prior
        if not self.fixed:
            ratios = self.ratios
            for i in range(len(ratios)):
                ratio = ratios[i] + tied[2 + i] * weight * mild
                ratios[i] = RATIO_LEAST if ratio < RATIO_LEAST else RATIO_MOST if ratio > RATIO_MOST else ratio
        if mild != surprise:
            weight *= (mild / surprise) ** 2
        for tie, row in zip(tied, cov, strict=True):
            gain = tie * weight
            row[0] -= gain * tied[0]
            row[1] -= gain * tied[1]
            for j in range(2, len(row)):
                row[j] -= gain * tied[j]
        cov[0][0] = max(cov[0][0], 0.0) + after + over * over
        self.mend()
        if self.level > self.limit:
            self.level = self.limit

    def mend(self) -> None:
        """Keep the covariance one: symmetric, variances within bounds, correlations below one."""
        cov = self.cov
        if len(cov) <= 3 and self._is_mended():
            return
        for i in range(2, len(cov)):
            self._bound(i, RATIO_SD * max(1.0, self.ratios[i - 2]))
            cov[i][i] += WANDER
        self._bound(1, OTHERS_SD_MOST * self.rate)
        self._bound(0, LEVEL_SD_MOST * self.limit)
        for i in range(1, len(cov)):
            row, variance = cov[i], cov[i][i]
            for j in range(i):
                square = TIGHT * TIGHT * variance * cov[j][j]
                tie = 0.5 * (row[j] + cov[j][i])
                if tie * tie > square:
                    tie = math.copysign(math.sqrt(square), tie)
                row[j] = cov[j][i] = tie

    def _is_mended(self) -> bool:
        """Mend the covariance of one model, where all is within bounds already; False where something isn't."""
        cov = self.cov
        first, second = cov[0], cov[1]
        a, b = first[0], second[1]
        ab = 0.5 * (first[1] + second[0])
        most, others = LEVEL_SD_MOST * self.limit, OTHERS_SD_MOST * self.rate
        tight = TIGHT * TIGHT
        if not (TINY <= a <= most * most and TINY <= b <= others * others and ab * ab <= tight * a * b):
            return False
        if len(cov) == 3:
            third = cov[2]
            c = third[2]
            most = RATIO_SD * max(1.0, self.ratios[0])
            if not TINY <= c <= most * most:
                return False
            c += WANDER
            ac, bc = 0.5 * (first[2] + third[0]), 0.5 * (second[2] + third[1])
            if ac * ac > tight * a * c or bc * bc > tight * b * c:
                return False
            third[2] = c
            first[2] = third[0] = ac
            second[2] = third[1] = bc
        first[1] = second[0] = ab
        return True

    def loose(self) -> float:
        """Tell the part of the level's variance that doubts about others and ratios don't explain; never below zero."""
        cov = self.cov
        if len(cov) == 2:
            return max(0.0, cov[0][0] - cov[0][1] * cov[0][1] / max(cov[1][1], TINY))
        n = len(cov)
        if n == 3:
            (left, ab, ac), (_, pivot, bc), (_, _, c) = cov
            pivot = max(pivot, TINY)
            left -= ab * ab / pivot
            rest = ac - bc / pivot * ab
            return max(0.0, left - rest * rest / max(c - bc / pivot * bc, TINY))
        rows = [[*cov[i][1:], cov[i][0]] for i in range(1, n)]
        left = cov[0][0]
        for i in range(n - 1):  # elimination: what is left of the level's variance once each state has taken its part
            pivot, row = max(rows[i][i], TINY), rows[i]
            left -= row[-1] * row[-1] / pivot
            for k in range(i + 1, n - 1):
                factor = rows[k][i] / pivot
                if factor:
                    other = rows[k]
                    for j in range(i + 1, n):
                        other[j] -= factor * row[j]
        return max(0.0, left)

    def _bound(self, i: int, most: float) -> None:
        """Bound one variance from above, its ties with it, and from below by zero."""
        cov = self.cov
        variance = cov[i][i]
        if variance > most * most:
            factor = most / math.sqrt(variance)
            row = cov[i]
            for j in range(len(row)):
                row[j] *= factor
                cov[j][i] = row[j]
            row[i] = most * most
        elif variance < TINY:
            cov[i][i] = TINY

    def learn_ratio(self, k: int, seen: float) -> None:
        """Learn a model's ratio from one charge that the server told."""
        if self.fixed:
            return
        cov, m = self.cov, 2 + k
        cov[m][m] = max(cov[m][m], (0.5 * self.noise) ** 2)
        surprise = seen - self.ratios[k]
        spread = cov[m][m] + (self.noise * seen) ** 2
        if (
            surprise * surprise > WRONG * WRONG * spread
        ):  # the ratio was wrong and sure of it: what was told has the last word
            for j in range(len(cov)):
                cov[m][j] = cov[j][m] = 0.0
            cov[m][m] = surprise * surprise
            spread += cov[m][m]
        column = [row[m] for row in cov]
        self.level += column[0] / spread * surprise
        for i in range(len(self.ratios)):
            self.ratios[i] = min(RATIO_MOST, max(RATIO_LEAST, self.ratios[i] + column[2 + i] / spread * surprise))
        for i, row in enumerate(cov):
            gain = column[i] / spread
            for j in range(len(row)):
                row[j] -= gain * column[j]
        self.mend()

    def doubt_all(self) -> None:
        """Forget everything but the ratios, and doubt these again: twice as much as before, by a little at least."""
        n = len(self.cov)
        doubts = [min(RATIO_SD, max(RATIO_SD_AGAIN, 2 * self.ratio_sd(k))) for k in range(n - 2)]
        self.cov = [[0.0] * n for _ in range(n)]
        self.cov[1][1] = (OTHERS_SD_MOST * self.rate) ** 2
        for k, doubt in enumerate(doubts):
            self.cov[2 + k][2 + k] = (doubt * self.ratios[k]) ** 2
        self.others = 0.0

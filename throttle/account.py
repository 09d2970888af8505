"""An account's standing: which limits hold now. They change with time, with the file, and with what answers show."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from throttle.feedback.headers import Reading
from throttle.limits import LimitsTable, find_account, matching_tiers, resolve
from throttle.limits.values import Match, ResolvedLimits

__all__ = ["Account", "Identity"]

MODELS_MOST = 64
"""How many models' limits are compared with the tiers."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a client speaks as, and to. The key is only ever compared, never kept."""

    base_url: str | None = None
    organization: str | None = None
    project: str | None = None

    def account_in(self, table: LimitsTable, api_key: str | None) -> str | None:
        """Find the account of a limits file that this is."""
        return find_account(table, api_key=api_key, organization=self.organization, project=self.project)


class Account:
    """The limits of one account, followed through changes."""

    def __init__(self, table: LimitsTable, *, tier: str | None, name: str | None, who: Identity, wall_s: float) -> None:
        """Work out what holds at `wall_s`, seconds of the epoch.

        Raises:
            LimitsError: there is no such tier or account.
        """
        self.table = table
        self.host: str | None = None  # the server whose answers are seen, once a client has come
        self._tier = tier
        self._name = name
        self._who = who
        self._seen: dict[str, dict[str, int]] = {}
        self._detected: str | None = None
        self.limits: ResolvedLimits = self._resolve(table, wall_s)

    @property
    def is_assumed(self) -> bool:
        """Whether nobody said which tier it is, and no answer has shown it yet."""
        named = self._tier or self._detected or os.environ.get("THROTTLE_TIER")
        return not named and not self.limits.account and len(self.table.tiers) > 1

    @property
    def is_detected(self) -> bool:
        """Whether the tier was told by the limits that answers show."""
        return self._detected is not None

    def match(self, model: str) -> Match | None:
        """Find what a model's calls draw on."""
        return self.limits.match(model)

    def refresh(self, wall_s: float, table: LimitsTable | None = None) -> bool:
        """Work the limits out anew, of another table where one is given; tells whether they changed.

        Raises:
            LimitsError: the new table lacks the tier or account; the old one stays.
        """
        before = self.limits
        self.limits = self._resolve(table or self.table, wall_s)
        if table is not None:
            self.table = table
            self._seen.clear()  # what answers show is compared anew
        return self.limits != before

    def is_due(self, wall_s: float) -> bool:
        """Tell whether the tier changes by itself now."""
        at = self.limits.changes_at
        return at is not None and wall_s >= at.timestamp()

    def observe(self, model: str, readings: Sequence[Reading], wall_s: float) -> tuple[str, ...]:
        """Compare the limits that an answer shows with the tiers; where just one has them, it is the account's.

        Returns the tiers that fit, where that is news; else ().
        """
        shown = {
            reading.unit: reading.limit for reading in readings if reading.limit and reading.scope == "organization"
        }
        if not shown or self._seen.get(model) == shown or len(self._seen) >= MODELS_MOST:
            return ()
        self._seen[model] = shown
        seen: Mapping[str, Mapping[str, int]] = self._seen
        tiers = matching_tiers(self.table, seen, base_url=self._who.base_url)
        if len(tiers) == 1:
            self._detected = tiers[0]
            self.limits = self._resolve(self.table, wall_s)
        return tiers

    def _resolve(self, table: LimitsTable, wall_s: float) -> ResolvedLimits:
        return resolve(
            table,
            tier=self._tier or self._detected,
            account=self._name,
            now=datetime.fromtimestamp(wall_s, UTC),
            project=self._who.project,
            base_url=self._who.base_url,
        )

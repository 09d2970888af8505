"""What the rest of the package sees of limits: small frozen values, with neither pydantic nor YAML behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

__all__ = ["Match", "MeterSpec", "PoolSpec", "ResolvedLimits", "Variant"]


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """One limit of a pool.

    Attributes:
        name: the file's word for it: `rpm`, `rpd`, `tpm`, `tpd`, `ipm`, `max_in_flight`, `itpm`, `otpm`, or one of
            the file's own.
        unit: what is counted: `requests`, `tokens`, `images`, `input_tokens`, `output_tokens`, `in_flight`, or the
            file's own.
        limit: how many of the unit a window lets through; for `in_flight`, how many may be open at once.
        window_s: the window in seconds; 0 for `in_flight`, which nothing refills.
        burst_s: how many seconds of refill the bucket holds when full.
        origin: who said so: `bundled`, `user` or `server`.
        resets: "" where the bucket refills evenly; else the hour of the day at which it is full again, as in
            `"00:00 America/Los_Angeles"` (see `throttle.limits.next_reset`).
        counts: what one call is charged, as a sum of other units with their factors; empty: its own unit, once.
    """

    name: str
    unit: str
    limit: int
    window_s: float
    burst_s: float
    origin: str
    resets: str = ""
    counts: tuple[tuple[str, Fraction], ...] = ()


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """Capacity that several models share.

    Attributes:
        name: as the server names it in its refusals, as far as known; else the family's name.
        family: the family of the file it was made of.
        meters: its limits; a call needs room in all of them.
        charge: what the server books of a call: `auto`, `characters`, `input`, `maximum` or `usage`.
        headroom: the fraction (0 to 1) of every limit that is left to others.
        scope: `organization`, or `project` for a project's own limit that holds beside it.
        batch_queue_tokens: how many input tokens all unfinished batches may hold, or None; no call is charged for it.
    """

    name: str
    family: str
    meters: tuple[MeterSpec, ...]
    charge: str = "auto"
    headroom: float = 0.0
    scope: str = "organization"
    batch_queue_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """Pools that take the place of a model's usual ones for some of its calls.

    Attributes:
        pools: the pools such a call draws on.
        input_tokens_over: it holds for calls with more input tokens than this; 0: whatever their size.
        service_tier: it holds for calls that ask for this `service_tier`; "": whichever they ask for.
    """

    pools: tuple[PoolSpec, ...]
    input_tokens_over: int = 0
    service_tier: str = ""

    def holds(self, input_tokens: int, service_tier: str) -> bool:
        """Tell whether a call of that size and service tier is one of these."""
        long_enough = not self.input_tokens_over or input_tokens > self.input_tokens_over
        return long_enough and self.service_tier in ("", service_tier)


@dataclass(frozen=True, slots=True)
class Match:
    """What a model's calls draw on.

    Attributes:
        pools: the family's pool first, then a project's beside it: a call needs room in every one.
        weight: the part of one of the family's tokens that one token of this model counts.
        model_family: the family's name in the file.
        variants: other pools for long calls and for service tiers with limits of their own; the first that holds
            counts.
        counted_as: the model whose tokens are to be counted, where the name is an Azure deployment's; "" elsewhere.
    """

    pools: tuple[PoolSpec, ...]
    weight: Fraction
    model_family: str
    variants: tuple[Variant, ...] = ()
    counted_as: str = ""

    def pools_for(self, *, input_tokens: int = 0, service_tier: str | None = None) -> tuple[PoolSpec, ...]:
        """Choose the pools of one call by its size and the service tier it asks for."""
        for variant in self.variants:
            if variant.holds(input_tokens, service_tier or ""):
                return variant.pools
        return self.pools


@dataclass(frozen=True, slots=True)
class ResolvedLimits:
    """The limits of one account at one moment.

    Attributes:
        tier: the tier they were taken from.
        origin: `bundled` or `user`; each meter says for itself as well.
        source: the path of the file, or `limits=` where they were given in code.
        pools: every pool that the file names for this tier.
        account: the account of the file, or "".
        project: the project whose own limits hold beside the organization's, or "".
        server: the file's name for the server, or "" for OpenAI's own.
        changes_at: when the tier changes by itself and `resolve` has to be asked again; None: never.
        headers: what the server's rate-limit headers count, as pairs of header and meter, where the file tells.
    """

    tier: str
    origin: str
    source: str
    pools: tuple[PoolSpec, ...]
    account: str = ""
    project: str = ""
    server: str = ""
    changes_at: datetime | None = None
    headers: tuple[tuple[str, str], ...] = ()
    find: Callable[[str], Match | None] = field(default=lambda model: None, repr=False, compare=False)

    def match(self, model: str) -> Match | None:
        """Find what a model's calls draw on; None where the file has no limits for it.

        The exact name counts first, then the most specific pattern. Dated snapshots (`gpt-4o-2024-08-06`) and
        fine-tuned models (`ft:gpt-4o:org:name:id`, `curie:ft-org-…`) fall to the model they were made of.
        """
        return self.find(model)

"""The administration endpoint of a project's rate limits, as far as limits can be read and changed there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from throttle.simulator.limits import AccountLimits, PoolLimits

__all__ = ["METER_OF", "project_rate_limits"]

METER_OF: Mapping[str, str] = {
    "max_requests_per_1_minute": "rpm",
    "max_tokens_per_1_minute": "tpm",
    "max_images_per_1_minute": "ipm",
    "max_requests_per_1_day": "rpd",
}
"""The endpoint's names of meters."""


def project_rate_limits(account: AccountLimits, project: str) -> list[dict[str, Any]]:
    """List the limits that hold for a project: its own where it has them, else the organization's."""
    own = account.projects.get(project, {})
    rows = []
    for family in account.families.values():
        pool = account.pools[own.get(family.pool, own.get("*", family.pool))]
        models = family.models if not account.every_model else ("gpt-4o",)
        rows += [_row(model, pool, account.pools[family.pool]) for model in models if "*" not in model]
    return rows


def _row(model: str, pool: PoolLimits, organization: PoolLimits) -> dict[str, Any]:
    limits = {meter.name: int(meter.limit) for meter in (*organization.meters, *pool.meters)}
    row: dict[str, Any] = {"object": "project.rate_limit", "id": f"rl-{model}", "model": model}
    row |= {"max_requests_per_1_minute": 0, "max_tokens_per_1_minute": 0}
    row |= {name: limits[meter] for name, meter in METER_OF.items() if meter in limits}
    return row

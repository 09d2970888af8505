"""What a server lets through: limits by tier and model family, read from YAML and checked, as plain values.

`load_limits` reads and checks a table, `resolve` works out what holds for one account at one moment, and
`ResolvedLimits.match` tells what a model's calls draw on.
"""

from throttle.limits.keys import key_hash
from throttle.limits.loading import bundled_path, find_source, load_limits, read_limits
from throttle.limits.resets import next_reset
from throttle.limits.resolving import find_account, find_server, resolve
from throttle.limits.schema import LimitsTable
from throttle.limits.values import Match, MeterSpec, PoolSpec, ResolvedLimits, Variant

__all__ = [
    "LimitsTable",
    "Match",
    "MeterSpec",
    "PoolSpec",
    "ResolvedLimits",
    "Variant",
    "bundled_path",
    "find_account",
    "find_server",
    "find_source",
    "key_hash",
    "load_limits",
    "next_reset",
    "read_limits",
    "resolve",
]

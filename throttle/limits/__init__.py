"""What a server lets through: limits by tier and model family, read from YAML and checked, as plain values.

`load_limits` reads and checks a table, `resolve` works out what holds for one account at one moment, and
`ResolvedLimits.match` tells what a model's calls draw on.
"""

from typing import TYPE_CHECKING

from throttle.lazily import face

if TYPE_CHECKING:
    from throttle.limits.comparing import Change, compare, compare_tables
    from throttle.limits.detecting import matching_tiers
    from throttle.limits.exporting import limits_schema
    from throttle.limits.keys import key_hash
    from throttle.limits.loading import bundled_path, find_source, load_limits, read_limits
    from throttle.limits.observing import figures_of_rate_limits, read_recording
    from throttle.limits.resets import next_reset
    from throttle.limits.resolving import find_account, find_server, resolve
    from throttle.limits.schema import LimitsTable
    from throttle.limits.values import Match, MeterSpec, PoolSpec, ResolvedLimits, Variant
    from throttle.limits.watching import LimitsFile, Update
    from throttle.limits.writing import limits_text

__all__ = [
    "Change",
    "LimitsFile",
    "LimitsTable",
    "Match",
    "MeterSpec",
    "PoolSpec",
    "ResolvedLimits",
    "Update",
    "Variant",
    "bundled_path",
    "compare",
    "compare_tables",
    "figures_of_rate_limits",
    "find_account",
    "find_server",
    "find_source",
    "key_hash",
    "limits_schema",
    "limits_text",
    "load_limits",
    "matching_tiers",
    "next_reset",
    "read_limits",
    "read_recording",
    "resolve",
]

# As in the package's face: a client that is wrapped compares no tables, writes none and reads no recordings.
_HOMES = {
    "Change": "throttle.limits.comparing",
    "LimitsFile": "throttle.limits.watching",
    "LimitsTable": "throttle.limits.schema",
    "Match": "throttle.limits.values",
    "MeterSpec": "throttle.limits.values",
    "PoolSpec": "throttle.limits.values",
    "ResolvedLimits": "throttle.limits.values",
    "Update": "throttle.limits.watching",
    "Variant": "throttle.limits.values",
    "bundled_path": "throttle.limits.loading",
    "compare": "throttle.limits.comparing",
    "compare_tables": "throttle.limits.comparing",
    "figures_of_rate_limits": "throttle.limits.observing",
    "find_account": "throttle.limits.resolving",
    "find_server": "throttle.limits.resolving",
    "find_source": "throttle.limits.loading",
    "key_hash": "throttle.limits.keys",
    "limits_schema": "throttle.limits.exporting",
    "limits_text": "throttle.limits.writing",
    "load_limits": "throttle.limits.loading",
    "matching_tiers": "throttle.limits.detecting",
    "next_reset": "throttle.limits.resets",
    "read_limits": "throttle.limits.loading",
    "read_recording": "throttle.limits.observing",
    "resolve": "throttle.limits.resolving",
}

__getattr__, __dir__ = face(globals(), _HOMES)

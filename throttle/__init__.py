"""Hold every call to the OpenAI API until the account has room for it: the full rate, and no 429.

import throttle
from openai import OpenAI

client = throttle.wrap(OpenAI())
"""

from typing import TYPE_CHECKING

from throttle.lazily import face

if TYPE_CHECKING:
    from throttle.client import limiter_of, wrap
    from throttle.context import options
    from throttle.costs import Cost, estimate
    from throttle.errors import LimitsError, RequestTooLarge, StoreError, ThrottleError, WaitTimeout
    from throttle.jobs.packing import acomplete_many, aembed_many, complete_many, embed_many
    from throttle.limiter import Limiter
    from throttle.limits import load_limits
    from throttle.permit import Permit
    from throttle.retry import Retry

__all__ = [
    "Cost",
    "Limiter",
    "LimitsError",
    "Permit",
    "RequestTooLarge",
    "Retry",
    "StoreError",
    "ThrottleError",
    "WaitTimeout",
    "acomplete_many",
    "aembed_many",
    "complete_many",
    "embed_many",
    "estimate",
    "limiter_of",
    "load_limits",
    "options",
    "wrap",
]

__version__ = "0.1.0"

# What is behind a name is imported when the name is first used. A type checker sees the imports above.
_HOMES = {
    "Cost": "throttle.costs",
    "Limiter": "throttle.limiter",
    "LimitsError": "throttle.errors",
    "Permit": "throttle.permit",
    "RequestTooLarge": "throttle.errors",
    "Retry": "throttle.retry",
    "StoreError": "throttle.errors",
    "ThrottleError": "throttle.errors",
    "WaitTimeout": "throttle.errors",
    "acomplete_many": "throttle.jobs.packing",
    "aembed_many": "throttle.jobs.packing",
    "complete_many": "throttle.jobs.packing",
    "embed_many": "throttle.jobs.packing",
    "estimate": "throttle.costs",
    "limiter_of": "throttle.client",
    "load_limits": "throttle.limits",
    "options": "throttle.context",
    "wrap": "throttle.client",
}

__getattr__, __dir__ = face(globals(), _HOMES)

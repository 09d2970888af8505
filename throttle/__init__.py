"""Hold every call to the OpenAI API until the account has room for it: the full rate, and no 429.

import throttle
from openai import OpenAI

client = throttle.wrap(OpenAI())
"""

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

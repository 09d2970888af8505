"""An OpenAI-compatible server on loopback that enforces rate limits, to test clients against.

    from throttle.simulator import in_thread

    with in_thread(limits={"rpm": 60, "tpm": 20_000}, start="empty") as simulator:
        client = OpenAI(base_url=simulator.base_url, api_key="any")

`in_thread` and `running` (a process of its own) give the handle; `serve` runs until interrupted. `Judge` and
`Service` are the same without a socket and with time as an argument. Starlette and uvicorn, the extra `simulator`,
are imported when a server starts.
"""

from throttle.simulator.errors import SettingsError, SimulatorError
from throttle.simulator.handle import Simulator
from throttle.simulator.hosting import in_thread, running, serve
from throttle.simulator.judge import Admission, Judge, MeterSummary, Refusal, one_pool
from throttle.simulator.limits import read_limits
from throttle.simulator.record import Call, Summary
from throttle.simulator.reply import Reply
from throttle.simulator.service import Service
from throttle.simulator.settings import Settings
from throttle.simulator.words import embedding_of

__all__ = [
    "Admission",
    "Call",
    "Judge",
    "MeterSummary",
    "Refusal",
    "Reply",
    "Service",
    "Settings",
    "SettingsError",
    "Simulator",
    "SimulatorError",
    "Summary",
    "embedding_of",
    "in_thread",
    "one_pool",
    "read_limits",
    "running",
    "serve",
]

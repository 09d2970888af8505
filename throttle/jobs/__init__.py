"""Jobs: from a file of requests to a file of answers, resumable, each pool at its full rate."""

from throttle.jobs.errors import JobFileError, JobStopped, OutputError
from throttle.jobs.job import Job, Report
from throttle.jobs.packing import PackError, acomplete_many, aembed_many, complete_many, embed_many
from throttle.jobs.planning import ModelShare, Plan, PoolPlan, TierPlan, plan
from throttle.jobs.prices import Price, Prices, load_prices
from throttle.jobs.progress import Progress
from throttle.jobs.result import Failure, Result
from throttle.jobs.runs import Results, aresults, arun, results, run
from throttle.jobs.usage import Usage

__all__ = [
    "Failure",
    "Job",
    "JobFileError",
    "JobStopped",
    "ModelShare",
    "OutputError",
    "PackError",
    "Plan",
    "PoolPlan",
    "Price",
    "Prices",
    "Progress",
    "Report",
    "Result",
    "Results",
    "TierPlan",
    "Usage",
    "acomplete_many",
    "aembed_many",
    "aresults",
    "arun",
    "complete_many",
    "embed_many",
    "load_prices",
    "plan",
    "results",
    "run",
]

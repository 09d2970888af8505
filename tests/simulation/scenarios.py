"""What the worlds are like in which the closed loop is tried."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BY_NAME", "SCENARIOS", "Scenario"]


@dataclass(frozen=True)
class Scenario:
    """One world. Times in seconds, limits a minute, shares of one.

    Attributes:
        name: of the scenario.
        rpm: requests a minute.
        tpm: tokens a minute.
        span_s: how long it runs, where the number of calls isn't bounded.
        calls: a job of so many calls, instead of a span.
        workers: calls that may be under way, over all processes.
        charges: what the server charges a call, drawn evenly.
        ratio: the server's charge over our estimate, per model.
        blocks_s: models take turns in blocks of so long; 0: at random.
        noise: estimates are off by up to so much, evenly.
        up_s: the way there and back, drawn evenly.
        answer_s: how long the server works.
        header_s: headers come so soon, in streams; None: with the answer.
        sampled: when a header is sampled: `admission`, `completion`, or `mixed` (8 : 1, and one in ten shows a full
            bucket).
        headers: `both`, `requests`, `none`, or `late` (of which half are lost).
        text: a refusal tells its numbers.
        full: how full the server is at the start.
        server: `bucket`, `fixed`, `sliding`, `second`.
        others: who else uses the account: `steady`, `poisson`, `burst`, `onoff`, `ramp`, or nobody.
        share: how much of the limit they use.
        change: an instant, and by what the limits are multiplied then.
        processes: clients that know nothing of one another.
        cancel: share of calls that are cancelled under way; half of these never reach the server.
        lags: how often, and up to how long, a call is held up on the way.
        crash: share of admitted calls that are never heard of again.
    """

    name: str
    rpm: float = 600
    tpm: float = 120_000
    span_s: float = 600.0
    calls: int | None = None
    workers: int = 200
    charges: tuple[int, ...] = (100, 300, 800, 2000)
    ratio: tuple[float, ...] = (1.0,)
    blocks_s: float = 0.0
    noise: float = 0.1
    up_s: tuple[float, float] = (0.02, 0.2)
    answer_s: tuple[float, float] = (0.5, 8.0)
    header_s: tuple[float, float] | None = None
    sampled: str = "admission"
    headers: str = "both"
    text: bool = True
    full: float = 1.0
    server: str = "bucket"
    others: str = ""
    share: float = 0.0
    change: tuple[float, float] | None = None
    processes: int = 1
    cancel: float = 0.0
    lags: tuple[float, float] = (0.0, 0.0)
    crash: float = 0.0


SLOW = (5.0, 60.0)
CALM = (0.0005, 0.003)
QUICK = (0.05, 0.3)
SMALL_CALLS = (50, 100, 200, 400)
JOB_CALLS = (60, 120, 200, 400, 1500)


def _job(name: str, calls: int, full: float, up_s: tuple[float, float]) -> Scenario:
    return Scenario(
        name,
        rpm=1800,
        tpm=360_000,
        calls=calls,
        workers=128,
        charges=JOB_CALLS,
        noise=0.02,
        up_s=up_s,
        answer_s=QUICK,
        full=full,
    )


SCENARIOS = (
    Scenario("plain"),
    Scenario("x2", ratio=(2.0,)),
    Scenario("x0.5", ratio=(0.5,)),
    Scenario("noise-50%", noise=0.5),
    Scenario("empty", full=0.0),
    Scenario("partly-full", full=0.3),
    Scenario("empty-x2", full=0.0, ratio=(2.0,)),
    Scenario("lags-2s", up_s=(0.02, 2.0)),
    Scenario("lags-rare-5s", lags=(0.02, 5.0)),
    Scenario("slow", answer_s=SLOW),
    Scenario("slow-x2", ratio=(2.0,), answer_s=SLOW),
    Scenario("slow-x0.5", ratio=(0.5,), answer_s=SLOW),
    Scenario("slow-x2-empty", ratio=(2.0,), full=0.0, answer_s=SLOW),
    Scenario("slow-streamed-x2", ratio=(2.0,), header_s=(0.3, 2.0), answer_s=SLOW),
    Scenario("others-30%", others="poisson", share=0.3),
    Scenario("others-60%", others="steady", share=0.6),
    Scenario("others-60%-poisson", others="poisson", share=0.6),
    Scenario("others-60%-onoff", others="onoff", share=0.6),
    Scenario("others-bursts", others="burst", share=0.2),
    Scenario("others-ramp-60%", others="ramp", share=0.6),
    Scenario("others-60%-slow", others="poisson", share=0.6, answer_s=SLOW),
    _job("job-empty-calm", 1200, 0.0, CALM),
    _job("job-full-calm", 1500, 1.0, CALM),
    _job("job-empty", 1200, 0.0, (0.02, 0.2)),
    _job("job-full", 1500, 1.0, (0.02, 0.2)),
    Scenario("completion", sampled="completion"),
    Scenario("completion-slow", sampled="completion", answer_s=SLOW),
    Scenario("mixed", sampled="mixed"),
    Scenario("mixed-slow-x2", sampled="mixed", ratio=(2.0,), answer_s=SLOW),
    Scenario("fixed-window", server="fixed"),
    Scenario("sliding-window", server="sliding"),
    Scenario("by-the-second", server="second", charges=SMALL_CALLS, headers="none", text=False),
    Scenario("by-the-second-headers", server="second", charges=SMALL_CALLS, text=False),
    Scenario("no-headers", headers="none"),
    Scenario("no-headers-no-text", headers="none", text=False),
    Scenario("no-headers-x1.3", headers="none", ratio=(1.3,)),
    Scenario("requests-only", headers="requests"),
    Scenario("headers-lost", headers="late"),
    Scenario("no-text", text=False, others="poisson", share=0.3),
    Scenario("limit-x2", change=(300.0, 2.0)),
    Scenario("limit-half", change=(300.0, 0.5)),
    Scenario("processes-2", processes=2),
    Scenario("processes-8", processes=8),
    Scenario("processes-8-slow", processes=8, answer_s=SLOW),
    Scenario("cancelled-10%", cancel=0.1),
    Scenario("crashes-2%", crash=0.02),
    Scenario("small", rpm=3, tpm=40_000, answer_s=(1, 10), workers=8),
    Scenario(
        "large",
        rpm=30_000,
        tpm=150_000_000,
        charges=(2000, 8000, 30_000),
        span_s=120.0,
        answer_s=(1, 10),
        workers=3000,
    ),
    Scenario("two-models", ratio=(0.7, 1.8)),
    Scenario("two-models-blocks", ratio=(0.7, 1.8), blocks_s=45.0),
    Scenario("huge-and-small", charges=(200, 200, 200, 200, 200, 200, 48_000)),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}

"""A job: requests in, answers out. Checked as a whole before anything is sent, and resumable at any moment."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import anyio
import anyio.to_thread

from throttle.errors import LimitsError, Mistake
from throttle.jobs import packs
from throttle.jobs.budget import Budget
from throttle.jobs.engine import Engine, Settings
from throttle.jobs.errors import OutputError
from throttle.jobs.index import Index
from throttle.jobs.journal import Entry, Journal, write_anew
from throttle.jobs.lanes import Lane
from throttle.jobs.lines import Line
from throttle.jobs.packer import Packer
from throttle.jobs.pools import bucket_tokens, has_limits, limiter_or_none
from throttle.jobs.prices import Prices, load_prices
from throttle.jobs.progress import Progress, Tally
from throttle.jobs.result import Result, digest_of_id
from throttle.jobs.sender import AnyClient, Sender
from throttle.jobs.source import Scan, Source, name_of, open_source
from throttle.jobs.usage import Usage, read_usage
from throttle.jobs.window import Window

__all__ = ["Job", "Report", "Source"]

SYNC_EVERY_S: Final = 0.5
MOST_IN_FLIGHT: Final = 1000
"""As many connections as the SDK's own HTTP client opens."""

MOST_THREADS: Final = 64
SPARE_FILES: Final = 64
"""Files that the process needs for other things than connections."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended.

    Attributes:
        total: lines of the job.
        answered: lines with an answer, those of earlier runs included.
        failed: lines that failed and were not sent again, those of earlier runs included.
        answered_now, failed_now: of these, in this run.
        usage: tokens of this run's answers.
        cost: what they cost, where prices were given.
        elapsed_s: how long the run took.
        stopped: why it ended before its time; None where it didn't.
    """

    total: int
    answered: int
    failed: int
    answered_now: int
    failed_now: int
    usage: Usage
    cost: float
    elapsed_s: float
    stopped: str | None

    @property
    def left(self) -> int:
        """Lines that have neither an answer nor failed."""
        return self.total - self.answered - self.failed

    @property
    def complete(self) -> bool:
        """Whether every line has its answer."""
        return self.answered == self.total


class Job:
    """A job that was checked and is ready to run, once.

    Making one reads the whole input and what earlier runs left, and sends nothing. Use it as a context manager, so
    that its files are closed whatever happens.
    """

    def __init__(
        self,
        source: Source,
        output: str | os.PathLike[str] | None = None,
        *,
        failures: str | os.PathLike[str] | None = None,
        endpoint: str | None = None,
        retry_failed: bool = False,
        in_order: bool = False,
        pack: bool = False,
        max_in_flight: int | None = None,
        max_tries: int = 5,
        max_tokens_total: int | None = None,
        max_cost: float | None = None,
        prices: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        patience_s: float = 300.0,
        on_read: Callable[[int], None] = lambda lines: None,
    ) -> None:
        """Check a job.

        Args:
            source: a job file in the form of OpenAI's Batch API, or bodies, or such lines as dicts.
            output: where answers go; what is there already isn't sent again. None to keep nothing.
            failures: where failures go; by default beside the output, `NAME.failed.jsonl`.
            endpoint: where bodies without a `url` go; None to infer it from each.
            retry_failed: send lines again that failed in earlier runs.
            in_order: put the output in the order of the input, once every line has ended.
            pack: put many prompts in one request, where the endpoint takes lists.
            max_in_flight: how many calls may be out at once; None: as many as the limits call for.
            max_tries: how often a line is tried that meets something which may pass.
            max_tokens_total: stop before the whole job, earlier runs included, has used more tokens than this.
            max_cost: stop before it has cost more than this.
            prices: what tokens cost: a file, or `{model: {input: 0.15, output: 0.60}}`, a million tokens.
            patience_s: how long an unreachable server is waited for.
            on_read: is told now and then how many lines were checked.

        Raises:
            JobFileError: the input has mistakes: all lines are checked, and the first twenty mistakes are told.
            OutputError: the output can't be written, or holds something else.
            LimitsError: the prices can't be used.
        """
        self.output = None if output is None else Path(output)
        self.failures = _failures_path(self.output, failures)
        self.name = name_of(source)
        self._endpoint = endpoint
        self._in_order = in_order
        self._retry_failed = retry_failed
        self._pack = pack
        self._max_in_flight = max_in_flight
        self._settings = Settings(max_tries=max_tries, patience_s=patience_s)
        self._prices = load_prices(prices) if prices is not None else Prices({})
        self._budget = Budget(max_tokens_total, max_cost)
        self._source = open_source(source)
        self._index = Index()
        self._answers: Journal | None = None
        self._failed: Journal | None = None
        self._had_failures = False
        self._engine: Engine | None = None
        self._tally: Tally | None = None
        self._stop_reason: str | None = None
        try:
            self._refuse_same_file(source)
            self._check(on_read)
            self._check_prices()
            self._read_earlier_runs()
        except BaseException:
            self.close()
            raise
        self.total = self._index.count()
        self.answered_before = self._index.answered
        self.failed_before = self._index.failed

    # before anything is sent

    def _refuse_same_file(self, source: Source) -> None:
        if self.output is None or not isinstance(source, str | os.PathLike):
            return
        if self.output.exists() and Path(source).exists() and os.path.samefile(source, self.output):
            raise OutputError(f"{self.output}: is the input as well; name another file for the answers")

    def _check(self, on_read: Callable[[int], None]) -> None:
        scan = Scan(self._source, self.name, endpoint=self._endpoint, on_read=on_read)
        for line, offset, size in scan:
            self._note(line, offset, size)
        for number, first in self._index.seal():
            scan.mistake(number, f'the "custom_id" is that of line {first}; each line needs its own')
        scan.end()

    def _note(self, line: Line, offset: int, size: int) -> None:
        self._index.add(line.number, offset, size, self._lane_of(line), line.custom_id, line.digest)

    def _lane_of(self, line: Line) -> tuple[str, ...]:
        key = packs.rest_key(line.endpoint, line.body) if self._pack else None
        return (line.endpoint, line.model) if key is None else (line.endpoint, line.model, key)

    def _check_prices(self) -> None:
        if self._budget.max_cost is None:
            return
        unknown = sorted({lane[1] for lane in self._index.lanes if self._prices.of(lane[1]) is None})
        if unknown:
            raise LimitsError(
                "prices",
                [Mistake(0, 0, f"no price for {', '.join(unknown)}", "a bound on the cost needs one for each")],
            )

    def _read_earlier_runs(self) -> None:
        if self.output is not None:
            self._answers = Journal(self.output)
            self._mark_answers(self._answers)
        if self.failures is not None and self.failures.exists():
            self._failed = Journal(self.failures)
            self._had_failures = self._failed.size > 0
            self._mark_failures(self._failed)
        if self._retry_failed:
            self._index.reopen_failed()

    def _mark_answers(self, journal: Journal) -> list[int]:
        """Mark what is answered; returns where answers are that are none of this job's."""
        foreign: list[int] = []
        with self._index.marking():
            for entry in journal.entries():
                marked = self._index.mark_answered(entry.custom_id, digest_of_id(entry.id), entry.at)
                if marked is None:
                    foreign.append(entry.at)
                elif not marked:
                    raise OutputError(
                        f"{self.output}: its answer to {entry.custom_id!r} is to another request than the one of that "
                        f"name in {self.name}; name another file for the answers"
                    )
                elif self._budget.bounded and self._tally is None:
                    self._count_earlier(entry)
        return foreign

    def _count_earlier(self, entry: Entry) -> None:
        response = entry.read().get("response") or {}
        usage = read_usage(response.get("body"))
        lane = self._index.lane_of(entry.custom_id)
        price = self._prices.of(lane[1]) if lane else None
        self._budget.use(usage, price.of(usage) if price else 0.0)

    def _mark_failures(self, journal: Journal) -> None:
        with self._index.marking():
            for entry in journal.entries():
                attempts = entry.read().get("attempts", 1)
                self._index.mark_failed(entry.custom_id, attempts if isinstance(attempts, int) else 1, entry.at)

    # running

    async def arun(self, client: AnyClient, on_result: Callable[[Result], Awaitable[None]] | None = None) -> Report:
        """Send what is left, keep what comes back.

        Args:
            client: wrapped or not; a sync client's calls are made in threads.
            on_result: is given each result once it is kept.

        Raises:
            OutputError: the output couldn't be put in order; it is all there.
            RuntimeError: the job has run before.
        """
        if self._tally is not None:
            raise RuntimeError("this job has run; make another of the same input and output to go on with it")
        begun_s = anyio.current_time()
        self._tally = tally = Tally(self.total, self.answered_before, self.failed_before, begun_s)
        most = self._most_in_flight(client)
        limiter = limiter_or_none(client)

        async def record(result: Result, cost: float) -> None:
            self._keep(result)
            tally.count(result, cost, anyio.current_time())
            if on_result is not None:
                await on_result(result)

        self._engine = engine = Engine(
            self._lanes(most),
            Sender(client, threads=most),
            record,
            settings=Settings(most, self._settings.max_tries, self._settings.patience_s),
            budget=self._budget,
            prices=self._prices,
            packer=Packer(lambda endpoint, model: packs.bound_of(endpoint, bucket_tokens(limiter, model)))
            if self._pack
            else None,
            is_limited=lambda model: has_limits(limiter, model),
        )
        if self._stop_reason is not None:
            engine.stop(self._stop_reason)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._sync_now_and_then)
                await engine.run()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._finish)
        return self._report(anyio.current_time() - begun_s)

    def stop(self, reason: str = "interrupted", *, at_once: bool = False) -> None:
        """Begin no more calls, wait for those that are out; `at_once`: give those up. From the loop's thread only."""
        self._stop_reason = self._stop_reason or reason
        if self._engine is not None:
            self._engine.stop(reason, at_once=at_once)

    def progress(self) -> Progress:
        """Tell how far the run is. From the loop's thread only."""
        now_s = anyio.current_time()
        if self._tally is None or self._engine is None:
            return Tally(self.total, self.answered_before, self.failed_before, now_s).progress(
                now_s, waiting=0, out=0, outage_s=None
            )
        engine = self._engine
        return self._tally.progress(now_s, waiting=engine.waiting, out=engine.out, outage_s=engine.outage_s(now_s))

    def close(self) -> None:
        """Close the job's files."""
        for journal in (self._answers, self._failed):
            if journal is not None:
                journal.close()
        self._index.close()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lanes(self, most: int) -> list[Lane]:
        return [Lane(key, self._index, self._source, self._endpoint, Window(most)) for key in self._index.lanes]

    def _most_in_flight(self, client: AnyClient) -> int:
        from openai import OpenAI

        most = self._max_in_flight or (MOST_THREADS if isinstance(client, OpenAI) else MOST_IN_FLIGHT)
        return min(most, max(1, _files_allowed(most + SPARE_FILES) - SPARE_FILES))

    def _keep(self, result: Result) -> None:
        if result.error is None:
            if self._answers is not None:
                self._answers.append(result.written())
        elif self.failures is not None:
            if self._failed is None:
                self._failed = Journal(self.failures)
            self._failed.append(result.written())

    async def _sync_now_and_then(self) -> None:
        while True:
            await anyio.sleep(SYNC_EVERY_S)
            try:
                await anyio.to_thread.run_sync(self._sync)
            except OutputError as error:
                self.stop(str(error), at_once=True)

    def _sync(self) -> None:
        for journal in (self._answers, self._failed):
            if journal is not None:
                journal.sync()

    # afterwards

    def _finish(self) -> None:
        self._sync()
        if self._retry_failed and self._had_failures:
            self._clear_failures()
        tally = self._tally
        ended = (
            tally is not None
            and tally.total == tally.answered_before + tally.answered + tally.failed_before + tally.failed
        )
        if self._in_order and ended and self._answers is not None:
            self._put_in_order(self._answers)

    def _clear_failures(self) -> None:
        """Keep the last word on each line that still has no answer."""
        assert self._failed is not None
        self._index.forget_outcomes()
        if self._answers is not None:
            self._mark_answers(self._answers)
        self._mark_failures(self._failed)
        if self._index.failed:
            write_anew(self._failed.path, self._index.failures_in_order())
        else:
            self._failed.path.unlink(missing_ok=True)

    def _put_in_order(self, answers: Journal) -> None:
        self._index.forget_outcomes()
        foreign = self._mark_answers(answers)
        write_anew(answers.path, chain(self._index.answers_in_order(), foreign))

    def _report(self, elapsed_s: float) -> Report:
        tally, engine = self._tally, self._engine
        assert tally is not None
        assert engine is not None
        return Report(
            total=self.total,
            answered=self.answered_before + tally.answered,
            failed=self.failed_before + tally.failed,
            answered_now=tally.answered,
            failed_now=tally.failed,
            usage=tally.usage,
            cost=tally.cost,
            elapsed_s=elapsed_s,
            stopped=engine.stopped,
        )


def _failures_path(output: Path | None, given: str | os.PathLike[str] | None) -> Path | None:
    if given is not None:
        return Path(given)
    if output is None:
        return None
    stem = output.name.removesuffix(".jsonl")
    return output.with_name(f"{stem}.failed.jsonl")


def _files_allowed(wanted: int) -> int:
    """Tell how many files the process may have open, raising the soft bound towards the hard one if need be."""
    try:
        import resource
    except ImportError:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    try:
        raised = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):
        return soft
    return raised

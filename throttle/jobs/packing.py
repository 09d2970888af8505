"""Many prompts in one request, for programs: `embed_many`, `complete_many` and their async twins.

What goes in which request, what a refusal means and how the answer is put together is written once, in `_Packs`; the
drivers only carry requests: threads for a sync client, tasks for an async one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import anyio.to_thread
from openai import AsyncOpenAI, OpenAI, OpenAIError
from openai.types import Completion, CompletionUsage, CreateEmbeddingResponse
from openai.types.create_embedding_response import Usage as EmbeddingUsage

from throttle.costs.call import CallCost
from throttle.costs.endpoints import COMPLETIONS, EMBEDDINGS
from throttle.errors import ThrottleError
from throttle.jobs import packs
from throttle.jobs.packs import Item
from throttle.jobs.pools import bucket_tokens, limiter_or_none
from throttle.jobs.verdicts import HOPELESS, judge

__all__ = ["PackError", "acomplete_many", "aembed_many", "complete_many", "embed_many"]

THREADS: Final = 16
TASKS: Final = 64

ALONE: Final = 3
"""So many items refused alone, in the same words, and none ever accepted: then it is the request, not the items."""


class PackError(ThrottleError):
    """Some of many prompts got no answer; the others did, and are in `response`.

    Attributes:
        failures: the error of each prompt that failed, by its place in the input.
        response: the answers of all others, each with its place as `index`.
    """

    def __init__(
        self, failures: dict[int, Exception], response: Completion | CreateEmbeddingResponse, total: int
    ) -> None:
        first = min(failures)
        super().__init__(
            f"{len(failures):,} of {total:,} prompts failed, the first of them number {first}: {failures[first]}; "
            "the others' answers are in .response"
        )
        self.failures = failures
        self.response = response


def embed_many(
    client: OpenAI,
    texts: Iterable[Item],
    *,
    model: str,
    max_items: int = packs.MOST_ITEMS,
    max_tokens_per_request: int | None = None,
    **parameters: Any,
) -> CreateEmbeddingResponse:
    """Embed any number of texts in as few requests as they fit in, sent side by side.

    Args:
        client: wrapped or not.
        texts: texts, or lists of tokens.
        model: the model.
        max_items: how many go in one request at most; OpenAI takes 2,048.
        max_tokens_per_request: how many tokens at most; None: OpenAI's 300,000, and half of the pool's bucket.
        parameters: whatever `client.embeddings.create` takes besides.

    Returns:
        What `client.embeddings.create(input=texts)` would have returned: one embedding for each text, in their order.

    Raises:
        PackError: some texts were refused, each by itself; the others' embeddings come with it.
        OpenAIError: nothing could be embedded, for a reason that holds for all.
    """
    work = _Packs.of(EMBEDDINGS, client, texts, {"model": model, **parameters}, max_items, max_tokens_per_request)
    _drive(work, client)
    return work.embeddings()


async def aembed_many(
    client: AsyncOpenAI,
    texts: Iterable[Item],
    *,
    model: str,
    max_items: int = packs.MOST_ITEMS,
    max_tokens_per_request: int | None = None,
    **parameters: Any,
) -> CreateEmbeddingResponse:
    """Do what `embed_many` does, in asyncio or trio."""
    work = _Packs.of(EMBEDDINGS, client, texts, {"model": model, **parameters}, max_items, max_tokens_per_request)
    await _adrive(work, client)
    return work.embeddings()


def complete_many(
    client: OpenAI,
    prompts: Iterable[Item],
    *,
    model: str,
    max_items: int = packs.MOST_ITEMS,
    max_tokens_per_request: int | None = None,
    **parameters: Any,
) -> Completion:
    """Complete any number of prompts in as few requests as they fit in, sent side by side.

    Args:
        client: wrapped or not.
        prompts: texts, or lists of tokens.
        model: the model, one of the legacy completions endpoint.
        max_items: how many go in one request at most.
        max_tokens_per_request: how many tokens, in and out, at most; None: half of the pool's bucket.
        parameters: whatever `client.completions.create` takes besides.

    Returns:
        What `client.completions.create(prompt=prompts)` would have returned: the choices in the prompts' order; with
        `n` choices each, those of prompt `i` are at `i * n` to `i * n + n - 1`.

    Raises:
        PackError: some prompts were refused, each by itself; the others' choices come with it.
        OpenAIError: nothing could be completed, for a reason that holds for all.
    """
    work = _Packs.of(COMPLETIONS, client, prompts, {"model": model, **parameters}, max_items, max_tokens_per_request)
    _drive(work, client)
    return work.completion()


async def acomplete_many(
    client: AsyncOpenAI,
    prompts: Iterable[Item],
    *,
    model: str,
    max_items: int = packs.MOST_ITEMS,
    max_tokens_per_request: int | None = None,
    **parameters: Any,
) -> Completion:
    """Do what `complete_many` does, in asyncio or trio."""
    work = _Packs.of(COMPLETIONS, client, prompts, {"model": model, **parameters}, max_items, max_tokens_per_request)
    await _adrive(work, client)
    return work.completion()


# the work


@dataclass(slots=True, eq=False)
class _Refused:
    """A pack that was refused and halved: how large it was, how many of its halves have passed since."""

    size: int
    passed: int = 0


@dataclass(slots=True, eq=False)
class _Pack:
    """The items from `start` to before `stop`, for one request."""

    start: int
    stop: int
    half_of: _Refused | None = None

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(slots=True)
class _Packs:
    """All that is known of one call of `embed_many` or `complete_many`; does no I/O. Workers in threads may share it.

    Work goes in rounds: a worker takes a pack, sends it, and tells what came of it, until there is none left or the
    round is over. While packs were refused and none was ever accepted, the request itself may be at fault; such a
    round has one worker, so that a mistake is asked about some dozen times and not once for each item.
    """

    endpoint: str
    items: list[Item]
    parameters: dict[str, Any]
    n: int
    most_items: int
    most_tokens: float
    output_tokens: int
    answers: list[Any]
    failures: dict[int, Exception] = field(default_factory=dict)
    first: Any = None
    input_used: int = 0
    output_used: int = 0
    _begun: int = 0
    _asking: bool = False
    _doubtful: bool = False
    _halves: deque[_Pack] = field(default_factory=deque)
    _over: Exception | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(
        cls,
        endpoint: str,
        client: OpenAI | AsyncOpenAI,
        items: Iterable[Item],
        parameters: dict[str, Any],
        max_items: int,
        max_tokens: int | None,
    ) -> _Packs:
        if parameters.get("stream"):
            raise TypeError("a stream can't be put together from several requests: leave stream out")
        if max_items < 1:
            raise ValueError(f"max_items={max_items}: a request has at least one item")
        every = list(items)
        n = packs.choices_of(endpoint, parameters)
        bound = packs.bound_of(endpoint, bucket_tokens(limiter_or_none(client), str(parameters["model"])))
        return cls(
            endpoint=endpoint,
            items=every,
            parameters=parameters,
            n=n,
            most_items=max_items,
            most_tokens=bound.tokens if max_tokens is None else max_tokens,
            output_tokens=CallCost(packs.with_items(endpoint, parameters, [""]), endpoint).output_tokens,
            answers=[None] * (len(every) * n),
        )

    def workers(self, most: int) -> int:
        """Begin a round: return how many workers it is for, `most` at most; 0 when nothing is left to be begun."""
        self._asking = self._doubtful
        left = len(self.items) - self._begun + sum(pack.size for pack in self._halves)
        return 0 if self._over is not None else min(1 if self._asking else most, left)

    def take(self) -> _Pack | None:
        """Return the next pack to be sent; None when there is no more to be begun in this round."""
        with self._lock:
            if self._over is not None or self._asking != self._doubtful:
                return None
            if self._halves:
                return self._halves.popleft()
            if self._begun >= len(self.items):
                return None
            start = self._begun
            self._begun = self._fill(start)
            return _Pack(start, self._begun)

    def give_up(self, error: Exception) -> None:
        """Begin nothing more: what isn't answered has failed with this."""
        self._over = self._over or error

    def call(self, pack: _Pack) -> dict[str, Any]:
        """Return the arguments of the SDK's method for this pack."""
        return packs.with_items(self.endpoint, self.parameters, self.items[pack.start : pack.stop])

    def answered(self, pack: _Pack, response: Any) -> None:
        """Put an answer's parts where their prompts are."""
        parts = response.data if self.endpoint == EMBEDDINGS else response.choices
        ordered = packs.in_order(parts, lambda part: part.index, pack.size * self.n)
        with self._lock:
            if ordered is None:
                self._fail(pack, ThrottleError(f"the server gave {len(parts)} answers to {pack.size} prompts"))
                return
            for place, part in enumerate(ordered, pack.start * self.n):
                part.index = place
                self.answers[place] = part
            self.first = self.first or response
            self._doubtful = False
            if response.usage is not None:
                self.input_used += response.usage.prompt_tokens
                self.output_used += getattr(response.usage, "completion_tokens", 0)
            self._learn_size(pack)

    def refused(self, pack: _Pack, error: OpenAIError) -> None:
        """Halve a pack in which an item may be at fault, until that item is alone; give up where it is none's fault."""
        verdict = judge(error)
        with self._lock:
            nowhere = verdict.what == "unreachable" and self.first is None
            if nowhere or verdict.what == "stop" or verdict.status_code in HOPELESS:
                self.give_up(error)
            elif verdict.what == "failed" and pack.size > 1:
                self._halve(pack)
            else:
                self._fail(pack, error)

    def embeddings(self) -> CreateEmbeddingResponse:
        """Put the embeddings together."""
        usage = EmbeddingUsage(prompt_tokens=self.input_used, total_tokens=self.input_used)
        answers = [answer for answer in self.answers if answer is not None]
        model = self.first.model if self.first is not None else self.parameters["model"]
        response = CreateEmbeddingResponse.construct(data=answers, model=model, object="list", usage=usage)
        self._raise_failures(response)
        return response

    def completion(self) -> Completion:
        """Put the completions together."""
        usage = CompletionUsage(
            prompt_tokens=self.input_used,
            completion_tokens=self.output_used,
            total_tokens=self.input_used + self.output_used,
        )
        answers = [answer for answer in self.answers if answer is not None]
        rest = self.first.model_dump(exclude={"choices", "usage"}) if self.first is not None else {}
        response = Completion.construct(**{**rest, "choices": answers, "usage": usage})
        self._raise_failures(response)
        return response

    # inside, with the lock held where there is one

    def _fill(self, start: int) -> int:
        """Find how far a pack reaches that begins at this item: one item at least."""
        tokens = 0
        for stop in range(start, min(len(self.items), start + self.most_items)):
            tokens += self._weight(self.items[stop])
            if tokens > self.most_tokens:
                return max(stop, start + 1)
        return min(len(self.items), start + self.most_items)

    def _weight(self, item: Item) -> int:
        call = CallCost(packs.with_items(self.endpoint, self.parameters, [item]), self.endpoint)
        return call.input_tokens + self.output_tokens

    def _halve(self, pack: _Pack) -> None:
        middle = pack.start + pack.size // 2
        refused = _Refused(pack.size)
        self._doubtful = self.first is None
        self._halves.extendleft([_Pack(middle, pack.stop, refused), _Pack(pack.start, middle, refused)])

    def _learn_size(self, pack: _Pack) -> None:
        """Where both halves of a refused pack passed, its size was what was wrong with it."""
        if pack.half_of is not None:
            pack.half_of.passed += 1
            if pack.half_of.passed == 2:
                self.most_items = min(self.most_items, max(1, pack.half_of.size // 2))

    def _fail(self, pack: _Pack, error: Exception) -> None:
        for place in range(pack.start, pack.stop):
            self.failures[place] = error
        alike = [other for other in self.failures.values() if str(other) == str(error)]
        if self.first is None and len(alike) >= ALONE:
            self.give_up(error)

    def _raise_failures(self, response: Completion | CreateEmbeddingResponse) -> None:
        if self._over is not None:
            missing = {place // self.n for place, answer in enumerate(self.answers) if answer is None}
            self.failures.update(dict.fromkeys(missing - self.failures.keys(), self._over))
        if self.failures and self.first is None:
            raise self._over or self.failures[min(self.failures)]
        if self.failures:
            raise PackError(dict(sorted(self.failures.items())), response, len(self.items))


# the drivers


def _method(client: OpenAI | AsyncOpenAI, endpoint: str) -> Any:
    return client.embeddings.create if endpoint == EMBEDDINGS else client.completions.create


def _drive(work: _Packs, client: OpenAI) -> None:
    """Send packs from a few threads. They are daemons, so that Ctrl-C isn't held up by calls that wait."""
    send = _method(client, work.endpoint)
    broken: list[BaseException] = []

    def carry() -> None:
        try:
            while (pack := work.take()) is not None:
                try:
                    response = send(**work.call(pack))
                except OpenAIError as error:
                    work.refused(pack, error)
                else:
                    work.answered(pack, response)
        except BaseException as error:  # SystemExit too: a thread that ends with it says nothing
            broken.append(error)
            work.give_up(ThrottleError("interrupted"))

    try:
        while count := work.workers(THREADS):
            threads = [
                threading.Thread(target=copy_context().run, args=(carry,), name="throttle-packs", daemon=True)
                for _ in range(count)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    except BaseException:
        work.give_up(ThrottleError("interrupted"))
        raise
    if broken:
        raise broken[0]


async def _adrive(work: _Packs, client: AsyncOpenAI) -> None:
    """Send packs from tasks. Filling a pack counts tokens, which takes its time: in a thread."""
    send = _method(client, work.endpoint)
    broken: list[BaseException] = []

    async def carry() -> None:
        try:
            while (pack := await anyio.to_thread.run_sync(work.take)) is not None:
                try:
                    response = await send(**work.call(pack))
                except OpenAIError as error:
                    work.refused(pack, error)
                else:
                    work.answered(pack, response)
        except GeneratorExit:
            raise
        except BaseException as error:
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
            broken.append(error)  # to be raised as it is, and not in a group
            work.give_up(ThrottleError("interrupted"))

    while count := work.workers(TASKS):
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(carry)
    if broken:
        raise broken[0]

"""Everything that programs do with a client, each written once for sync and async clients."""

from __future__ import annotations

import io
import warnings
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import openai
from pydantic import BaseModel

from tests.wire.driving import cancelled_when, done, each, entered
from tests.wire.scene import KEY, Scene

__all__ = ["CALLS", "CHAT", "MESSAGES", "Call", "chat", "constructor_of"]

MODEL: Final = "gpt-4o-mini"
MESSAGES: Final[Any] = [{"role": "user", "content": "Tell me of the sea."}]
CHAT: Final[Mapping[str, Any]] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 5}

Act = Callable[[Any, Scene], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """What a program does with a client, and what comes of it.

    Attributes:
        name: tells the call in the matrix.
        act: does it; gives what the program gets out of it.
        sent: how many requests reach the server.
        charged: how many of them are charged as requests; the same, if not given.
        charged_by_proxy: the same where they go through a proxy, whose word is all that is known of the server.
        server: settings of the simulated server.
        options: further arguments of the client's constructor.
        kind: `"OpenAI"`, `"AzureOpenAI"`, or a subclass of ours.
        only_async: whether only async code can do it.
    """

    name: str
    act: Act
    sent: int = 1
    charged: int | None = None
    charged_by_proxy: int | None = None
    server: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "OpenAI"
    only_async: bool = False

    def charges(self, *, by_proxy: bool) -> int:
        """Tell how many attempts are charged."""
        if by_proxy and self.charged_by_proxy is not None:
            return self.charged_by_proxy
        return self.sent if self.charged is None else self.charged


class Place(BaseModel):
    """An answer with a schema."""

    name: str
    population: int


# ----------------------------------------------------------------------------------------------------- what they get


async def chat(client: Any, _: Scene) -> Any:
    return await done(client.chat.completions.create(**CHAT))


async def responses(client: Any, _: Scene) -> Any:
    return await done(client.responses.create(model=MODEL, input="Tell me of the sea.", max_output_tokens=5))


async def completions(client: Any, _: Scene) -> Any:
    return await done(client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["The sea", "The sky"]))


async def embeddings(client: Any, _: Scene) -> Any:
    return await done(client.embeddings.create(model="text-embedding-3-small", input=["sea", "sky"], dimensions=8))


async def moderations(client: Any, _: Scene) -> Any:
    return await done(client.moderations.create(model="omni-moderation-latest", input="The sea."))


async def images(client: Any, _: Scene) -> Any:
    return await done(client.images.generate(model="gpt-image-1", prompt="The sea.", n=2))


async def streamed_chat(client: Any, _: Scene) -> Any:
    return [chunk async for chunk in each(await done(client.chat.completions.create(**CHAT, stream=True)))]


async def streamed_responses(client: Any, _: Scene) -> Any:
    stream = await done(client.responses.create(model=MODEL, input="The sea.", stream=True))
    return [event async for event in each(stream)]


async def chat_stream_helper(client: Any, _: Scene) -> Any:
    async with entered(client.chat.completions.stream(**CHAT)) as stream:
        events = [event async for event in each(stream)]
        return [event.type for event in events], await done(stream.get_final_completion())


async def responses_stream_helper(client: Any, _: Scene) -> Any:
    async with entered(client.responses.stream(model=MODEL, input="The sea.")) as stream:
        events = [event async for event in each(stream)]
        return [event.type for event in events], await done(stream.get_final_response())


async def parsed_chat(client: Any, _: Scene) -> Any:
    parse = getattr(client.chat.completions, "parse", None) or client.beta.chat.completions.parse
    return await done(parse(model=MODEL, messages=MESSAGES, response_format=Place))


async def parsed_responses(client: Any, _: Scene) -> Any:
    return await done(client.responses.parse(model=MODEL, input="Where?", text_format=Place))


async def raw_response(client: Any, _: Scene) -> Any:
    raw = await done(client.chat.completions.with_raw_response.create(**CHAT))
    return raw.status_code, raw.request_id, raw.content, raw.parse(), raw.retries_taken, type(raw).__name__


async def raw_response_streamed(client: Any, _: Scene) -> Any:
    raw = await done(client.chat.completions.with_raw_response.create(**CHAT, stream=True))
    return raw.request_id, [chunk async for chunk in each(await done(raw.parse()))]


async def streaming_response(client: Any, _: Scene) -> Any:
    async with entered(client.chat.completions.with_streaming_response.create(**CHAT)) as answer:
        return answer.status_code, answer.request_id, await done(answer.json())


async def streaming_response_lines(client: Any, _: Scene) -> Any:
    async with entered(client.chat.completions.with_streaming_response.create(**CHAT, stream=True)) as answer:
        return [line async for line in each(answer.iter_lines())]


async def streaming_response_unread(client: Any, _: Scene) -> Any:
    async with entered(client.chat.completions.with_streaming_response.create(**CHAT)) as answer:
        return answer.headers["content-type"]


async def models(client: Any, _: Scene) -> Any:
    return [model.id async for model in each(client.models.list())]


async def pages(client: Any, _: Scene) -> Any:
    for number in range(3):
        await done(client.files.create(file=(f"{number}.jsonl", b"{}\n"), purpose="batch"))
    return [file.filename async for file in each(client.files.list(limit=2))]


async def files(client: Any, _: Scene) -> Any:
    made = await done(client.files.create(file=io.BytesIO(b'{"a": 1}\n'), purpose="batch"))
    content = await done(client.files.content(made.id))
    gone = await done(client.files.delete(made.id))
    return made, await done(content.aread() if hasattr(content, "aread") else content.read()), gone


async def transcription(client: Any, _: Scene) -> Any:
    return await done(client.audio.transcriptions.create(model="whisper-1", file=("sea.wav", b"RIFF0000WAVE")))


async def speech(client: Any, _: Scene) -> Any:
    spoken = await done(client.audio.speech.create(model="tts-1", voice="alloy", input="The sea."))
    return await done(spoken.aread() if hasattr(spoken, "aread") else spoken.read())


async def speech_streamed(client: Any, _: Scene) -> Any:
    create = client.audio.speech.with_streaming_response.create
    async with entered(create(model="tts-1", voice="alloy", input="The sea.")) as spoken:
        return b"".join([part async for part in each(spoken.iter_bytes())])


async def low_level_post(client: Any, _: Scene) -> Any:
    return await done(client.post("/chat/completions", body=dict(CHAT), cast_to=openai.types.chat.ChatCompletion))


async def low_level_get(client: Any, _: Scene) -> Any:
    return await done(client.get("/models", cast_to=object))


async def extras(client: Any, _: Scene) -> Any:
    return await done(
        client.chat.completions.create(
            **CHAT, extra_body={"user": "me", "max_tokens": 3}, extra_headers={"X-Mine": "yes"}, extra_query={"q": "1"}
        )
    )


async def options(client: Any, _: Scene) -> Any:
    return await done(client.with_options(timeout=7, default_headers={"X-Mine": "yes"}).chat.completions.create(**CHAT))


async def copy_per_request(client: Any, _: Scene) -> Any:
    made = client.with_options(http_client=client._client, max_retries=0)
    return await done(made.post("/chat/completions", body=dict(CHAT), cast_to=openai.types.chat.ChatCompletion))


async def left_early(client: Any, _: Scene) -> Any:
    stream = await done(client.chat.completions.create(**CHAT, stream=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the SDK's own generator is left to the garbage collector
        async with aclosing(each(stream)) as chunks:
            return await anext(chunks)


async def closed_half_way(client: Any, _: Scene) -> Any:
    stream = await done(client.chat.completions.create(**CHAT, stream=True))
    async with aclosing(each(stream)) as chunks:
        chunk = await anext(chunks)
        await done(stream.close())
        return chunk, stream.response.is_closed


async def closed_unread(client: Any, _: Scene) -> Any:
    stream = await done(client.chat.completions.create(**CHAT, stream=True))
    await done(stream.close())
    return stream.response.is_closed


async def cancelled(client: Any, scene: Scene) -> Any:
    return await cancelled_when(lambda: bool(scene.gateway.count), chat(client, scene))


async def cancelled_stream(client: Any, _: Scene) -> Any:
    got: list[Any] = []

    async def read() -> None:
        stream = await client.chat.completions.create(**CHAT, stream=True)
        async with aclosing(each(stream)) as chunks:
            async for chunk in chunks:
                got.append(chunk)  # noqa: PERF401 - the first one is looked at while others come

    # how many more come until the cancel is the machine's business
    return await cancelled_when(lambda: bool(got), read()), got[:1]


async def refused_connection(client: Any, scene: Scene) -> Any:
    return await done(client.with_options(base_url=scene.closed_url, max_retries=1).chat.completions.create(**CHAT))


async def redirected(client: Any, _: Scene) -> Any:
    path = f"{client.base_url.scheme}://{client.base_url.host}:{client.base_url.port}/moved/v1/chat/completions"
    return await done(client.post(path, body=dict(CHAT), cast_to=openai.types.chat.ChatCompletion))


async def unserializable(client: Any, _: Scene) -> Any:
    return await done(client.chat.completions.create(**CHAT, extra_body={"user": object()}))


# -------------------------------------------------------------------------------------------------- kinds of clients


def _fault(kind: str, calls: tuple[int, ...] = (), **more: Any) -> dict[str, Any]:
    return {"kind": kind, "calls": calls, **more}


def _refusal(*calls: int) -> dict[str, Any]:
    text = f"Rate limit reached for {MODEL} in organization org-x on requests per min (RPM): Limit 1000000, "
    text += "Used 1000000, Requested 1. Please try again in 1ms."
    return _fault("status", calls, status=429, code="rate_limit_exceeded", message=text, charged=False)


CALLS: Final = (
    Call("create", chat),
    Call("responses", responses),
    Call("completions", completions),
    Call("embeddings", embeddings),
    Call("moderations", moderations),
    Call("images", images),
    Call("stream=True", streamed_chat),
    Call("stream=True, compressed", streamed_chat, server={"compress": True}),
    Call("stream=True, slow", streamed_chat, server={"latency_s": 0.03}),
    Call("responses stream=True", streamed_responses),
    Call(".stream()", chat_stream_helper),
    Call("responses .stream()", responses_stream_helper),
    Call(".parse()", parsed_chat),
    Call("responses .parse()", parsed_responses),
    Call("with_raw_response", raw_response),
    Call("with_raw_response stream", raw_response_streamed),
    Call("with_streaming_response", streaming_response),
    Call("with_streaming_response lines", streaming_response_lines),
    Call("with_streaming_response unread", streaming_response_unread),
    Call("models", models, charged=0),
    Call("pagination", pages, sent=5, charged=0),
    Call("files", files, sent=3, charged=0),
    Call("audio transcription", transcription),
    Call("audio speech", speech),
    Call("audio speech streamed", speech_streamed),
    Call("post", low_level_post),
    Call("get", low_level_get, charged=0),
    Call("extra body, headers, query", extras),
    Call("with_options", options),
    Call("copy for each request", copy_per_request),
    Call("iterator left early", left_early, server={"latency_s": 0.03}),
    Call("stream closed half-way", closed_half_way, server={"latency_s": 0.03}),
    Call("stream closed unread", closed_unread, server={"latency_s": 0.03}),
    Call("error in a stream", streamed_chat, server={"faults": [_fault("error_in_stream")]}),
    Call("cancel before the answer", cancelled, only_async=True, server={"latency_s": 1.0}),
    Call(
        "cancel in a stream",
        cancelled_stream,
        only_async=True,
        server={"latency_s": 10.0, "first_chunk_share": 0.01},
    ),
    Call("redirect", redirected, sent=2, charged=1),
    Call("body that can't be sent", unserializable, sent=0),
    Call("timeout", chat, server={"latency_s": 1.5}, options={"timeout": 0.06, "max_retries": 0}),
    Call(
        "timeout, then fine",
        chat,
        sent=2,
        server={"faults": [_fault("slow", (1,), seconds=1.5)]},
        options={"timeout": 0.5},
    ),
    Call("connection refused", refused_connection, sent=0, charged_by_proxy=2),
    Call("reset", chat, server={"faults": [_fault("reset")]}, options={"max_retries": 0}),
    Call("reset, then fine", chat, sent=2, server={"faults": [_fault("reset", (1,))]}),
    Call("reset in the middle", chat, server={"faults": [_fault("reset_mid_body")]}, options={"max_retries": 0}),
    Call("reset in the middle of a stream", streamed_chat, server={"faults": [_fault("reset_mid_body")]}),
    Call("429, then fine", chat, sent=2, server={"faults": [_refusal(1)]}),
    Call("429 for good", chat, sent=2, server={"faults": [_refusal()]}, options={"max_retries": 1}),
    Call("500, then fine", chat, sent=2, server={"faults": [_fault("500", (1,))]}),
    Call("503 for good", chat, sent=2, server={"faults": [_fault("503")]}, options={"max_retries": 1}),
    Call("500 of a stream", streamed_chat, sent=3, server={"faults": [_fault("500")]}, options={"max_retries": 2}),
    Call("400", chat, server={"faults": [_fault("status", status=400, message="No.")]}),
    Call("api_key callable", chat, options={"api_key": "callable"}),
    Call(
        "api_key callable, 500, then fine",
        chat,
        sent=2,
        server={"faults": [_fault("500", (1,))]},
        options={"api_key": "callable"},
    ),
    Call("Azure", chat, kind="AzureOpenAI"),
    Call("Azure deployment", streamed_chat, kind="AzureOpenAI", options={"azure_deployment": "sea"}),
    Call("Azure AD token provider", chat, kind="AzureOpenAI", options={"azure_ad_token_provider": "callable"}),
    Call("subclass", chat, kind="Subclass"),
    Call("subclass with its own __init__", chat, kind="Configured"),
)
"""Everything that is tried."""


class Subclass(openai.OpenAI):
    """A program's own client, with a hook of its own."""

    def _prepare_options(self, options: Any) -> Any:
        options = super()._prepare_options(options)
        options.headers = {**(options.headers or {}), "X-Subclass": "yes"}
        return options


class AsyncSubclass(openai.AsyncOpenAI):
    async def _prepare_options(self, options: Any) -> Any:
        options = await super()._prepare_options(options)
        options.headers = {**(options.headers or {}), "X-Subclass": "yes"}
        return options


class Configured(openai.OpenAI):
    """A client whose constructor takes something else."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(**settings)
        self.settings = settings


class AsyncConfigured(openai.AsyncOpenAI):
    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(**settings)
        self.settings = settings


def _configured(kind: Any) -> Callable[..., Any]:
    return lambda **settings: kind(settings)


def constructor_of(call: Call, scene: Scene, *, is_async: bool) -> Callable[..., Any]:
    """Give the constructor of a call's client, all arguments but the HTTP client's bound."""
    options = {"base_url": scene.base_url, "api_key": KEY, **call.options}
    if options["api_key"] == "callable":
        options["api_key"] = scene.next_key_later if is_async else scene.next_key
    make: Any
    if call.kind == "AzureOpenAI":
        make = openai.AsyncAzureOpenAI if is_async else openai.AzureOpenAI
        del options["base_url"]
        options |= {"azure_endpoint": scene.gateway.url, "api_version": "2024-10-21"}
        if options.get("azure_ad_token_provider") == "callable":
            del options["api_key"]
            options["azure_ad_token_provider"] = scene.next_key_later if is_async else scene.next_key
    elif call.kind == "Configured":
        make = _configured(AsyncConfigured if is_async else Configured)
    elif call.kind == "Subclass":
        make = AsyncSubclass if is_async else Subclass
    else:
        make = openai.AsyncOpenAI if is_async else openai.OpenAI
    return lambda **more: make(**options, **more)

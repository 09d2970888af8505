"""The bodies of the answers, as the API writes them: whole, or as the events of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from throttle.simulator.charges import allowed_output, choices
from throttle.simulator.tokens import count_text, prompts_of, reasons
from throttle.simulator.words import embedding_of, encoded_embedding, instance_of, words

__all__ = ["Answer", "answer_to"]

DIMENSIONS = {"text-embedding-3-large": 3072}
CREATED_AT = 1_700_000_000  # the hour doesn't matter to anyone, and the same call gets the same bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its body, or the events of its stream, and the tokens it used."""

    body: Mapping[str, Any] | bytes
    events: tuple[tuple[str | None, Mapping[str, Any] | str], ...] | None
    input_tokens: int
    output_tokens: int
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class _Text:
    """What one choice says: in pieces of one token each, or as a call of a tool."""

    pieces: tuple[str, ...]
    tokens: int
    finish: str
    tool: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def answer_to(
    endpoint: str,
    body: Mapping[str, Any],
    model: str,
    *,
    number: int,
    input_tokens: int,
    output_tokens: int,
    echo: bool = False,
) -> Answer:
    """Answer the `number`th call with `output_tokens` for each choice, less where the body allows less.

    With `echo` every choice repeats its prompt, so that a test can tell which answer belongs to what.
    """
    if endpoint == "chat/completions":
        return _Chat(body, model, number, input_tokens, output_tokens, echo).answer()
    if endpoint == "responses":
        return _response(body, model, number, input_tokens, output_tokens, echo)
    if endpoint == "completions":
        return _completion(body, model, number, input_tokens, output_tokens, echo)
    if endpoint == "embeddings":
        return _embeddings(body, model, input_tokens)
    raise LookupError(endpoint)


def _say(endpoint: str, body: Mapping[str, Any], model: str, wanted: int, seed: int, prompt: str | None) -> _Text:
    """Speak one choice, as long as wanted and allowed; JSON where a schema is asked for is always whole."""
    tool = _forced_tool(body)
    schema = _schema(body)
    if tool is not None:
        name, parameters = tool
        text = json.dumps(instance_of(parameters))
        return _Text((text,), count_text(model, text), "tool_calls", name)
    if schema is not None:
        text = json.dumps(instance_of(schema))
        return _Text((text,), count_text(model, text), "stop")
    allowed = allowed_output(endpoint, body)
    if prompt is not None:
        return _Text((prompt,), count_text(model, prompt), "stop")
    if allowed is not None and allowed < wanted:
        return _Text(tuple(words(allowed, seed)), allowed, "length")
    return _Text(tuple(words(wanted, seed)), wanted, "stop")


def _schema(body: Mapping[str, Any]) -> Any:
    asked = body.get("response_format") or (body.get("text") or {}).get("format")
    if not isinstance(asked, Mapping):
        return None
    if asked.get("type") == "json_object":
        return {"type": "object"}
    if asked.get("type") == "json_schema":
        return (asked.get("json_schema") or asked).get("schema") or {"type": "object"}
    return None


def _forced_tool(body: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Find the tool that has to be called: one asked for by name, or the first where any must be."""
    choice, tools = (
        body.get("tool_choice"),
        [each.get("function", each) for each in body.get("tools") or () if isinstance(each, dict)],
    )
    if isinstance(choice, Mapping):
        wanted = (choice.get("function") or choice).get("name")
        tools = [tool for tool in tools if tool.get("name") == wanted]
    elif choice != "required":
        return None
    return (str(tools[0].get("name")), tools[0].get("parameters") or {}) if tools else None


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class _Chat:
    """A chat completion, whole or in chunks."""

    def __init__(
        self, body: Mapping[str, Any], model: str, number: int, input_tokens: int, output_tokens: int, echo: bool
    ) -> None:
        self.body = body
        self.input_tokens = input_tokens
        prompt = _last_text(body.get("messages")) if echo else None
        self.said = [
            _say("chat/completions", body, model, output_tokens, number + k, prompt)
            for k in range(choices("chat/completions", body))
        ]
        self.output_tokens = sum(each.tokens for each in self.said)
        self.head: dict[str, Any] = {"id": f"chatcmpl-{number:012d}", "created": CREATED_AT + number, "model": model}
        self.tail = {"service_tier": "default", "system_fingerprint": "fp_simulator"}

    def answer(self) -> Answer:
        if self.body.get("stream"):
            return Answer(
                {}, tuple(self._chunks()), self.input_tokens, self.output_tokens, "text/event-stream; charset=utf-8"
            )
        body = {
            **self.head,
            "object": "chat.completion",
            "choices": [self._choice(index, said) for index, said in enumerate(self.said)],
            "usage": _usage(self.input_tokens, self.output_tokens),
            **self.tail,
        }
        return Answer(body, None, self.input_tokens, self.output_tokens)

    def _choice(self, index: int, said: _Text) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None, "annotations": []}
        if said.tool is not None:
            message["content"] = None
            message["tool_calls"] = [self._call(index, said, said.text)]
        return {"index": index, "message": message, "logprobs": None, "finish_reason": said.finish}

    def _call(self, index: int, said: _Text, arguments: str) -> dict[str, Any]:
        identity = f"call_{self.head['id'][9:]}_{index}"
        return {"id": identity, "type": "function", "function": {"name": said.tool, "arguments": arguments}}

    def _chunks(self) -> Iterator[tuple[None, Mapping[str, Any] | str]]:
        head = {**self.head, "object": "chat.completion.chunk", **self.tail}
        options = self.body.get("stream_options")
        tells_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        none = {"usage": None} if tells_usage else {}

        def chunk(index: int, delta: Mapping[str, Any], finish: str | None = None) -> tuple[None, Mapping[str, Any]]:
            return None, {
                **head,
                "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}],
                **none,
            }

        for index, said in enumerate(self.said):
            if said.tool is not None:
                yield chunk(
                    index,
                    {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **self._call(index, said, "")}]},
                )
                yield chunk(index, {"tool_calls": [{"index": 0, "function": {"arguments": said.text}}]})
            else:
                yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
                for piece in said.pieces:
                    yield chunk(index, {"content": piece})
            yield chunk(index, {}, said.finish)
        if tells_usage:
            yield None, {**head, "choices": [], "usage": _usage(self.input_tokens, self.output_tokens)}
        yield None, "[DONE]"


def _completion(
    body: Mapping[str, Any], model: str, number: int, input_tokens: int, output_tokens: int, echo: bool
) -> Answer:
    """Answer a legacy completion: choice `k` of prompt `p` has the index `p * n + k`."""
    prompts = prompts_of(body, "prompt")
    n = body.get("n") if isinstance(body.get("n"), int) else 1
    said: list[_Text] = []
    for prompt in prompts:
        told = (prompt if isinstance(prompt, str) else repr(prompt)) if echo or body.get("echo") else None
        said += [_say("completions", body, model, output_tokens, number + k, told) for k in range(n or 1)]
    spoken = sum(each.tokens for each in said)
    head = {"id": f"cmpl-{number:012d}", "object": "text_completion", "created": CREATED_AT + number, "model": model}
    usage = {"prompt_tokens": input_tokens, "completion_tokens": spoken, "total_tokens": input_tokens + spoken}

    def choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
        return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}

    if not body.get("stream"):
        whole = [choice(index, each.text, each.finish) for index, each in enumerate(said)]
        return Answer({**head, "choices": whole, "usage": usage}, None, input_tokens, spoken)
    events: list[tuple[str | None, Mapping[str, Any] | str]] = []
    for index, each in enumerate(said):
        events += [(None, {**head, "choices": [choice(index, piece, None)]}) for piece in each.pieces]
        events.append((None, {**head, "choices": [choice(index, "", each.finish)]}))
    options = body.get("stream_options")
    if isinstance(options, Mapping) and options.get("include_usage"):
        events.append((None, {**head, "choices": [], "usage": usage}))
    events.append((None, "[DONE]"))
    return Answer({}, tuple(events), input_tokens, spoken, "text/event-stream; charset=utf-8")


def _embeddings(body: Mapping[str, Any], model: str, input_tokens: int) -> Answer:
    wanted = body.get("dimensions")
    dimensions = wanted if isinstance(wanted, int) and wanted > 0 else DIMENSIONS.get(model, 1536)
    data = []
    for index, each in enumerate(prompts_of(body, "input")):
        vector = embedding_of(each, dimensions)
        told = encoded_embedding(vector) if body.get("encoding_format") == "base64" else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": told})
    usage = {"prompt_tokens": input_tokens, "total_tokens": input_tokens}
    return Answer({"object": "list", "data": data, "model": model, "usage": usage}, None, input_tokens, 0)


def _response(
    body: Mapping[str, Any], model: str, number: int, input_tokens: int, output_tokens: int, echo: bool
) -> Answer:
    given = body.get("input")
    prompt = (given if isinstance(given, str) else _last_text(given)) if echo else None
    said = _say("responses", body, model, output_tokens, number, prompt)
    item = _output_item(said, number)
    done = _response_object(body, model, number)
    cut = said.finish == "length"
    usage = {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": said.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + said.tokens,
    }
    whole = {
        **done,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": [item],
        "usage": usage,
    }
    if not body.get("stream"):
        return Answer(whole, None, input_tokens, said.tokens)
    events = tuple(_response_events(done, item, said, whole))
    return Answer({}, events, input_tokens, said.tokens, "text/event-stream; charset=utf-8")


def _response_object(body: Mapping[str, Any], model: str, number: int) -> dict[str, Any]:
    return {
        "id": f"resp_{number:012d}",
        "object": "response",
        "created_at": CREATED_AT + number,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": body.get("reasoning") or {"effort": "medium" if reasons(model) else None, "summary": None},
        "service_tier": "default",
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": None,
        "user": None,
        "metadata": body.get("metadata") or {},
    }


def _output_item(said: _Text, number: int) -> dict[str, Any]:
    if said.tool is not None:
        identity = {
            "id": f"fc_{number:012d}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{number:012d}",
        }
        return {**identity, "name": said.tool, "arguments": said.text}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": said.text}
    return {
        "id": f"msg_{number:012d}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def _response_events(
    begun: Mapping[str, Any], item: Mapping[str, Any], said: _Text, whole: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Tell a response as its events; each has its number."""
    sequence = 0

    def event(kind: str, **told: Any) -> tuple[str, Mapping[str, Any]]:
        nonlocal sequence
        sequence += 1
        return kind, {"type": kind, "sequence_number": sequence - 1, **told}

    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    where = {"item_id": item["id"], "output_index": 0}
    if said.tool is not None:
        yield event(
            "response.output_item.added", output_index=0, item={**item, "status": "in_progress", "arguments": ""}
        )
        yield event("response.function_call_arguments.delta", **where, delta=said.text)
        yield event("response.function_call_arguments.done", **where, name=said.tool, arguments=said.text)
    else:
        part = item["content"][0]
        inside = {**where, "content_index": 0}
        yield event("response.output_item.added", output_index=0, item={**item, "status": "in_progress", "content": []})
        yield event("response.content_part.added", **inside, part={**part, "text": ""})
        for piece in said.pieces:
            yield event("response.output_text.delta", **inside, delta=piece, logprobs=[])
        yield event("response.output_text.done", **inside, text=said.text, logprobs=[])
        yield event("response.content_part.done", **inside, part=part)
    yield event("response.output_item.done", output_index=0, item=item)
    yield event(f"response.{whole['status']}", response=whole)


def _last_text(messages: Any) -> str:
    """Read the text of the last message."""
    last = messages[-1] if isinstance(messages, list) and messages else {}
    content = last.get("content") if isinstance(last, Mapping) else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))

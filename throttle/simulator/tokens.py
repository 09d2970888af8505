"""How many tokens go in, as the simulated API reports them in its usage.

Text of messages is counted as the API was measured to do (a lead of 3 or 2, 3 a message, the role, the content, a
name). Tools, schemas and images are counted by plain rules of the simulator's own, which are close and no more: the
JSON of a tool or schema, 85 tokens for an image of low detail and 765 for any other. Whoever trusts an estimate more
than an answer shall notice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["IMAGE_TOKENS", "count_text", "input_tokens", "prompts_of", "reasons", "text_bytes"]

IMAGE_TOKENS = 765
LOW_IMAGE_TOKENS = 85
PER_TOOL = 9
REASONING = re.compile(r"(ft:)?(o\d|gpt-5(?!-chat))")
CHUNK = 4000  # longer runs of one kind of character make the tokenizer slow or fail


def reasons(model: str) -> bool:
    """Tell whether models of this name reason before they answer."""
    return REASONING.match(model) is not None


def count_text(model: str, text: str) -> int:
    """Count the tokens of one text; special tokens are plain text here. Offline."""
    from throttle.costs.vocabulary import encoding_for  # the vocabularies are a large file: read on first use

    encoding = encoding_for(model)
    if len(text) <= CHUNK:
        return len(encoding.encode_ordinary(text))
    return sum(len(encoding.encode_ordinary(piece)) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """Cut a long text at the last space of every stretch, so that words stay whole."""
    start = 0
    while start < len(text):
        end = start + CHUNK
        if end < len(text):
            space = text.rfind(" ", start + 1, end)
            end = space if space > start else end
        yield text[start:end]
        start = end


def prompts_of(body: Mapping[str, Any], key: str) -> list[Any]:
    """List the prompts of a legacy completion or an embedding: texts, or lists of token numbers."""
    given = body.get(key)
    if isinstance(given, list):
        return [given] if given and isinstance(given[0], int) else given
    return [given] if given is not None else [""]


def input_tokens(endpoint: str, body: Mapping[str, Any], model: str) -> int:
    """Count the tokens of everything that goes in."""
    if endpoint == "chat/completions":
        messages = [message for message in _list(body.get("messages")) if isinstance(message, dict)]
        return _messages(model, messages) + _extras(model, body.get("tools"), body.get("response_format"))
    if endpoint == "responses":
        messages = _items(body)
        text = body.get("text")
        return _messages(model, messages) + _extras(
            model, body.get("tools"), text.get("format") if isinstance(text, dict) else None
        )
    if endpoint in ("completions", "embeddings", "moderations"):
        prompts = prompts_of(body, "prompt" if endpoint == "completions" else "input")
        return sum(len(each) if isinstance(each, list) else count_text(model, _text(each)) for each in prompts)
    if endpoint == "audio/speech":
        return count_text(model, _text(body.get("input")))
    return 0


def text_bytes(endpoint: str, body: Mapping[str, Any]) -> int:
    """Count the UTF-8 bytes of the text that goes in; a token given as a number counts four."""
    if endpoint in ("chat/completions", "responses"):
        messages = _list(body.get("messages")) if endpoint == "chat/completions" else _items(body)
        return sum(
            len(text.encode(errors="surrogatepass"))
            for message in messages
            if isinstance(message, dict)
            for text in _texts(message.get("content"))
        )
    prompts = prompts_of(body, "prompt" if endpoint == "completions" else "input")
    return sum(
        4 * len(each) if isinstance(each, list) else len(_text(each).encode(errors="surrogatepass")) for each in prompts
    )


def images_of(endpoint: str, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List the image parts among the messages."""
    messages = _list(body.get("messages")) if endpoint == "chat/completions" else _items(body)
    return [
        part
        for message in messages
        if isinstance(message, dict)
        for part in _list(message.get("content"))
        if isinstance(part, dict) and part.get("type") in ("image_url", "input_image")
    ]


def _messages(model: str, messages: Iterable[Mapping[str, Any]]) -> int:
    tokens = 2 if reasons(model) else 3
    for message in messages:
        tokens += 3 + count_text(model, _text(message.get("role")) or "user")
        for text in _texts(message.get("content")):
            tokens += count_text(model, text)
        if message.get("name"):
            tokens += 1 + count_text(model, _text(message["name"]))
        for key in ("tool_calls", "arguments", "output"):
            if message.get(key):
                tokens += count_text(model, _compact(message[key]))
        for part in _list(message.get("content")):
            if isinstance(part, dict) and part.get("type") in ("image_url", "input_image"):
                image = part.get("image_url")
                detail = image.get("detail") if isinstance(image, dict) else part.get("detail")
                tokens += LOW_IMAGE_TOKENS if detail == "low" else IMAGE_TOKENS
    return tokens


def _extras(model: str, tools: Any, schema: Any) -> int:
    tokens = sum(PER_TOOL + count_text(model, _compact(tool)) for tool in _list(tools))
    if isinstance(schema, dict) and schema.get("type") == "json_schema":
        tokens += count_text(model, _compact(schema))
    return tokens


def _items(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the Responses API's input as messages: instructions in front, a text as one message of the user."""
    given = body.get("input")
    items = (
        [{"role": "user", "content": given}]
        if isinstance(given, str)
        else [each for each in _list(given) if isinstance(each, dict)]
    )
    instructions = body.get("instructions")
    return [{"role": "system", "content": instructions}, *items] if instructions else items


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in _list(content):
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part["text"]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else _compact(value)


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)

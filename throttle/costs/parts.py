"""The content of messages: a text, or a list of parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from throttle.costs.counter import TokenCounter, utf8_length
from throttle.costs.generations import Generation
from throttle.costs.images import image_tokens
from throttle.costs.media import audio_tokens, file_tokens
from throttle.costs.reading import as_items, as_mapping, as_text, compact

__all__ = ["arguments_tokens", "content_bytes", "content_tokens", "image_tokens_in", "images_in", "text_of", "texts_of"]


_IMAGES: Final = ("image_url", "input_image", "computer_screenshot")
_BOOKED: Final = ("image_url", "input_image", "file")
_TEXTS: Final = ("text", "input_text", "output_text", "refusal", None)


def content_tokens(content: Any, generation: Generation, counter: TokenCounter) -> int:
    """Return the tokens of a content: texts that follow each other are one text, without anything between them."""
    if isinstance(content, str):
        return counter.count(content)
    tokens = 0
    texts: list[str] = []
    for part in as_items(content):
        if isinstance(part, str):
            texts.append(part)
            continue
        part = as_mapping(part)
        if part.get("type") in _TEXTS:
            texts.extend(_texts_of_part(part))
            continue
        tokens += _texts_tokens(texts, counter) + _part_tokens(part, generation, counter)
        texts = []
    return tokens + _texts_tokens(texts, counter)


def _texts_tokens(texts: Sequence[str], counter: TokenCounter) -> int:
    if len(texts) < 2:
        return counter.count(texts[0]) if texts else 0
    return counter.derived(hash(("joined", *texts)), lambda: counter.count("".join(texts)))


def _part_tokens(part: Mapping[str, Any], generation: Generation, counter: TokenCounter) -> int:
    kind = part.get("type")
    if kind in _IMAGES:
        return _image_tokens(part, generation)
    if kind == "input_audio":
        return audio_tokens(as_mapping(part.get("input_audio")))
    if kind == "file":
        return file_tokens(as_mapping(part.get("file")), chat=True)
    if kind == "input_file":
        return file_tokens(part, chat=False)
    return sum(map(counter.count, _texts_of_part(part)))


def _image_tokens(part: Mapping[str, Any], generation: Generation) -> int:
    image = part.get("image_url")
    frame = 0 if part.get("type") == "image_url" else generation.responses_image
    if isinstance(image, str) or image is None:
        return frame + image_tokens(image, part.get("detail"), generation.image)
    image = as_mapping(image)
    return frame + image_tokens(image.get("url"), image.get("detail"), generation.image)


def content_bytes(content: Any) -> int:
    """Return the UTF-8 bytes of a content's texts."""
    return utf8_length(content) if isinstance(content, str) else sum(map(utf8_length, texts_of(content)))


def text_of(content: Any) -> str:
    """Return the text of a content, its parts joined."""
    return content if isinstance(content, str) else "".join(texts_of(content))


def texts_of(content: Any) -> Iterator[str]:
    """Yield the texts of a content's parts."""
    if isinstance(content, str):
        yield content
        return
    for part in as_items(content):
        if isinstance(part, str):
            yield part
        else:
            yield from _texts_of_part(as_mapping(part))


def arguments_tokens(arguments: str, counter: TokenCounter) -> int:
    """Return the tokens of a call's arguments where the server writes them anew, without blanks."""
    return counter.derived(hash((arguments, "compact")), lambda: counter.count(compact(arguments)))


def images_in(content: Any) -> int:
    """Return how many images a content holds, as servers book them: a file in a chat is one, in the Responses
    API not.
    """
    return sum(as_mapping(part).get("type") in _BOOKED for part in as_items(content))


def image_tokens_in(content: Any, generation: Generation) -> int:
    """Return the tokens of the images among a content's parts."""
    images = (part for part in map(as_mapping, as_items(content)) if part.get("type") in _IMAGES)
    return sum(_image_tokens(image, generation) for image in images)


def _texts_of_part(part: Mapping[str, Any]) -> Iterator[str]:
    for key in ("text", "refusal"):
        text = as_text(part.get(key))
        if text:
            yield text

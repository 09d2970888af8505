"""Counting the tokens of texts: in pieces, remembering what was counted before, and never at a text's mercy."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Final

import tiktoken

from throttle.costs.vocabulary import VocabularyError, encoding_named

__all__ = ["TokenCounter", "counter_for", "utf8_length"]

_PIECE: Final = 8192
"""Characters that are given to tiktoken at once: half a millisecond's work, and far from what overflows its stack."""

_REMEMBERED: Final = 1 << 15
"""Counts kept in each of the two halves of the memory; some 100 bytes each."""

_SEAM: Final = re.compile(r"[A-Za-z0-9](?=[ \n])|[^\W\d_](?=[\u3001\u3002\uff0c\uff01\uff1f])")
"""A place where both vocabularies always end a token: after a letter or digit, before a blank or a full-width mark."""


class TokenCounter:
    """Counts texts in one vocabulary.

    Counts are remembered by the text's hash, never the text. The memory is two dictionaries: when the younger is full
    it becomes the older, whose own content is forgotten; so it is bounded, and what is used stays. Safe to use from any
    thread without a lock, since a lost update costs no more than counting again.
    """

    __slots__ = ("_encode", "_older", "_younger")

    def __init__(self, encoding: tiktoken.Encoding | None) -> None:
        """Count with `encoding`, or, with None, by a bound that no count exceeds: one token a byte."""
        self._encode = encoding.encode_ordinary if encoding is not None else None
        self._younger: dict[int, int] = {}
        self._older: dict[int, int] = {}

    def count(self, text: str) -> int:
        """Return how many tokens `text` is; text that looks like a special token counts as the text it is."""
        key = hash(text)
        known = self._younger.get(key)
        if known is not None:
            return known
        known = self._older.get(key)
        if known is None:
            known = self._counted(text)
        if len(self._younger) >= _REMEMBERED:
            self._older = self._younger
            self._younger = {}
        self._younger[key] = known
        return known

    def knows(self, text: str) -> bool:
        """Tell whether the count of `text` is remembered."""
        key = hash(text)
        return key in self._younger or key in self._older

    def _counted(self, text: str) -> int:
        encode = self._encode
        if encode is None:
            return utf8_length(text)
        if len(text) <= _PIECE:
            return len(encode(text))
        return sum(len(encode(piece)) for piece in pieces(text))


def pieces(text: str) -> Iterator[str]:
    """Cut a long text into pieces of at most `_PIECE` characters, at seams where there are some: then counts add up
    exactly.
    """
    start, end = 0, len(text)
    while end - start > _PIECE:
        cut = start + _PIECE
        for seam in _SEAM.finditer(text, start + _PIECE * 7 // 8, cut + 1):
            cut = seam.end()
        yield text[start:cut]
        start = cut
    yield text[start:]


def utf8_length(text: str) -> int:
    """Return the length of `text` in UTF-8, lone surrogates at three bytes each."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class _Counters:
    """One counter for each vocabulary, made on first use."""

    def __init__(self) -> None:
        self._made: dict[str, TokenCounter] = {}

    def counter(self, vocabulary: str) -> TokenCounter:
        made = self._made.get(vocabulary)
        return made if made is not None else self._made.setdefault(vocabulary, _make(vocabulary))


_COUNTERS: Final = _Counters()


def counter_for(vocabulary: str) -> TokenCounter:
    """Return the counter of a vocabulary, shared by the process; without its file, one that bounds, after one warning."""
    return _COUNTERS.counter(vocabulary)


def _make(vocabulary: str) -> TokenCounter:
    try:
        return TokenCounter(encoding_named(vocabulary))
    except VocabularyError as error:
        warnings.warn(f"tokens are bounded by bytes, not counted: {error}", RuntimeWarning, stacklevel=2)
        return TokenCounter(None)

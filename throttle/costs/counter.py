"""Counting the tokens of texts: in pieces, remembering what was counted before, and never at a text's mercy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from throttle.costs.vocabulary import VocabularyError, encoding_named

__all__ = [
    "ByteCounter",
    "TokenCounter",
    "bounding_counter",
    "counter_for",
    "counter_is_ready",
    "pieces",
    "utf8_length",
]

_PIECE: Final = 16_384
"""Characters given to tiktoken at once: a millisecond's work, and far from the length that overflows its stack."""

_REMEMBERED: Final = 1 << 15
"""Counts kept in each of the two halves of the memory; a hundred bytes each."""

_HASHED: Final = 1 << 20
"""Longer texts aren't remembered: hashing them would take longer than an event loop likes to wait."""


class TokenCounter:
    """Counts texts in one vocabulary.

    Counts are remembered by the text's hash, never the text. The memory is two dictionaries: when the younger is full
    it becomes the older, whose own content is forgotten; so it is bounded, and what is used stays. Safe to use from any
    thread without a lock, since a lost update costs no more than counting again.
    """

    __slots__ = ("_encode", "_older", "_younger")

    def __init__(self, encode: Callable[[str], Sequence[int]]) -> None:
        """Count what `encode` makes of a text, as `tiktoken.Encoding.encode_ordinary`."""
        self._encode = encode
        self._younger: dict[int, int] = {}
        self._older: dict[int, int] = {}

    def count(self, text: str) -> int:
        """Return how many tokens `text` is; text that looks like a special token counts as the text it is."""
        if len(text) > _HASHED:
            return self._counted(text)
        key = hash(text)
        known = self._younger.get(key)
        return self._learned(key, text) if known is None else known

    def total(self, texts: Iterable[str]) -> int:
        """Return the tokens of all `texts`, each counted by itself."""
        remembered = self._younger.get
        tokens = 0
        for text in texts:
            if len(text) > _HASHED:
                tokens += self._counted(text)
                continue
            key = hash(text)
            known = remembered(key)
            tokens += self._learned(key, text) if known is None else known
        return tokens

    def derived(self, key: int, count: Callable[[], int]) -> int:
        """Return what `count` returns, remembered under a `key`, the hash of all that it depends on."""
        known = self._younger.get(key)
        if known is None:
            known = self._older.get(key)
            self._keep(key, known := count() if known is None else known)
        return known

    def knows(self, text: str) -> bool:
        """Tell whether the count of `text` is remembered, so that it costs nothing."""
        if len(text) > _HASHED:
            return False
        key = hash(text)
        return key in self._younger or key in self._older

    def knows_derived(self, key: int) -> bool:
        """Tell whether `derived` would remember."""
        return key in self._younger or key in self._older

    def _learned(self, key: int, text: str) -> int:
        known = self._older.get(key)
        if known is None:
            known = self._counted(text)
        self._keep(key, known)
        return known

    def _keep(self, key: int, tokens: int) -> None:
        if len(self._younger) >= _REMEMBERED:
            self._older = self._younger
            self._younger = {}
        self._younger[key] = tokens

    def _counted(self, text: str) -> int:
        try:
            if len(text) <= _PIECE:
                return len(self._encode(text))
            return sum(len(self._encode(piece)) for piece in pieces(text, _PIECE))
        except BaseException as error:
            # A panic of tiktoken derives from BaseException alone. Pieces are too short for the known ones.
            if type(error).__module__ != "pyo3_runtime":
                raise
            return utf8_length(text)


class ByteCounter(TokenCounter):
    """Counts bytes, which no count of tokens exceeds: every vocabulary has each byte as a token of its own."""

    def __init__(self) -> None:
        super().__init__(lambda text: ())

    def count(self, text: str) -> int:
        """Return the bytes of `text` in UTF-8."""
        return utf8_length(text)

    def total(self, texts: Iterable[str]) -> int:
        """Return the bytes of all `texts` in UTF-8."""
        return sum(map(utf8_length, texts))

    def knows(self, text: str) -> bool:
        """Tell that nothing takes long."""
        return True


def pieces(text: str, size: int) -> Iterator[str]:
    """Cut a long text into pieces of at most `size` characters, at seams where there are some: then counts add up."""
    start, end = 0, len(text)
    while end - start > size:
        cut = _seam(text, start + size // 2, start + size)
        yield text[start:cut]
        start = cut
    yield text[start:]


def _seam(text: str, low: int, high: int) -> int:
    """Find the last place up to `high` where every vocabulary ends a token: between a letter or digit and white space.

    Where there is none after `low`, cut before or after anything that isn't a letter (CJK text has no blanks), else
    just there.
    """
    for blank in " ", "\n":
        at = text.rfind(blank, low, high)
        for _ in range(32):
            if at <= low:
                break
            if text[at - 1].isalnum():
                return at
            at = text.rfind(blank, low, at)
    for at in range(high - 1, max(low, high - 256), -1):
        if text[at - 1].isalpha() and not text[at].isalnum() and not text[at].isspace():
            return at
    return high


def utf8_length(text: str) -> int:
    """Return the length of `text` in UTF-8, lone surrogates at three bytes each."""
    if text.isascii():
        return len(text)
    if len(text) <= _HASHED:
        return len(text.encode("utf-8", "surrogatepass"))
    return sum(utf8_length(text[at : at + _HASHED // 4]) for at in range(0, len(text), _HASHED // 4))


class _Counters:
    """One counter for each vocabulary, made on first use, and one that bounds."""

    def __init__(self) -> None:
        self.bounding = ByteCounter()
        self._made: dict[str, TokenCounter] = {}

    def counter(self, vocabulary: str) -> TokenCounter:
        made = self._made.get(vocabulary)
        return made if made is not None else self._made.setdefault(vocabulary, _make(vocabulary))

    def ready(self, vocabulary: str) -> bool:
        return vocabulary in self._made


_COUNTERS: Final = _Counters()


def counter_for(vocabulary: str) -> TokenCounter:
    """Return the counter of a vocabulary, shared by the process; without its file, one that bounds, after one
    warning.
    """
    return _COUNTERS.counter(vocabulary)


def bounding_counter() -> TokenCounter:
    """Return the counter that counts bytes in place of tokens."""
    return _COUNTERS.bounding


def counter_is_ready(vocabulary: str) -> bool:
    """Tell whether the vocabulary was read already, which takes up to a third of a second the first time."""
    return _COUNTERS.ready(vocabulary)


def _make(vocabulary: str) -> TokenCounter:
    try:
        return TokenCounter(encoding_named(vocabulary).encode_ordinary)
    except VocabularyError as error:
        warnings.warn(f"tokens are bounded by bytes, not counted: {error}", RuntimeWarning, stacklevel=2)
        return ByteCounter()

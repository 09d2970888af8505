"""Images that go in: their size, read from their own first bytes, and the tokens they count as.

Rules and figures: OpenAI's guide "Images and vision" (2025, 2026), corrected by recordings where it errs (gpt-5-mini ×
1.2, gpt-5-nano × 1.5; public recordings of October 2025 to August 2026, and measurements in OpenAI's community forum,
March 2026).
"""

from __future__ import annotations

import math
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Patches", "Tiles", "image_tokens", "size_of"]

_ASSUMED: Final = (1024, 1024)
"""Width and height of an image that can't be seen: behind a URL, an uploaded file, or in a format that isn't known."""

_HEADER: Final = 1 << 16
"""Characters of a data URL that are decoded to find a size; JPEG puts it after its other headers."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """A base, and so much for each tile of 512 by 512 of the scaled image; `detail: low` costs the base alone."""

    base: int
    tile: int

    def tokens(self, width: int, height: int, detail: str) -> int:
        """Return the tokens of an image of this size in pixels."""
        if detail == "low":
            return self.base
        shrink = min(1.0, 2048 / max(width, height))
        shrink = min(shrink, 768 / min(width, height))
        across, down = (math.ceil(round(side * shrink, 6) / 512) for side in (width, height))
        return self.base + self.tile * across * down


@dataclass(frozen=True, slots=True)
class Patches:
    """So much for each patch of 32 by 32, up to a budget that larger images are shrunk to; `detail: low` changes
    nothing.
    """

    factor: float
    budget: int = 1536
    original: int = 1536

    def tokens(self, width: int, height: int, detail: str) -> int:
        """Return the tokens of an image of this size in pixels."""
        budget = self.original if detail == "original" else self.budget
        patches = math.ceil(width / 32) * math.ceil(height / 32)
        if patches > budget:
            shrink = math.sqrt(32 * 32 * budget / (width * height))
            across, down = width * shrink / 32, height * shrink / 32
            shrink = min(math.floor(across) / across, math.floor(down) / down) if across >= 1 <= down else 1.0
            patches = min(budget, math.ceil(round(across * shrink, 6)) * math.ceil(round(down * shrink, 6)))
        return math.ceil(round(patches * self.factor, 6))


def image_tokens(url: Any, detail: Any, rule: Tiles | Patches) -> int:
    """Return the tokens of an image given by its URL, `data:` or other, or of one that isn't given by URL at all."""
    width, height = (size_of(url) if isinstance(url, str) else None) or _ASSUMED
    return rule.tokens(width, height, detail if isinstance(detail, str) else "auto")


def size_of(url: str) -> tuple[int, int] | None:
    """Return width and height in pixels of an image in a data URL: PNG, JPEG, GIF or WebP; None where it
    can't be told.
    """
    if not url.startswith("data:"):
        return None
    comma = url.find(",", 0, 256)
    if comma < 0:
        return None
    text = url[comma + 1 : comma + 1 + _HEADER]
    try:
        raw = a2b_base64(text[: len(text) // 4 * 4] if len(text) >= _HEADER else text)
    except (Base64Error, ValueError):
        return None
    for magic, reader in _READERS:
        if raw.startswith(magic):
            size = reader(raw)
            return size if size is not None and min(size) > 0 else None
    return None


def _png(raw: bytes) -> tuple[int, int] | None:
    return (_big(raw, 16, 4), _big(raw, 20, 4)) if len(raw) >= 24 else None


def _gif(raw: bytes) -> tuple[int, int] | None:
    return (_little(raw, 6, 2), _little(raw, 8, 2)) if len(raw) >= 10 else None


def _webp(raw: bytes) -> tuple[int, int] | None:
    if raw[8:12] != b"WEBP" or len(raw) < 30:
        return None
    kind = raw[12:16]
    if kind == b"VP8X":
        return 1 + _little(raw, 24, 3), 1 + _little(raw, 27, 3)
    if kind == b"VP8L":
        bits = _little(raw, 21, 4)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return _little(raw, 26, 2) & 0x3FFF, _little(raw, 28, 2) & 0x3FFF
    return None


def _jpeg(raw: bytes) -> tuple[int, int] | None:
    """Walk the segments to the start of a frame (SOF0 to SOF15 but DHT, JPG and DAC)."""
    at = 2
    while at + 9 <= len(raw):
        if raw[at] != 0xFF:
            return None
        marker = raw[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _big(raw, at + 7, 2), _big(raw, at + 5, 2)
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            at += 2 + max(2, _big(raw, at + 2, 2))
    return None


def _big(raw: bytes, at: int, length: int) -> int:
    return int.from_bytes(raw[at : at + length], "big")


def _little(raw: bytes, at: int, length: int) -> int:
    return int.from_bytes(raw[at : at + length], "little")


_READERS: Final[tuple[tuple[bytes, Callable[[bytes], tuple[int, int] | None]], ...]] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8", _jpeg),
    (b"GIF8", _gif),
    (b"RIFF", _webp),
)

"""Audio and files that go in: what can be told of them without decoding them."""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["audio_tokens", "file_tokens"]

_AUDIO_PER_S: Final = 10
_AUDIO_FRAME: Final = 2
"""Tokens of a second of input audio, and of its frame (three recordings of 2025)."""

_MP3_PER_S: Final = 16_000
"""Bytes of a second of MP3, supposed: 128 kbit/s. Two recordings agree."""

_PCM16_PER_S: Final = 48_000
"""Bytes of a second where no WAV header tells: 24 kHz, 16 bit, mono."""

_FILE_IN_CHAT: Final = 220
"""Tokens of a one-page PDF in chat besides its text: the page as an image (four recordings)."""

_FILE_CHARACTERS: Final = 20
"""Characters of base64 for a token of a file's text: no more than a guess (recordings: 17, 24 and 51)."""

_FILE_UNSEEN: Final = 1000
"""Tokens supposed of a file that is only named, by an id or a URL (recordings: from 14 to 8,400)."""


def audio_tokens(audio: Mapping[str, Any]) -> int:
    """Return the tokens of an `input_audio`, from its length: exact for WAV, supposed for others."""
    data = audio.get("data")
    if not isinstance(data, str):
        return 0
    size = len(data) * 3 // 4
    try:
        head = a2b_base64(data[:64] if len(data) > 64 else data)
    except (Base64Error, ValueError):
        head = b""
    if head.startswith(b"RIFF") and head[8:16] == b"WAVEfmt ":
        per_s = int.from_bytes(head[28:32], "little") or _PCM16_PER_S
    else:
        per_s = _MP3_PER_S if audio.get("format") == "mp3" else _PCM16_PER_S
    return _AUDIO_FRAME - (-size * _AUDIO_PER_S // per_s)


def file_tokens(part: Mapping[str, Any], *, chat: bool) -> int:
    """Return a guess at the tokens of a file: from its size where its data are there, a stated figure where
    they aren't.
    """
    data = part.get("file_data")
    if not isinstance(data, str):
        return _FILE_UNSEEN
    return len(data) // _FILE_CHARACTERS + (_FILE_IN_CHAT if chat else 0)

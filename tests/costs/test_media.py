"""Audio and files: what can be told of them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from throttle.costs.media import audio_tokens, file_tokens


def wav(seconds: float, per_s: int = 32_000) -> str:
    head = (
        b"RIFF\x00\x00\x00\x00WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, per_s // 2, per_s, 2, 16)
        + b"data\x00\x00\x00\x00"
    )
    return base64.b64encode(head + bytes(int(seconds * per_s))).decode()


@pytest.mark.parametrize(
    ("audio", "tokens"),
    [
        ({"data": wav(0.4), "format": "wav"}, 2 + 5),
        ({"data": wav(10), "format": "wav"}, 2 + 101),
        ({"data": "A" * 56_564, "format": "mp3"}, 2 + 27),
        ({"data": "A" * 64_000, "format": "pcm16"}, 2 + 10),
        ({"data": "?", "format": "wav"}, 2),
        ({"data": None}, 0),
        ({}, 0),
    ],
)
def test_audio_counts_by_its_length(audio: dict[str, Any], tokens: int) -> None:
    assert audio_tokens(audio) == tokens


def test_a_file_counts_by_its_size_where_it_is_there() -> None:
    assert file_tokens({"file_data": "A" * 2000}, chat=False) == 100
    assert file_tokens({"file_data": "A" * 2000}, chat=True) == 320
    assert file_tokens({"file_id": "file-1"}, chat=True) == 1000

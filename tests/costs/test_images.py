"""Images: sizes from their own first bytes, tokens by the published rules."""

from __future__ import annotations

import base64
import struct

import pytest

from throttle.costs import estimate
from throttle.costs.images import Patches, Tiles, size_of


def data_url(raw: bytes) -> str:
    return f"data:image/any;base64,{base64.b64encode(raw).decode()}"


def png(width: int, height: int) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
        + struct.pack(">II", width, height)
        + b"\x08\x02\x00\x00\x00"
        + bytes(200)
    )


def jpeg(width: int, height: int) -> bytes:
    exif = b"\xff\xe1" + struct.pack(">H", 5000) + bytes(4998)
    return b"\xff\xd8" + exif + b"\xff\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(100)


def webp(kind: bytes, rest: bytes) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBP" + kind + b"\x00\x00\x00\x00" + rest + bytes(50)


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        (png(1, 1), (1, 1)),
        (png(4096, 8192), (4096, 8192)),
        (jpeg(640, 480), (640, 480)),
        (b"GIF89a" + struct.pack("<HH", 320, 200) + bytes(20), (320, 200)),
        (webp(b"VP8X", bytes(4) + (799).to_bytes(3, "little") + (599).to_bytes(3, "little")), (800, 600)),
        (webp(b"VP8L", b"\x2f" + (99 | 49 << 14).to_bytes(4, "little")), (100, 50)),
        (webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 120, 90)), (120, 90)),
    ],
)
def test_a_size_is_read_from_the_first_bytes(raw: bytes, size: tuple[int, int]) -> None:
    assert size_of(data_url(raw)) == size


@pytest.mark.parametrize(
    "url",
    [
        "https://example.test/x.png",
        "data:",
        "data:image/png;base64,",
        "data:image/png;base64,!!!",
        data_url(b"BM"),
        data_url(png(0, 5)),
        data_url(b"\xff\xd8\xff\xe1\xff\xff"),
        data_url(b"\x89PNG\r\n\x1a\n"),
        data_url(b"RIFF0000WEBPnone" + bytes(30)),
    ],
)
def test_what_has_no_size_has_none(url: str) -> None:
    assert size_of(url) is None


@pytest.mark.parametrize(
    ("width", "height", "detail", "tokens"),
    # OpenAI's guide "Images and vision", the examples of its section on costs
    [
        (1024, 1024, "high", 765),
        (2048, 4096, "high", 1105),
        (4096, 8192, "low", 85),
        (1, 1, "auto", 255),
        (512, 512, "auto", 255),
        (513, 1, "auto", 425),
    ],
)
def test_tiles_cost_what_the_guide_says(width: int, height: int, detail: str, tokens: int) -> None:
    assert Tiles(85, 170).tokens(width, height, detail) == tokens


@pytest.mark.parametrize(
    ("width", "height", "factor", "tokens"),
    # the guide's examples; the last two: tidyverse/ellmer, a recording of August 2026
    [(1024, 1024, 1.0, 1024), (1800, 2400, 1.0, 1452), (1, 1, 1.62, 2), (300, 346, 1.62, 179), (512, 512, 1.2, 308)],
)
def test_patches_cost_what_the_guide_says(width: int, height: int, factor: float, tokens: int) -> None:
    assert Patches(factor).tokens(width, height, "auto") == tokens


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (2**31, 2**31), (33, 10**9)])
def test_no_size_is_too_strange(size: tuple[int, int]) -> None:
    assert 0 < Patches(1.0).tokens(*size, "auto") <= 1536
    assert Tiles(85, 170).tokens(*size, "auto") >= 255


@pytest.mark.parametrize(
    ("model", "tokens"),
    # 100 by 100 pixels: Mirascope/mirascope and others, October 2025 to March 2026
    [
        ("gpt-4o", 255),
        ("gpt-4.1", 255),
        ("gpt-4o-mini", 8500),
        ("gpt-5", 210),
        ("gpt-4.1-mini", 26),
        ("gpt-5-mini", 20),
    ],
)
def test_each_generation_counts_images_by_its_own_rule(model: str, tokens: int) -> None:
    def chat(*parts: object) -> int:
        return estimate({"model": model, "messages": [{"role": "user", "content": list(parts)}]}).input_tokens

    text = {"type": "text", "text": "What is it?"}
    image = {"type": "image_url", "image_url": {"url": data_url(png(100, 100)), "detail": "auto"}}
    assert chat(text, image) - chat(text) == tokens
    assert chat(text, image, image) - chat(text) == 2 * tokens


def test_an_image_behind_a_url_counts_as_one_of_1024_by_1024() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.test/x.png"}}
    empty = estimate({"model": "gpt-4o", "messages": [{"role": "user", "content": ""}]}).input_tokens
    assert estimate({"model": "gpt-4o", "messages": [{"role": "user", "content": [part]}]}).input_tokens - empty == 765

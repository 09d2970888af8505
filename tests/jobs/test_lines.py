from __future__ import annotations

import json
from typing import Any

import pytest

from throttle.jobs.lines import MalformedLine, infer_endpoint, read_line

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


def written(**changes: Any) -> bytes:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": CHAT, **changes}
    return json.dumps({key: value for key, value in line.items() if value is not ...}).encode()


def test_a_line_of_the_batch_api_is_read_as_it_stands() -> None:
    line = read_line(written(), 7)
    assert (line.number, line.custom_id, line.endpoint, line.body, line.model) == (
        7,
        "a",
        "/chat/completions",
        CHAT,
        "gpt-4o-mini",
    )


def test_a_bare_body_is_named_by_its_line() -> None:
    line = read_line(json.dumps(CHAT).encode(), 12)
    assert (line.custom_id, line.endpoint) == ("line-12", "/chat/completions")


def test_the_endpoint_of_bare_bodies_can_be_given() -> None:
    body = {"model": "my-own", "input": "text"}
    assert read_line(json.dumps(body).encode(), 1).endpoint == "/responses"
    assert read_line(json.dumps(body).encode(), 1, endpoint="/v1/embeddings").endpoint == "/embeddings"


@pytest.mark.parametrize(
    ("body", "endpoint"),
    [
        ({"model": "gpt-4o", "messages": []}, "/chat/completions"),
        ({"model": "gpt-4o", "input": "x"}, "/responses"),
        ({"model": "text-embedding-3-small", "input": "x"}, "/embeddings"),
        ({"model": "own", "input": "x", "dimensions": 8}, "/embeddings"),
        ({"model": "omni-moderation-latest", "input": "x"}, "/moderations"),
        ({"model": "gpt-3.5-turbo-instruct", "prompt": "x"}, "/completions"),
        ({"model": "gpt-image-1", "prompt": "x"}, "/images/generations"),
        ({"model": "text-davinci-edit-001", "input": "x", "instruction": "y"}, "/edits"),
    ],
)
def test_the_endpoint_of_a_bare_body_is_told_by_its_keys(body: dict[str, Any], endpoint: str) -> None:
    assert infer_endpoint(body) == endpoint


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "not JSON at column 2"),
        (b"[1]", "a line is a JSON object, not a list"),
        (b'{"model": "\xff"}', "not UTF-8"),
        (written(custom_id=...), '"custom_id" is missing'),
        (written(custom_id=""), '"custom_id" is a text that is not empty'),
        (written(custom_id=5), '"custom_id" is a text that is not empty, not a number'),
        (written(method="GET"), '"method" is "POST", not "GET"'),
        (written(url=...), '"url" is missing'),
        (written(url="/v1/files"), 'can\'t send to "/files"'),
        (written(url="/v1/audio/transcriptions"), 'can\'t send to "/audio/transcriptions"'),
        (written(body=[]), '"body" is a JSON object, not a list'),
        (written(body={"messages": []}), '"model" is missing'),
        (written(body={**CHAT, "model": 4}), '"model" is a name, not a number'),
        (written(body={**CHAT, "stream": True}), '"stream" has no use in a job file'),
        (b'{"model": "m"}', "no endpoint fits"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(raw: bytes, said: str) -> None:
    with pytest.raises(MalformedLine) as caught:
        read_line(raw, 1)
    assert said in str(caught.value)


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert read_line(b"\xef\xbb\xbf" + written(), 1).custom_id == "a"


def test_the_digest_ignores_spacing_and_order_but_no_value() -> None:
    one = read_line(b'{"messages": [], "model": "m", "n": 1}', 1)
    same = read_line(b'{"model":"m","n":1,"messages":[]}', 9)
    other = read_line(b'{"messages": [], "model": "m", "n": 2}', 1)
    assert one.digest == same.digest != other.digest


def test_lone_surrogates_in_names_and_bodies_are_fine() -> None:
    line = read_line(
        rb'{"custom_id": "\ud800", "url": "/v1/chat/completions", "body": {"model": "m", "messages": "\udfff"}}', 1
    )
    assert len(line.digest) == 8

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from throttle.jobs.result import Failure, Result, digest_of_id
from throttle.jobs.usage import Usage, read_usage

BODY = b'{"id":"c","object":"chat.completion","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2},"f":0.10}'


def result(**changes: Any) -> Result:
    values: dict[str, Any] = {
        "line": 3,
        "custom_id": "a",
        "endpoint": "/chat/completions",
        "status_code": 200,
        "request_id": "req_1",
        "raw": BODY,
        "error": None,
        "attempts": 1,
        "digest": b"\1" * 8,
    }
    return Result(**{**values, **changes})


def test_an_answer_is_written_in_the_form_of_the_batch_api_byte_for_byte() -> None:
    written = result().written()
    assert BODY in written
    assert json.loads(written) == {
        "id": "throttle-0101010101010101",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "req_1", "body": json.loads(BODY)},
        "error": None,
    }
    assert written.count(b"\n") == 1


def test_a_failure_is_written_with_answer_reason_attempts_and_line() -> None:
    written = result(status_code=400, raw=b'{"error":{}}', error=Failure("bad", "no\ngood"), attempts=3).written()
    assert json.loads(written) == {
        "id": "throttle-0101010101010101",
        "custom_id": "a",
        "response": {"status_code": 400, "request_id": "req_1", "body": {"error": {}}},
        "error": {"code": "bad", "message": "no\ngood"},
        "attempts": 3,
        "line": 3,
    }


def test_what_is_no_json_is_written_as_text() -> None:
    written = json.loads(result(status_code=502, raw=b"<html>\xff", error=Failure("502", "bad gateway")).written())
    assert written["response"]["body"] == "<html>\ufffd"


def test_nothing_came_back_is_written_as_null() -> None:
    written = json.loads(result(status_code=None, raw=b"", error=Failure("timeout", "no answer")).written())
    assert written["response"] is None


def test_the_answer_is_parsed_as_the_sdks_own_type() -> None:
    parsed = result().parse()
    assert isinstance(parsed, ChatCompletion)
    assert parsed.usage is not None
    assert parsed.usage.prompt_tokens == 3


def test_a_failed_line_has_no_answer_to_parse() -> None:
    with pytest.raises(ValueError, match=r"line 3 \('a'\) has no answer: no good"):
        result(error=Failure("bad", "no good")).parse()


def test_only_our_own_ids_hold_a_digest() -> None:
    assert digest_of_id("throttle-0101010101010101") == b"\1" * 8
    assert digest_of_id("batch_req_0101") is None
    assert digest_of_id("throttle-xyz") is None


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}, Usage(3, 2, 1)),
        ({"input_tokens": 3, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}}, Usage(3, 2, 1)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0, 0)),
        ({"prompt_tokens": None, "prompt_tokens_details": 5}, Usage()),
        (None, Usage()),
    ],
)
def test_usage_is_read_from_every_endpoint(usage: object, read: Usage) -> None:
    assert read_usage({"usage": usage}) == read
    assert read_usage(None) == Usage()

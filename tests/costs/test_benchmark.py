"""`python -m benchmarks estimates` scores a file of recorded counts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import estimates

HEADERS = {"x-ratelimit-limit-tokens": "4000000", "x-ratelimit-remaining-tokens": "3999994"}


def vector(counted: int, **more: object) -> str:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Say this is a test!"}]}
    told = {"endpoint": "/chat/completions", "model": "gpt-4o", "body": body, "usage": {"input_tokens": counted}}
    return json.dumps({**told, "features": ["single"], "date": "2026-01-01", **more})


def test_a_file_of_vectors_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors, booked = tmp_path / "vectors.jsonl", tmp_path / "booked.jsonl"
    vectors.write_text("\n".join([vector(13), vector(14, headers=HEADERS), vector(99), vector(1, countable=False)]))
    answer = {"provider": "openai", "status": 200, "endpoint": "/embeddings", "model": "m", "chars": 24, "date": "2026"}
    booked.write_text(json.dumps({**answer, **HEADERS}) + "\n")
    parser = argparse.ArgumentParser()
    estimates.add_arguments(parser)
    options = ["--vectors", str(vectors), "--booked", str(booked), "--no-timing", "--misses", "1"]
    assert estimates.run(parser.parse_args(options)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["all", "3", "33.3", "66.7", "66.7", "1"] in lines
    assert ["single", "3", "33.3", "66.7", "66.7", "1"] in lines
    assert ["chat/completions,", "characters", "1", "0.0", "100.0", "100.0"] in lines
    assert ["embeddings", "1", "100.0", "100.0", "100.0"] in lines
    assert any(line[:3] == ["-86", "of", "99"] for line in lines)

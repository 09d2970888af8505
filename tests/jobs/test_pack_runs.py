from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio

from tests.jobs.support import Api, chat_line, echo, read_jsonl, refusal
from tests.jobs.test_packing import completions, embeddings
from throttle.jobs import Report, arun


def text_line(name: str, text: Any, **body: Any) -> dict[str, Any]:
    body = {"model": "text-embedding-3-small", "input": text, **body}
    return {"custom_id": name, "method": "POST", "url": "/v1/embeddings", "body": body}


def prompt_line(name: str, prompt: Any, **body: Any) -> dict[str, Any]:
    body = {"model": "davinci-002", "prompt": prompt, **body}
    return {"custom_id": name, "method": "POST", "url": "/v1/completions", "body": body}


def go(api: Api, lines: list[dict[str, Any]], output: Path, **settings: Any) -> Report:
    return anyio.run(lambda: arun(lines, api.client(), output, pack=True, **settings))


def bodies(output: Path) -> dict[str, Any]:
    return {line["custom_id"]: line["response"]["body"] for line in read_jsonl(output)}


def test_lines_go_in_few_requests_and_each_gets_the_answer_it_would_have_had_alone(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    api = Api(lambda path, body: (200, embeddings(body)))
    report = go(api, [text_line(f"n{i}", "x" * (i % 50 + 1)) for i in range(3000)], output)
    assert sorted(len(body["input"]) for _, body in api.asked) == [952, 2048]
    assert (report.answered, report.usage.input_tokens) == (3000, 3000)
    answers = bodies(output)
    assert answers["n41"]["data"] == [{"object": "embedding", "index": 0, "embedding": [42.0, 0.5]}]
    assert answers["n41"]["usage"].keys() == {"prompt_tokens", "total_tokens"}
    assert sum(answer["usage"]["prompt_tokens"] for answer in answers.values()) == 3000


def test_lines_with_lists_of_their_own_and_several_choices_are_dealt_right(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    api = Api(lambda path, body: (200, completions(body)))
    go(api, [prompt_line("a", "p", n=2), prompt_line("b", ["q", "r"], n=2), prompt_line("c", "s", n=2)], output)
    assert [body["prompt"] for _, body in api.asked] == [["p", "q", "r", "s"]]
    choices = {name: [(c["index"], c["text"]) for c in body["choices"]] for name, body in bodies(output).items()}
    assert choices == {
        "a": [(0, "p -> 0"), (1, "p -> 1")],
        "b": [(0, "q -> 0"), (1, "q -> 1"), (2, "r -> 0"), (3, "r -> 1")],
        "c": [(0, "s -> 0"), (1, "s -> 1")],
    }
    usage = [body["usage"] for body in bodies(output).values()]
    assert sum(each["completion_tokens"] for each in usage) == 8
    assert sum(each["prompt_tokens"] for each in usage) == 16


def test_only_lines_that_are_alike_go_together_and_chat_goes_alone(tmp_path: Path) -> None:
    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return 200, echo(body) if "messages" in body else embeddings(body)

    api = Api(answer)
    lines = [
        text_line("a", ["x"]),
        text_line("b", ["y"], dimensions=8),
        text_line("c", [[1, 2]]),
        text_line("d", "z"),
        chat_line("e"),
        chat_line("f"),
    ]
    go(api, lines, tmp_path / "out.jsonl")
    inputs = sorted(json.dumps(body["input"]) for _, body in api.asked if "input" in body)
    assert inputs == ['["x", "z"]', '["y"]', "[[1, 2]]"]
    assert sum("messages" in body for _, body in api.asked) == 2


def test_a_pack_refused_for_one_line_is_split_until_only_that_one_fails(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        if "" in inputs:
            return 400, refusal("'$.input' is invalid", "invalid_input")
        return 200, embeddings({**body, "input": inputs})

    api = Api(answer)
    report = go(api, [text_line(f"n{i}", "" if i == 70 else "x") for i in range(100)], output)
    assert (report.answered, report.failed) == (99, 1)
    assert [line["custom_id"] for line in read_jsonl(tmp_path / "out.failed.jsonl")] == ["n70"]
    assert len(api.asked) <= 2 * 7 + 1


def test_a_server_that_takes_fewer_at_once_is_followed(tmp_path: Path) -> None:
    def sixteen(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if len(body["input"]) > 16:
            return 400, refusal("too many", "bad")
        return 200, embeddings(body)

    api = Api(sixteen)
    report = go(api, [text_line(f"n{i}", "x" * (i + 1)) for i in range(64 * 40)], tmp_path / "out.jsonl")
    assert report.complete
    assert bodies(tmp_path / "out.jsonl")["n100"]["data"][0]["embedding"][0] == 101.0


def test_an_answer_with_parts_missing_is_asked_again_in_smaller_packs(tmp_path: Path) -> None:
    def forgetful(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        answer = embeddings({**body, "input": body["input"] if isinstance(body["input"], list) else [body["input"]]})
        if len(answer["data"]) > 2:
            answer["data"].pop()
        return 200, answer

    report = go(Api(forgetful), [text_line(f"n{i}", "x" * (i + 1)) for i in range(9)], tmp_path / "out.jsonl")
    assert report.complete
    assert bodies(tmp_path / "out.jsonl")["n8"]["data"][0]["embedding"][0] == 9.0

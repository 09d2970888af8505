"""How near estimates come to what the API counts and books, and what they cost beside bare tiktoken.

`--vectors FILE` is a file of JSON lines, each a request body (`endpoint`, `model`, `body`) with what the API said of
it: `usage.input_tokens`; optionally `answer_model`, `features`, `countable`, `date`, and `headers` with the rate-limit
headers of that answer, from which follows what was booked where the bucket was full before. `--booked FILE` scores a
file of answers without bodies (`provider`, `endpoint`, `chars`, `n_messages`, `n_images`, rate-limit headers).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from throttle.costs import CallCost, default_charge, encoding_for, estimate

COLUMNS: Final = ("n", "exact", "±1", "±3 %", "under by > 3")

FULL: Final = 1_000_000
"""Tokens a minute from which a bucket is taken to have been full before a lone call."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--vectors", type=Path, metavar="FILE", help="bodies with what the API counted")
    parser.add_argument("--booked", type=Path, metavar="FILE", help="answers with what the server booked")
    parser.add_argument("--misses", type=int, default=0, metavar="N", help="print the N worst misses too")
    parser.add_argument("--no-timing", action="store_true", help="score only")


def run(arguments: argparse.Namespace) -> int:
    """Print the tables that were asked for."""
    if arguments.vectors:
        score_counts(list(_lines(arguments.vectors)), arguments.misses)
    if arguments.booked:
        score_booked(list(_lines(arguments.booked)))
    if not arguments.no_timing:
        measure()
    return 0


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


# what the API counts


@dataclass(slots=True)
class Score:
    """How estimates of one kind of call came out."""

    n: int = 0
    exact: int = 0
    near: int = 0
    close: int = 0
    under: int = 0

    def note(self, estimated: int, counted: int) -> None:
        """Add one estimate."""
        error = estimated - counted
        self.n += 1
        self.exact += error == 0
        self.near += abs(error) <= 1
        self.close += abs(error) <= max(1, 0.03 * counted)
        self.under += error < -3

    def row(self) -> str:
        """Tell it as percentages, and the last as a number."""
        shares = "".join(f"{100 * part / self.n:9.1f}" for part in (self.exact, self.near, self.close))
        return f"{self.n:9}{shares}{self.under:14}"


def score_counts(vectors: list[dict[str, Any]], misses: int) -> None:
    """Print the table of input tokens, by kind and by feature, and of what was booked where the headers tell."""
    kinds: dict[str, Score] = defaultdict(Score)
    features: dict[str, Score] = defaultdict(Score)
    worst: list[tuple[float, str]] = []
    for vector in vectors:
        if not vector.get("countable", True):
            continue
        counted = vector["usage"]["input_tokens"]
        estimated = _call(vector).input_tokens
        for score in (kinds[_kind(vector)], kinds["all"], *(features[name] for name in vector.get("features", ()))):
            score.note(estimated, counted)
        if estimated != counted:
            told = f"{estimated - counted:+6} of {counted:6}  {vector.get('id', '')}  {_kind(vector)}"
            worst.append((abs(estimated - counted) / max(1, counted), f"{told}  {vector.get('model')}"))
    print(f"{'input tokens, per cent':34}" + "".join(f"{name:>9}" for name in COLUMNS[:4]) + f"{COLUMNS[4]:>14}")
    for title, table in (("by kind", kinds), ("by feature", features)):
        print(title)
        for name in sorted(table):
            print(f"  {name:32}{table[name].row()}")
    for _, text in sorted(worst, reverse=True)[:misses]:
        print(text)
    _score_vectors_booked(vectors)


def _call(vector: Mapping[str, Any]) -> CallCost:
    """View a recorded body as the model that answered, as a caller with a mapping for deployments would."""
    return CallCost(vector["body"], vector["endpoint"], model=vector.get("answer_model") or vector.get("model"))


def _kind(vector: Mapping[str, Any]) -> str:
    has = set(vector.get("features", ()))
    tools = has & {"tools", "functions", "tool-result", "tool_calls"}
    kind = (
        "images"
        if "images" in has
        else "schema and tools"
        if "schema" in has and tools
        else "schema"
        if "schema" in has
        else "parallel calls"
        if "parallel" in has
        else "tool results"
        if "tool-result" in has
        else "tools"
        if tools
        else "text"
    )
    return f"{vector['endpoint'].strip('/')}, {kind}{', reasoning' if 'reasoning' in has else ''}"


# what the server books


def _score_vectors_booked(vectors: list[dict[str, Any]]) -> None:
    table: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for vector in vectors:
        booked = _booked(vector.get("headers") or {})
        # In March 2025 OpenAI changed what it books: older answers tell nothing about today.
        if booked is None or vector.get("azure") or vector.get("date", "") < "2025-03-29":
            continue
        call = _call(vector)
        charge = default_charge("api.openai.com", call.endpoint, call.model or "")
        if charge != "usage":  # settled when the answer came: its headers don't show what was booked before
            table[f"{call.endpoint.strip('/')}, {charge}"].append((call.booked(charge), booked))
    _print_booked("booked, bodies known", table)


def score_booked(answers: list[dict[str, Any]]) -> None:
    """Print the table of what was booked, for answers whose bodies are known by their lengths only."""
    table: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for answer in answers:
        booked = _booked(answer)
        old = answer.get("date", "") < "2025-03-29"
        if booked is None or old or answer.get("provider") != "openai" or answer.get("status") != 200:
            continue
        size, endpoint = answer.get("chars", 0), answer["endpoint"]
        if endpoint == "/chat/completions" and answer.get("n_messages"):
            messages: list[dict[str, Any]] = [{"content": ""} for _ in range(answer["n_messages"])]
            messages[0]["content"] = [{"type": "text", "text": "x" * size}]
            messages[0]["content"] += [{"type": "image_url"}] * answer.get("n_images", 0)
            body: dict[str, Any] = {"model": answer["model"], "messages": messages}
        elif endpoint in ("/embeddings", "/completions"):
            body = {"model": answer["model"], "input": "x" * size, "prompt": "x" * size}
        else:
            continue
        table[endpoint.strip("/")].append((CallCost(body, endpoint).booked("characters"), booked))
    _print_booked("booked, lengths known", table)


def _booked(headers: Mapping[str, Any]) -> int | None:
    try:
        limit = int(headers["x-ratelimit-limit-tokens"])
        return limit - int(headers["x-ratelimit-remaining-tokens"]) if limit >= FULL else None
    except (KeyError, ValueError, TypeError):
        return None


def _print_booked(title: str, table: Mapping[str, list[tuple[int, int]]]) -> None:
    print(f"{title + ', per cent':34}{'n':>9}{'exact':>9}{'±2':>9}{'±2 or 1 %':>12}")
    for name, pairs in sorted(table.items()):
        errors = [(abs(estimated - booked), booked) for estimated, booked in pairs]
        shares = (
            sum(error == 0 for error, _ in errors),
            sum(error <= 2 for error, _ in errors),
            sum(error <= max(2, 0.01 * booked) for error, booked in errors),
        )
        exact, two, close = (100 * share / len(pairs) for share in shares)
        print(f"  {name:32}{len(pairs):9}{exact:9.1f}{two:9.1f}{close:12.1f}")


# what it costs


def measure() -> None:
    """Print what estimates cost, as ratios to bare tiktoken in the same run."""
    text = _prose()
    began = time.perf_counter()
    estimate(_chat([text[:10]]))
    print(f"{'first use (vocabulary)':46}{1e3 * (time.perf_counter() - began):9.0f} ms")
    rows = (
        ("first count, one prompt of 40 kB", _first(text, [40_000])),
        ("first count, ten messages of 240 characters", _first(text, [240] * 10)),
        ("ten messages, nine seen before", _resumed(text)),
    )
    for title, (ours_us, bare_us) in rows:
        print(f"{title:46}{ours_us:9.1f} µs{bare_us:10.1f} µs bare{ours_us / bare_us:9.3f} ×")
    for title, prompt in (("prose", (text * 20)[:5_000_000]), ("blanks", " " * 5_000_000), ("CJK", "字句" * 833_333)):
        pause_ms, took_ms = min(asyncio.run(_pause(prompt)) for _ in range(3))
        print(f"{'largest pause of a loop, 5 MB of ' + title:46}{pause_ms:9.1f} ms{took_ms:10.0f} ms in all")


def _prose() -> str:
    """Take the documentation that every Python has."""
    from pydoc_data.topics import topics

    return " ".join(" ".join(topics.values()).split())


def _chat(contents: list[str]) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": content} for content in contents]}


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _bare(body: Mapping[str, Any]) -> int:
    encode = encoding_for("gpt-4o").encode_ordinary
    return sum([len(encode(message["role"])) + len(encode(message["content"])) for message in body["messages"]])


def _first(text: str, sizes: list[int]) -> tuple[float, float]:
    """Time the count of texts never seen before: medians in µs, ours and bare; who goes first changes each time."""
    ours, bare = [], []
    step, rounds = sum(sizes), 60
    for turn in range(rounds):
        at = turn * step % (len(text) - 2 * step)
        contents, offset = [], at
        for size in sizes:
            contents.append(f"{turn} {text[offset : offset + size]}")
            offset += size
        ours_s, bare_s = _both(_chat(contents), ours_first=turn % 2 == 0)
        ours.append(ours_s)
        bare.append(bare_s)
    return 1e6 * statistics.median(ours), 1e6 * statistics.median(bare)


def _resumed(text: str) -> tuple[float, float]:
    """Time a conversation of ten messages that goes on by one each time."""
    ours, bare = [], []
    messages = [text[at : at + 240] for at in range(0, 240 * 500, 240)]
    for turn in range(len(messages) - 10):
        ours_s, bare_s = _both(_chat(messages[turn : turn + 10]), ours_first=turn % 2 == 0)
        if turn:
            ours.append(ours_s)
            bare.append(bare_s)
    return 1e6 * statistics.median(ours), 1e6 * statistics.median(bare)


def _both(body: dict[str, Any], *, ours_first: bool) -> tuple[float, float]:
    if ours_first:
        return _timed(lambda: estimate(body)), _timed(lambda: _bare(body))
    bare = _timed(lambda: _bare(body))
    return _timed(lambda: estimate(body)), bare


async def _pause(prompt: str) -> tuple[float, float]:
    """Count off the loop, as `heavy` asks for, and tell how long the loop was ever kept from running, in ms."""
    call = CallCost({"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]})
    began = time.perf_counter()
    heavy = call.heavy
    largest = time.perf_counter() - began
    counting = asyncio.ensure_future(asyncio.to_thread(lambda: call.input_tokens))
    if not heavy:
        raise RuntimeError("a prompt of 5 MB was taken for a light one")
    while not counting.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        largest = max(largest, time.perf_counter() - before - 0.001)
    return 1e3 * largest, 1e3 * (time.perf_counter() - began)

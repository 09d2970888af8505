"""What jobs promise: packing saves requests, a killed run loses nothing, memory stays flat, a plan foretells the run.

Each part makes its own job and its own server on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import anyio
from openai import AsyncOpenAI

import throttle
from throttle import jobs
from throttle.simulator import running

MODEL: Final = "gpt-4o-mini"
ROOM: Final = {"rpm": 60_000_000, "tpm": 6_000_000_000}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's options."""
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    packing = parts.add_parser("packing", help="20 requests a minute, 200 short prompts: with and without packing")
    packing.add_argument("--prompts", type=int, default=200)
    kills = parts.add_parser("kills", help="a long job, killed again and again: every line answered exactly once")
    kills.add_argument("--lines", type=int, default=100_000)
    kills.add_argument("--kills", type=int, default=20)
    memory = parts.add_parser("memory", help="memory of a run by its length, against a server in the same process")
    memory.add_argument("--lines", type=int, default=1_000_000)
    plan = parts.add_parser("plan", help="the plan of a job against the run that follows")
    plan.add_argument("--seconds", type=float, default=75.0)
    for part in (packing, kills, memory, plan):
        part.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run one part; 1 if what it promises doesn't hold."""
    with tempfile.TemporaryDirectory(
        prefix="throttle-benchmark-", dir="/var/tmp" if os.path.isdir("/var/tmp") else None
    ) as place:
        part = {"packing": _packing, "kills": _kills, "memory": _memory, "plan": _plan}[arguments.part]
        figures, holds = part(arguments, Path(place))
    if arguments.json:
        print(json.dumps({**figures, "holds": holds}))
    else:
        width = max(map(len, figures))
        for name, value in figures.items():
            print(
                f"{name.ljust(width)}  {value:,.3f}" if isinstance(value, float) else f"{name.ljust(width)}  {value:,}"
            )
        print("holds" if holds else "DOES NOT HOLD")
    return 0 if holds else 1


def _chat(number: int, text: str = "What is a token bucket?") -> dict[str, Any]:
    messages = [{"role": "user", "content": f"{text} ({number})"}]
    return {
        "custom_id": f"n{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": MODEL, "messages": messages},
    }


def _write(path: Path, lines: Iterator[dict[str, Any]]) -> Path:
    with open(path, "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
    return path


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "import sys; from throttle.cli import main; sys.exit(main())", *map(str, arguments)]


# the parts


def _packing(arguments: argparse.Namespace, place: Path) -> tuple[dict[str, float], bool]:
    """Ask the article's ten words again and again at 20 requests a minute; alone is planned, packed is also run."""
    limits = {"rpm": 20, "tpm": 150_000}
    body = {"model": "davinci-002", "prompt": "Once upon a time,", "max_tokens": 20}
    lines = [{"custom_id": f"n{i}", "url": "/v1/completions", "body": body} for i in range(arguments.prompts)]
    source = _write(place / "in.jsonl", iter(lines))
    planned = jobs.plan(source, limits, latency_s=0.5).tiers[0].duration_s

    async def packed() -> tuple[jobs.Report, int]:
        with running(limits=limits, latency_s=0.5) as server:
            async with AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
                wrapped = throttle.wrap(client, limiter=throttle.Limiter(limits, pacing="burst"))
                report = await jobs.arun(source, wrapped, place / "out.jsonl", pack=True)
            return report, server.summary().calls

    report, calls = anyio.run(packed)
    figures = {
        "prompts": arguments.prompts,
        "alone, s (planned)": planned,
        "packed, s": report.elapsed_s,
        "requests": calls,
    }
    return figures, report.complete and report.elapsed_s < planned / 10


def _kills(arguments: argparse.Namespace, place: Path) -> tuple[dict[str, float], bool]:
    """Kill a run at random moments, start it again, and look at what is in the output at the end."""
    source = _write(place / "in.jsonl", map(_chat, range(arguments.lines)))
    output = place / "out.jsonl"
    lines = _Lines(output)
    draw = random.Random(7)
    killed, begun_s = 0, time.monotonic()
    with running(limits=ROOM, latency_s=(0.0, 0.1)) as server:
        command = _command("run", source, "-o", output, "--base-url", server.base_url, "--pacing", "burst")
        command += ["--rpm", str(ROOM["rpm"]), "--tpm", str(ROOM["tpm"])]
        due = sorted(draw.randrange(1, arguments.lines) for _ in range(arguments.kills))
        for count in due:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and lines.now() < count:
                time.sleep(draw.uniform(0.0, 0.05))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
                killed += 1
            process.wait()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        calls = server.summary().calls
    names = [json.loads(line)["custom_id"] for line in output.read_text().splitlines()]
    figures = {
        "lines": arguments.lines,
        "killed": killed,
        "answers": len(names),
        "answered twice": len(names) - len(set(names)),
        "calls": calls,
        "time, s": time.monotonic() - begun_s,
    }
    return figures, len(names) == len(set(names)) == arguments.lines


def _memory(arguments: argparse.Namespace, place: Path) -> tuple[dict[str, float], bool]:
    """Run jobs of a tenth of the length and of the whole, each in a process of its own; the server is a function
    there.
    """
    figures: dict[str, float] = {}
    for lines in (arguments.lines // 10, arguments.lines):
        source = _write(place / f"in{lines}.jsonl", map(_chat, range(lines)))
        command = [sys.executable, "-c", _ALONE, str(source), str(place / f"out{lines}.jsonl")]
        done = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        figures[f"{lines:,} lines, MB"] = done["mb"]
        figures[f"{lines:,} lines, s"] = done["s"]
    small, large = (value for name, value in figures.items() if name.endswith("MB"))
    return figures, large <= small * 1.25 + 16


_ALONE: Final = """
import importlib, importlib.util, json, resource, sys, time
import anyio
from openai import AsyncOpenAI
import throttle
from throttle import jobs
httpx = importlib.import_module("httpx2" if importlib.util.find_spec("httpx2") else "httpx")
ANSWER = {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini", "choices": [{"index": 0,
    "finish_reason": "stop", "message": {"role": "assistant", "content": "A bucket that fills with tokens."}}],
    "usage": {"prompt_tokens": 15, "completion_tokens": 8, "total_tokens": 23}}
async def answer(request):
    await anyio.sleep(0.01)
    return httpx.Response(200, json=ANSWER)
async def main():
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    client = AsyncOpenAI(api_key="none", base_url="http://server.test/v1", http_client=http)
    limiter = throttle.Limiter({"rpm": 60_000_000, "tpm": 6_000_000_000}, pacing="burst")
    begun = time.monotonic()
    report = await jobs.arun(sys.argv[1], throttle.wrap(client, limiter=limiter), sys.argv[2])
    assert report.complete, report
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024 * 1024)
    print(json.dumps({"mb": peak, "s": time.monotonic() - begun}))
anyio.run(main)
"""


def _plan(arguments: argparse.Namespace, place: Path) -> tuple[dict[str, float], bool]:
    """Plan a job under limits, run it against a server that enforces them, and compare."""
    limits = {"rpm": 1800, "tpm": 120_000}
    draw = random.Random(7)
    count = int(1500 * (1 + arguments.seconds / 60) * 0.9)
    texts = [
        " ".join(draw.choices(("limit", "queue", "token", "meter"), k=draw.choice((10, 40, 160)))) for _ in range(count)
    ]
    source = _write(place / "in.jsonl", (_chat(i, text) for i, text in enumerate(texts)))
    planned = jobs.plan(source, limits, latency_s=0.3).tiers[0].duration_s

    async def real() -> tuple[jobs.Report, int]:
        with running(limits=limits, latency_s=(0.2, 0.4)) as server:
            async with AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
                limiter = throttle.Limiter({**limits, "charge": "characters"}, pacing="burst")
                report = await jobs.arun(source, throttle.wrap(client, limiter=limiter), place / "out.jsonl")
            return report, server.summary().by_status.get("429", 0)

    report, refused = anyio.run(real)
    off = report.elapsed_s / planned - 1
    figures = {"lines": count, "planned, s": planned, "ran, s": report.elapsed_s, "off, %": off * 100, "429": refused}
    return figures, report.complete and abs(off) <= 0.05


class _Lines:
    """Counts the lines of a growing file, reading only what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0
        self._count = 0

    def now(self) -> int:
        if self._path.exists() and (size := self._path.stat().st_size) > self._seen:
            with open(self._path, "rb") as file:
                file.seek(self._seen)
                self._count += file.read(size - self._seen).count(b"\n")
            self._seen = size
        return self._count

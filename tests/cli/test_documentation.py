"""The pages about jobs, plans and packing: each is followed from top to bottom, against the simulator."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import throttle_command
from throttle.simulator import in_thread

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```(\w+)(?: (\S+))?\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", ["jobs", "plan", "packing"])
def test_a_page_can_be_followed_from_top_to_bottom(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BLOCK.findall((DOCS / f"{page}.md").read_text(encoding="utf-8"))
    files = [(name, text) for _, name, text in blocks if name]
    assert files
    for name, text in files:
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    names: dict[str, Any] = {}
    with in_thread(limits={"rpm": 6000, "tpm": 2_000_000}) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        for kind, _, text in blocks:
            if kind == "python":
                exec(compile(text, f"docs/{page}.md", "exec"), names)
            elif kind == "console":
                _follow(text)
        assert server.summary().refused == 0
    if "client" in names:
        names["client"].close()


def _follow(text: str) -> None:
    for line in text.splitlines():
        if line.startswith("$ throttle "):
            told = throttle_command(*shlex.split(line.removeprefix("$ throttle ")))
            assert told.code == 0, f"{line}: {told.err}"


def test_every_option_of_run_and_plan_stands_in_its_page() -> None:
    for command, page in (("run", "jobs"), ("plan", "plan")):
        told = throttle_command(command, "--help").out
        options = set(re.findall(r"--[a-z][a-z-]+", told)) - {"--help", "--output", "--prices"}
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        missing = sorted(option for option in options if option not in text)
        assert missing in ([], ["--endpoint"]), f"{page}.md doesn't say: {missing}"

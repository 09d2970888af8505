"""The examples of the pages on retries and pacing run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from throttle.simulator import in_thread

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["from-retries.md", "pacing.md"])
def test_the_examples_of_a_page_run_one_after_another(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    assert len(blocks) >= 4
    with in_thread(limits={"rpm": 600, "tpm": 600_000}, output_tokens=12) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        names: dict[str, Any] = {"__name__": "page"}
        for block in blocks:
            exec(compile(block, page, "exec"), names)
        assert {call.status for call in server.calls()} == {200}
        assert len(server.calls()) >= 3

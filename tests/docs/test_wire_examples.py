"""The examples of the page on the wire run as they stand, against the simulator."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from throttle.simulator import in_thread

PAGE: Final = Path(__file__).parents[2] / "docs" / "wire.md"
PATIENCE_S: Final = 60


def examples() -> list[str]:
    """Give the Python blocks of the page, but for those that it says are not run."""
    blocks = re.findall(r"(<!-- not run[^\n]*-->\n+)?```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [code for not_run, code in blocks if not not_run]


@pytest.mark.parametrize("code", examples(), ids=lambda code: code.strip().splitlines()[-1][:40])
def test_the_example_runs_without_a_refusal(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_thread(limits={"rpm": 500, "tpm": 200_000}) as simulator:
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        played = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=PATIENCE_S
        )
        summary = simulator.summary()
    assert played.returncode == 0, played.stderr
    assert played.stdout.strip()
    assert (summary.admitted, summary.refused) == (1, 0)

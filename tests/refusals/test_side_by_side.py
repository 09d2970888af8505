"""The benchmark of people's decorators beside throttle, as a small job."""

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks import decorators


def test_side_by_side_only_the_throttled_jobs_meet_no_refusal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(decorators.SERVER, "start", "empty")  # else a job must be larger than the bucket
    few = [each for each in decorators.CONTENDERS if each.name in ("tenacity", "throttle")]
    monkeypatch.setattr(decorators, "CONTENDERS", few)
    parser = argparse.ArgumentParser()
    decorators.add_arguments(parser)
    assert decorators.run(parser.parse_args(["--calls", "150", "--json"])) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["throttle"]["refused"] == rows["throttle"]["lost"] == 0
    assert rows["tenacity"]["refused"] > 0
    assert rows["tenacity"]["seconds"] > rows["throttle"]["seconds"]

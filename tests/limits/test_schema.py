"""The JSON schema, as an editor would use it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from throttle.limits import bundled_path, limits_schema, load_limits
from throttle.limits.schema import LimitsTable

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "limits").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = limits_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", [bundled_path(), *EXAMPLES], ids=lambda path: path.name)
def test_the_bundled_file_and_the_examples_are_valid(validator: Any, path: Path) -> None:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    # To an editor a point in time is text, as it is written.
    data = json.loads(json.dumps(data, default=lambda value: value.isoformat()))
    assert [error.message for error in validator.iter_errors(data)] == []


@pytest.mark.parametrize(
    "data",
    [
        {"familys": {}},
        {"version": 2},
        {"families": {"a": {"models": "m"}}},
        {"families": {"a": {"charge": "output"}}},
        {"tiers": {"t": {"a": {"rpm": 0}}}},
        {"tiers": {"t": {"a": {"rpm": "many"}}}},
        {"tiers": {"t": {"a": {"rpm": {"limit": 5, "windw": 1}}}}},
        {"accounts": {"a": {"key": "sk-0123456789"}}},
        {"accounts": {"a": {"tier": 5}}},
    ],
)
def test_it_finds_what_can_be_seen_in_one_place(validator: Any, data: Any) -> None:
    assert list(validator.iter_errors(data))


@pytest.mark.parametrize(
    "data",
    [
        {"tiers": {"t": {"a": {"rpm": "${RPM}", "my_meter": 5}, "b": None}}},
        {"accounts": {"a": {"key": "${KEY}", "since": "2026-11-20T09:00:00Z"}}},
        {"families": {"a": {"window": {"rpm": "10s"}, "weights": {"x": "1/25"}}}},
    ],
)
def test_it_lets_pass_what_the_loader_takes(validator: Any, data: Any) -> None:
    assert not list(validator.iter_errors(data))


def test_every_key_is_described() -> None:
    parts = {"LimitsTable": limits_schema(), **limits_schema()["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, part in parts.items()
        for key, told in part.get("properties", {}).items()
        if not told.get("description")
    ]
    assert bare == []


def test_the_reference_has_every_key() -> None:
    reference = (Path(__file__).parents[2] / "docs" / "limits-reference.md").read_text(encoding="utf-8")
    parts = {"LimitsTable": limits_schema(), **limits_schema()["$defs"]}
    keys = {key for part in parts.values() for key in part.get("properties", {})}
    assert {key for key in keys if f"`{key}`" not in reference and f"`{key}:" not in reference} == set()
    assert set(LimitsTable.model_fields) <= keys


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_without_mistakes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_B_KEY", "sk-of-team-b")
    assert load_limits(path).families


def test_the_files_in_the_how_to_are_without_mistakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (EXAMPLES[0].parents[1] / "limits.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        (tmp_path / "limits.yaml").write_text(block)
        assert load_limits(tmp_path / "limits.yaml").families


def test_there_are_three_examples_and_more() -> None:
    assert len(EXAMPLES) >= 3

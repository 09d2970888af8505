"""Where limits are looked for, and what forms they may have."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from throttle.errors import LimitsError
from throttle.limits import LimitsTable, bundled_path, find_source, key_hash, load_limits, read_limits, resolve

ONE = """\
families:
  mine: {models: [my-model]}
tiers:
  tier-1: {mine: {rpm: %d}}
"""


def rpm_of(table: LimitsTable, model: str = "my-model") -> int:
    match = resolve(table, environ={}).match(model)
    assert match is not None
    return match.pools[0].meters[0].limit


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_argument_counts_before_the_variable_before_the_directory_before_the_bundled_file(empty: Path) -> None:
    for number, name in enumerate(("argument.yaml", "variable.yaml", "limits.yaml"), start=1):
        Path(name).write_text(ONE % number)
    environ = {"THROTTLE_LIMITS": "variable.yaml"}
    assert rpm_of(load_limits("argument.yaml", environ=environ)) == 1
    assert rpm_of(load_limits(environ=environ)) == 2
    assert rpm_of(load_limits(environ={})) == 3
    Path("limits.yaml").unlink()
    assert find_source(environ={}) == bundled_path()
    assert load_limits(environ={}).origin == "bundled"


def test_an_empty_variable_is_none(empty: Path) -> None:
    assert find_source(environ={"THROTTLE_LIMITS": ""}) == bundled_path()


def test_a_variable_that_names_no_file_is_an_error_that_names_the_variable(empty: Path) -> None:
    with pytest.raises(LimitsError, match=r"^gone\.yaml: there is no such file: it is what THROTTLE_LIMITS says"):
        load_limits(environ={"THROTTLE_LIMITS": "gone.yaml"})


def test_a_loaded_table_is_given_back_as_it_is(empty: Path) -> None:
    table = load_limits({"rpm": 1})
    assert load_limits(table) is table


def test_a_path_may_be_text_or_a_path(empty: Path) -> None:
    path = empty / "mine.yaml"
    path.write_text(ONE % 7)
    assert load_limits(path) == load_limits(str(path))
    assert load_limits(path).source == str(path)


def test_a_dict_in_the_shape_of_the_file_is_a_table() -> None:
    table = load_limits({"families": {"mine": {"models": ["my-model"]}}, "tiers": {"tier-1": {"mine": {"rpm": 9}}}})
    assert rpm_of(table) == 9
    assert (table.source, table.origin, table.flat) == ("limits=", "user", False)


def test_bare_meters_are_one_pool_for_every_model() -> None:
    resolved = resolve(load_limits({"rpm": 600, "tpm": 60_000}), environ={"THROTTLE_TIER": "tier-3"})
    assert [pool.name for pool in resolved.pools] == ["default"]
    one, other = resolved.match("gpt-4o"), resolved.match("whatever")
    assert one is not None
    assert other is not None
    assert one.pools == other.pools == resolved.pools
    assert [(meter.name, meter.limit, meter.origin) for meter in one.pools[0].meters] == [
        ("rpm", 600, "user"),
        ("tpm", 60_000, "user"),
    ]
    assert (resolved.source, resolved.origin) == ("limits=", "user")


def test_bare_meters_may_be_any_and_bring_charge_headroom_and_window() -> None:
    limits = {"rpd": 50, "tpd": 1000, "ipm": 5, "max_in_flight": 3, "charge": "input", "headroom": 0.1, "window": "1s"}
    (pool,) = resolve(load_limits(limits), environ={}).pools
    assert (pool.charge, pool.headroom) == ("input", 0.1)
    assert [(meter.name, meter.window_s) for meter in pool.meters] == [
        ("rpd", 86_400.0),
        ("tpd", 86_400.0),
        ("ipm", 60.0),
        ("max_in_flight", 0.0),
    ]


def test_bare_meters_and_a_tier_exclude_each_other() -> None:
    with pytest.raises(LimitsError, match=r"these limits were given without tiers: give limits= or tier=, not both"):
        resolve(load_limits({"rpm": 1}), tier="tier-2")


def test_a_file_with_nothing_but_an_account_stands_on_the_bundled_one(empty: Path) -> None:
    Path("limits.yaml").write_text("version: 1\naccounts: {default: {tier: tier-4}}\n")
    resolved = resolve(load_limits(environ={}), environ={})
    match = resolved.match("gpt-4o")
    assert match is not None
    assert resolved.tier == "tier-4"
    assert {meter.origin for meter in match.pools[0].meters} == {"bundled"}
    assert resolved.origin == "user"


def test_what_a_file_says_is_laid_over_what_it_extends_figure_by_figure(empty: Path) -> None:
    Path("limits.yaml").write_text(
        "extends: bundled\n"
        "families:\n  mine: {models: [my-model]}\n"
        "tiers:\n  tier-1: {gpt-4o: {tpm: 77}, gpt-4: {rpd: null}, mine: {rpm: 5}}\n"
    )
    resolved = resolve(load_limits(environ={}), environ={})
    meters = {model: resolved.match(model).pools[0].meters for model in ("gpt-4o", "gpt-4", "my-model")}  # type: ignore[union-attr]
    assert [(meter.name, meter.limit, meter.origin) for meter in meters["gpt-4o"]] == [
        ("rpm", 500, "bundled"),
        ("tpm", 77, "user"),
    ]
    assert [meter.name for meter in meters["gpt-4"]] == ["rpm", "tpm"]
    assert [(meter.limit, meter.origin) for meter in meters["my-model"]] == [(5, "user")]


def test_a_path_to_extend_is_seen_from_the_file_that_names_it(empty: Path, tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "base.yaml").write_text(ONE % 3)
    child = tmp_path / "team" / "mine.yaml"
    child.write_text("extends: ../base.yaml\naccounts: {default: {tier: tier-1}}\n")
    table = load_limits(child)
    assert rpm_of(table) == 3
    assert table.files == (str(child), str(tmp_path / "team" / ".." / "base.yaml"))


def test_mistakes_of_an_extended_file_are_told_of_that_file(empty: Path) -> None:
    Path("base.yaml").write_text("familys: {}\n")
    Path("limits.yaml").write_text("extends: base.yaml\n")
    with pytest.raises(LimitsError, match=r"^base\.yaml:1:1: unknown key 'familys'"):
        load_limits(environ={})


@pytest.mark.parametrize(
    ("written", "environ", "rpm"),
    [
        ("rpm: ${RPM}", {"RPM": "250"}, 250),
        ("rpm: '${RPM}'", {"RPM": "250"}, 250),
        ('rpm: "${RPM}"', {"RPM": "10_000"}, 10_000),
        ("rpm: ${RPM:-40}", {}, 40),
        ("rpm: ${RPM:-40}", {"RPM": "41"}, 41),
    ],
)
def test_a_variable_stands_for_a_figure(written: str, environ: dict[str, str], rpm: int, empty: Path) -> None:
    Path("limits.yaml").write_text(
        f"families: {{mine: {{models: [my-model]}}}}\ntiers:\n  t:\n    mine:\n      {written}\n"
    )
    assert rpm_of(load_limits(environ=environ)) == rpm


def test_a_variable_may_be_part_of_a_text(empty: Path) -> None:
    Path("limits.yaml").write_text('families: {mine: {models: ["${TEAM}-*"]}}\ntiers: {t: {mine: {rpm: 5}}}\n')
    assert rpm_of(load_limits(environ={"TEAM": "blue"}), "blue-1") == 5


def test_a_key_behind_a_variable_leaves_only_its_hash_in_the_table(empty: Path) -> None:
    Path("limits.yaml").write_text(
        "accounts: {a: {tier: tier-1, key: '${A_KEY}'}, b: {tier: tier-2, key: '${B_KEY}'}}\n"
    )
    table = load_limits(environ={"A_KEY": "sk-secret-of-a"})
    assert table.accounts["a"].key_hash == key_hash("sk-secret-of-a")
    assert table.accounts["b"].key_hash is None
    assert "sk-secret" not in repr(table) + table.model_dump_json() + repr(table._data)


def test_anchors_and_merge_keys_work_as_in_any_yaml(empty: Path) -> None:
    Path("limits.yaml").write_text(
        "families: {a: {models: [one]}, b: {models: [two]}}\n"
        "tiers:\n  t:\n    a: &row {rpm: 5, tpm: 100}\n    b: {<<: *row, tpm: 200}\n"
    )
    match = resolve(load_limits(environ={}), environ={}).match("two")
    assert match is not None
    assert {meter.name: meter.limit for meter in match.pools[0].meters} == {"rpm": 5, "tpm": 200}


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(empty: Path) -> None:
    Path("limits.yaml").write_bytes(b"\xef\xbb\xbf" + (ONE % 5).replace("\n", "\r\n").encode())
    assert rpm_of(load_limits(environ={})) == 5


def test_weights_are_exact_fractions_however_they_are_written(empty: Path) -> None:
    Path("limits.yaml").write_text(
        "families: {a: {models: [x, y, z], weights: {x: 1/25, y: 0.04}}}\ntiers: {t: {a: {tpm: 5}}}\n"
    )
    resolved = resolve(load_limits(environ={}), environ={})
    weights = [match.weight for name in "xyz" if (match := resolved.match(name))]
    assert weights == [Fraction(1, 25), Fraction(1, 25), Fraction(1)]


def test_the_package_reads_no_yaml_library_until_a_file_is_read() -> None:
    code = (
        "import sys, throttle.limits; print('yaml' in sys.modules); "
        "throttle.limits.load_limits({'rpm': 1}); print('yaml' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.split() == ["False", "False"]


def test_pure_python_yaml_reads_the_bundled_file_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    from throttle.limits import nodes

    fast = read_limits(bundled_path())
    monkeypatch.setattr(nodes, "_LOADER", yaml.SafeLoader)
    text = bundled_path().read_text(encoding="utf-8")
    data, _, mistakes = nodes.read_yaml(text, {})
    assert not mistakes
    assert data == fast._data


def test_a_table_cannot_be_changed() -> None:
    table = load_limits({"rpm": 1})
    with pytest.raises(ValueError, match="frozen"):
        table.version = 1

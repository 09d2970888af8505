"""A limits file that changes while a program runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from throttle.errors import LimitsError
from throttle.limits import LimitsFile, resolve

TEXT = "families: {a: {models: [m]}}\ntiers: {t: {a: {rpm: %d}}}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "limits.yaml"
    path.write_text(TEXT % 1)
    return path


def rpm_of(file: LimitsFile) -> int:
    match = resolve(file.table, environ={}).match("m")
    assert match is not None
    return match.pools[0].meters[0].limit


def settle(path: Path) -> None:
    """Make a file look as if it had been written long ago."""
    os.utime(path, (1_000_000_000, 1_000_000_000))


def test_nothing_is_told_while_nothing_changes(path: Path) -> None:
    file = LimitsFile(path)
    assert [file.check() for _ in range(3)] == [None, None, None]


def test_a_changed_file_is_told_with_its_new_table(path: Path) -> None:
    file = LimitsFile(path)
    path.write_text(TEXT % 2)
    update = file.check()
    assert update is not None
    assert update.error is None
    assert update.table is file.table
    assert rpm_of(file) == 2
    assert file.check() is None


def test_a_change_within_one_tick_of_the_clock_is_not_missed(path: Path) -> None:
    file = LimitsFile(path)
    before = path.stat()
    path.write_text(TEXT % 3)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert file.check() is not None
    assert rpm_of(file) == 3


def test_a_file_written_anew_with_the_same_words_is_no_change(path: Path) -> None:
    file = LimitsFile(path)
    path.unlink()
    path.write_text(TEXT % 1)
    assert file.check() is None


def test_a_settled_file_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(path)
    file = LimitsFile(path)

    def reading(self: LimitsFile) -> bytes:
        raise AssertionError("read although nothing changed")

    monkeypatch.setattr(LimitsFile, "_digest_now", reading)
    assert file.check() is None


def test_a_broken_file_is_told_once_and_the_old_table_stays(path: Path) -> None:
    file = LimitsFile(path)
    path.write_text("familys: {}\n")
    update = file.check()
    assert update is not None
    assert update.table is None
    assert "did you mean 'families'?" in str(update.error)
    assert file.check() is None
    assert rpm_of(file) == 1
    path.write_text(TEXT % 4)
    mended = file.check()
    assert mended is not None
    assert mended.error is None
    assert rpm_of(file) == 4


def test_mending_a_file_to_what_it_was_is_told_too(path: Path) -> None:
    file = LimitsFile(path)
    path.write_text("familys: {}\n")
    assert file.check() is not None
    path.write_text(TEXT % 1)
    update = file.check()
    assert update is not None
    assert update.error is None


def test_a_file_that_is_gone_is_told_once(path: Path) -> None:
    file = LimitsFile(path)
    path.unlink()
    update = file.check()
    assert update is not None
    assert "there is no such file" in str(update.error)
    assert file.check() is None
    assert rpm_of(file) == 1


def test_a_file_being_written_is_looked_at_again_before_it_is_called_broken(path: Path) -> None:
    file = LimitsFile(path)
    path.write_text("")
    assert file.check() is None
    path.write_text(TEXT % 5)
    update = file.check()
    assert update is not None
    assert update.error is None
    path.write_text("")
    assert file.check() is None
    emptied = file.check()
    assert emptied is not None
    assert "the file is empty" in str(emptied.error)


def test_files_that_are_extended_are_watched_as_well(path: Path, tmp_path: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text("extends: limits.yaml\naccounts: {default: {tier: t}}\n")
    file = LimitsFile(child)
    path.write_text(TEXT % 6)
    assert file.check() is not None
    assert rpm_of(file) == 6


def test_a_file_that_cannot_be_read_at_first_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LimitsError, match="there is no such file"):
        LimitsFile(tmp_path / "none.yaml")

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from throttle.jobs.errors import OutputError
from throttle.jobs.journal import Journal, write_anew


def line(name: str, **more: Any) -> bytes:
    value = {"id": f"throttle-{name}", "custom_id": name, "response": None, "error": None, **more}
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def names(path: Path) -> list[str]:
    with Journal(path) as journal:
        return [entry.custom_id for entry in journal.entries()]


def test_what_was_appended_is_read_back_with_its_places(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Journal(path) as journal:
        places = [journal.append(line(name)) for name in ("a", 'b"\\ü')]
        journal.sync()
    with Journal(path) as journal:
        entries = list(journal.entries())
    assert [(entry.at, entry.id, entry.custom_id) for entry in entries] == [
        (places[0], "throttle-a", "a"),
        (places[1], entries[1].id, 'b"\\ü'),
    ]


@pytest.mark.parametrize("cut", [1, 2, 10, 40])
def test_a_torn_last_line_is_cut_off_and_the_rest_kept(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(line("a") + line("b") + line("c")[:-cut])
    assert names(path) == ["a", "b"]
    assert path.read_bytes() == line("a") + line("b")


def test_a_file_of_one_torn_line_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for torn in (b"{", b'{"id":"throttle', b"\0\0\0"):
        path.write_bytes(torn)
        assert names(path) == []
        assert path.read_bytes() == b""


def test_appending_goes_on_behind_the_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(line("a") + b'{"id":"thro')
    with Journal(path) as journal:
        list(journal.entries())
        journal.append(line("b"))
    assert path.read_bytes() == line("a") + line("b")


@pytest.mark.parametrize("content", [b"some text", b"some text\nmore\n", b'{"a": 1}\n', b"[1]\n"])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="not a line of a job's output"):
        names(path)
    assert path.read_bytes() == content


def test_a_broken_line_in_the_middle_is_told_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(line("a") + b"garbage\n" + line("c"))
    with pytest.raises(OutputError, match=r"out\.jsonl:2: "):
        names(path)


def test_lines_that_the_batch_api_wrote_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_text('{"id": "batch_req_1", "custom_id": "a", "response": {}, "error": null}\n')
    assert names(path) == ["a"]


def test_two_runs_cannot_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Journal(path), pytest.raises(OutputError, match="another run is writing"):
        Journal(path)


def test_a_directory_that_does_not_exist_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no such file or directory"):
        Journal(tmp_path / "none" / "out.jsonl")


class FullDisk:
    """A file that takes so many bytes more."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self._room = room

    def write(self, data: bytes) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written: int = self._file.write(data[: self._room])
        self._room -= written
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [0, 1, 30])
def test_a_full_disk_leaves_whole_lines_only(tmp_path: Path, room: int) -> None:
    path = tmp_path / "out.jsonl"
    with Journal(path) as journal:
        journal.append(line("a"))
        journal._file = FullDisk(file := journal._file, room)  # type: ignore[assignment]
        with pytest.raises(OutputError, match="no space left on device"):
            journal.append(line("b"))
        assert path.read_bytes() == line("a")
        journal._file = file
        journal.append(line("c"))
    assert names(path) == ["a", "c"]


def test_writing_anew_puts_lines_in_another_order(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Journal(path) as journal:
        places = [journal.append(line(name)) for name in "abc"]
        write_anew(path, iter([places[2], places[0]]))
    assert names(path) == ["c", "a"]
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]

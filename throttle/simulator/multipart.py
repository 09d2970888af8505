"""Uploads: the fields and files of a `multipart/form-data` body."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser

__all__ = ["Part", "parse_multipart"]


@dataclass(frozen=True, slots=True)
class Part:
    """One field; `filename` is None unless it is a file."""

    name: str
    filename: str | None
    content: bytes


def parse_multipart(content_type: str, body: bytes) -> list[Part] | None:
    """Take a body apart by the boundary its type names; None if it has none or the body doesn't keep to it."""
    head = Message()
    head["content-type"] = content_type
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data" or not boundary:
        return None
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        return None
    parts = []
    for piece in pieces[1:-1]:
        header, _, content = piece.partition(b"\r\n\r\n")
        told = HeaderParser().parsestr(header.decode("utf-8", "replace").strip("\r\n"))
        name = told.get_param("name", header="content-disposition")
        filename = told.get_filename()
        parts.append(Part(str(name or ""), filename, content))
    return parts

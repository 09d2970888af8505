"""The files of the simulated account: uploaded, listed by the page, read, deleted. They are kept in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from throttle.simulator.multipart import Part
from throttle.simulator.refusals import error

__all__ = ["Files", "page_of"]

MOST_BYTES = 256 * 1024 * 1024
MOST_A_PAGE = 10_000

Told = tuple[int, dict[str, Any] | bytes]
"""A status and a body."""


class Files:
    """Every file that was uploaded and not deleted."""

    def __init__(self) -> None:
        self._about: dict[str, dict[str, Any]] = {}
        self._content: dict[str, bytes] = {}
        self._numbered = 0

    def handle(self, method: str, rest: str, query: Mapping[str, str], parts: list[Part] | None) -> Told:
        """Answer a request to `/files`; `rest` is the path after that."""
        identity, _, what = rest.partition("/")
        if not identity:
            if method == "POST":
                return self._upload(parts)
            return (200, page_of(self._listed(query), query)) if method == "GET" else _unknown(method, rest)
        if identity not in self._about:
            return 404, error(f"No such File object: {identity}", param="id")
        if method == "GET" and what in ("", "content"):
            return 200, self._content[identity] if what else self._about[identity]
        if method == "DELETE" and not what:
            del self._about[identity], self._content[identity]
            return 200, {"id": identity, "object": "file", "deleted": True}
        return _unknown(method, rest)

    def _upload(self, parts: list[Part] | None) -> Told:
        fields = {part.name: part for part in parts or ()}
        if "file" not in fields or "purpose" not in fields:
            missing = "file" if "file" not in fields else "purpose"
            return 400, error(
                f"Missing required parameter: '{missing}'.", param=missing, code="missing_required_parameter"
            )
        content = fields["file"].content
        if len(content) + sum(map(len, self._content.values())) > MOST_BYTES:
            return 413, error("The simulator keeps no more than 256 MB of files.")
        self._numbered += 1
        identity = f"file-{self._numbered:06d}"
        about = {
            "id": identity,
            "object": "file",
            "bytes": len(content),
            "created_at": 1_700_000_000 + self._numbered,
            "expires_at": None,
            "filename": fields["file"].filename or "upload",
            "purpose": fields["purpose"].content.decode("utf-8", "replace"),
            "status": "processed",
            "status_details": None,
        }
        self._about[identity], self._content[identity] = about, content
        return 200, about

    def _listed(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        purpose = query.get("purpose")
        chosen = [each for each in self._about.values() if purpose in (None, each["purpose"])]
        return chosen if query.get("order") == "asc" else chosen[::-1]


def page_of(items: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """Cut one page out of a list, by `limit` and `after`, as the API does."""
    names = [each["id"] for each in items]
    first = names.index(query["after"]) + 1 if query.get("after") in names else 0
    told = query.get("limit", "")
    size = max(1, min(MOST_A_PAGE, int(told))) if told.isdigit() else MOST_A_PAGE
    page = items[first : first + size]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": first + size < len(items),
    }


def _unknown(method: str, rest: str) -> Told:
    return 404, error(f"Invalid URL ({method} /v1/files/{rest})")

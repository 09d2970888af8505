"""The JSON schema of a limits file, for editors that complete and check as one types."""

from __future__ import annotations

from typing import Any

from throttle.limits.schema import LimitsTable

__all__ = ["limits_schema"]


def limits_schema() -> dict[str, Any]:
    """Give the JSON schema (draft 2020-12) of a limits file.

    It knows every key and the form of every value. What depends on several places of a file (a tier without a family, a
    pattern that shadows another) only `load_limits` finds, and a meter of the file's own is as good to it as a
    misspelt one.
    """
    schema = LimitsTable.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "limits.yaml of openai-throttle",
        **{key: value for key, value in schema.items() if key != "title"},
    }

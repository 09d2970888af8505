"""Endpoints beside text: uploads, images, audio, moderations, a project's limits; over real HTTP with the SDK."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from tests.simulator.virtual import Virtual, told
from throttle.simulator import Simulator, in_thread
from throttle.simulator.multipart import parse_multipart


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with in_thread(limits={"rpm": 100_000, "tpm": 10_000_000, "ipm": 1000}) as running:
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Iterator[OpenAI]:
    with OpenAI(base_url=simulator.base_url, api_key="any", max_retries=0) as made:
        yield made


def test_files_are_kept_listed_by_the_page_read_and_deleted(client: OpenAI) -> None:
    content = b"\r\n--x\r\n\x00\xff line\n"
    names = [client.files.create(file=(f"{index}.jsonl", content), purpose="batch").filename for index in range(5)]
    listed = list(client.files.list(limit=2, order="asc", purpose="batch"))
    assert [file.filename for file in listed] == names
    assert listed[0].bytes == len(content)
    assert client.files.content(listed[0].id).read() == content
    assert client.files.retrieve(listed[1].id).purpose == "batch"
    assert client.files.delete(listed[0].id).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        client.files.retrieve(listed[0].id)
    assert [client.files.list(limit=size).has_more for size in (3, 4, 5)] == [True, False, False]
    assert [page.filename for page in client.files.list(limit=3).data] == ["4.jsonl", "3.jsonl", "2.jsonl"]


def test_an_upload_without_its_purpose_is_a_bad_request() -> None:
    reply = Virtual().post(0, b"", "/v1/files", content_type="multipart/form-data; boundary=b")
    assert (reply.status, told(reply)["error"]["param"]) == (400, "file")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--b--"),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx"),
        ("", b""),
    ],
)
def test_what_is_no_upload_is_none(content_type: str, body: bytes) -> None:
    assert parse_multipart(content_type, body) is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK no longer likes translations
def test_audio_in_and_out(client: OpenAI, simulator: Simulator) -> None:
    sound = ("a.wav", b"RIFF")
    assert len(client.audio.transcriptions.create(model="whisper-1", file=sound).text.split()) == 16
    assert isinstance(client.audio.transcriptions.create(model="whisper-1", file=sound, response_format="text"), str)
    verbose = client.audio.transcriptions.create(model="whisper-1", file=sound, response_format="verbose_json")
    assert verbose.language == "english"
    events = list(client.audio.transcriptions.create(model="gpt-4o-transcribe", file=sound, stream=True))
    assert events[-1].type == "transcript.text.done"
    assert client.audio.translations.create(model="whisper-1", file=sound).text
    with client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="hello") as speech:
        assert speech.read().startswith(b"ID3")
    assert simulator.calls()[-1].charge == {"requests": 1}


def test_images_and_moderations(client: OpenAI, simulator: Simulator) -> None:
    made = client.images.generate(model="gpt-image-1", prompt="a cat", n=2)
    assert [bool(image.b64_json) for image in made.data or ()] == [True, True]
    assert simulator.calls()[-1].charge == {"requests": 1, "images": 2}
    edited = client.images.edit(image=("a.png", b"png"), prompt="a dog", n=3, model="gpt-image-1")
    assert len(edited.data or ()) == 3
    assert simulator.calls()[-1].charge == {"requests": 1, "images": 3}
    verdict = client.moderations.create(input=["hello", "there"])
    assert [result.flagged for result in verdict.results] == [False, False]


def test_tokens_are_counted_without_a_charge(client: OpenAI, simulator: Simulator) -> None:
    counted = client.responses.input_tokens.count(model="gpt-4o", input="hello there")
    assert counted.input_tokens == 9
    assert simulator.calls()[-1].admitted is None


@pytest.mark.skipif(not hasattr(OpenAI, "admin"), reason="this SDK has no administration")
def test_limits_of_a_project_are_read_and_changed_by_the_admin_endpoint() -> None:
    limits = {"gpt-4o": {"rpm": 500, "tpm": 30_000, "rpd": 10_000}, "gpt-4o-mini": {"rpm": 100, "tpm": 60_000}}
    with (
        in_thread(limits=limits, projects={"proj_a": {"gpt-4o": {"rpm": 5}}}) as simulator,
        OpenAI(base_url=simulator.base_url, api_key="any", admin_api_key="adm", max_retries=0) as client,
    ):
        rates = client.admin.organization.projects.rate_limits
        rows = {row.model: row for row in rates.list_rate_limits("proj_a", limit=1)}
        assert (rows["gpt-4o"].max_requests_per_1_minute, rows["gpt-4o"].max_tokens_per_1_minute) == (5, 30_000)
        assert (rows["gpt-4o"].max_requests_per_1_day, rows["gpt-4o-mini"].max_requests_per_1_minute) == (10_000, 100)
        changed = rates.update_rate_limit(rows["gpt-4o-mini"].id, project_id="proj_a", max_requests_per_1_minute=1)
        assert changed.max_requests_per_1_minute == 1
        mini = client.with_options(project="proj_a").chat.completions
        mini.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
        with pytest.raises(openai.RateLimitError, match="for limit proj_a/gpt-4o-mini"):
            mini.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])

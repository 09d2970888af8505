from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import anyio
import openai
import pytest
from openai.types import Completion, CreateEmbeddingResponse, Embedding
from openai.types.create_embedding_response import Usage as EmbeddingUsage

import throttle
from tests.jobs.support import Api, connect_error, httpx, refusal
from throttle.jobs.packing import PackError, _Packs, acomplete_many, aembed_many, complete_many, embed_many


def embeddings(body: dict[str, Any], *, reverse: bool = True) -> dict[str, Any]:
    """Answer each text with its own length, in reversed order."""
    inputs = body["input"]
    data = [{"object": "embedding", "index": i, "embedding": [float(len(text)), 0.5]} for i, text in enumerate(inputs)]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    return {"object": "list", "model": body["model"] + "-real", "data": data[::-1] if reverse else data, "usage": usage}


def completions(body: dict[str, Any]) -> dict[str, Any]:
    """Answer each prompt with itself, `n` times, in reversed order."""
    n = body.get("n", 1)
    choices = [
        {"index": i * n + k, "text": f"{prompt} -> {k}", "finish_reason": "stop", "logprobs": None}
        for i, prompt in enumerate(body["prompt"])
        for k in range(n)
    ]
    usage = {"prompt_tokens": 4 * len(body["prompt"]), "completion_tokens": len(choices), "total_tokens": 0}
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": body["model"],
        "choices": choices[::-1],
        "usage": usage,
    }


@pytest.fixture(params=["sync", "asyncio", "trio"])
def many(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Call `embed_many` or `complete_many`, or its twin, through a client of the API that is given."""

    def call(function: Any, api: Api, items: Any, **more: Any) -> Any:
        if request.param == "sync":
            return function(api.sync_client(), items, **more)
        twin: Any = aembed_many if function is embed_many else acomplete_many
        return anyio.run(lambda: twin(api.client(), items, **more), backend=request.param)

    return call


def test_the_articles_ten_prompts_go_in_one_request_and_come_back_by_index(many: Callable[..., Any]) -> None:
    """The script of the original article: ten stories begun alike, matched by `choice.index`."""
    api = Api(lambda path, body: (200, completions(body)))
    prompts = ["Once upon a time,"] * 10
    response = many(complete_many, api, prompts, model="curie", max_tokens=20)
    stories = [""] * len(prompts)
    for choice in response.choices:
        stories[choice.index] = prompts[choice.index] + choice.text
    assert len(api.asked) == 1
    assert stories == ["Once upon a time,Once upon a time, -> 0"] * 10
    assert isinstance(response, Completion)
    assert response.usage is not None
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (40, 10)


def test_several_choices_a_prompt_are_matched_right(many: Callable[..., Any]) -> None:
    api = Api(lambda path, body: (200, completions(body)))
    response = many(complete_many, api, list("abcde"), model="curie", n=3, max_items=2)
    assert [choice.text for choice in response.choices] == [f"{p} -> {k}" for p in "abcde" for k in range(3)]
    assert [choice.index for choice in response.choices] == list(range(15))
    assert len(api.asked) == 3


def test_embeddings_stand_in_the_order_of_their_texts(many: Callable[..., Any]) -> None:
    api = Api(lambda path, body: (200, embeddings(body)))
    response = many(embed_many, api, ["x" * i for i in range(1, 31)], model="e", max_items=7, encoding_format="float")
    assert [item.embedding[0] for item in response.data] == [float(i) for i in range(1, 31)]
    assert [item.index for item in response.data] == list(range(30))
    assert isinstance(response, CreateEmbeddingResponse)
    assert (response.usage.prompt_tokens, response.usage.total_tokens, response.model) == (30, 30, "e-real")
    assert sorted(len(body["input"]) for _, body in api.asked) == [2, 7, 7, 7, 7]


def test_a_request_takes_no_more_than_2048_texts(many: Callable[..., Any]) -> None:
    api = Api(lambda path, body: (200, embeddings(body)))
    many(embed_many, api, ["x"] * 5000, model="text-embedding-3-small", encoding_format="float")
    assert sorted(len(body["input"]) for _, body in api.asked) == [904, 2048, 2048]


def test_a_request_takes_no_more_tokens_than_allowed_but_one_text_always(many: Callable[..., Any]) -> None:
    api = Api(lambda path, body: (200, embeddings(body)))
    texts = ["word " * 10, "word " * 10, "word " * 100, "word"]
    many(embed_many, api, texts, model="text-embedding-3-small", max_tokens_per_request=25, encoding_format="float")
    assert sorted(len(body["input"]) for _, body in api.asked) == [1, 1, 2]


def test_a_pack_leaves_room_in_its_pools_bucket() -> None:
    limiter = throttle.Limiter({"rpm": 6000, "tpm": 100_000})
    client = throttle.wrap(Api().sync_client(), limiter=limiter)
    texts: list[str | list[int]] = ["word " * 999] * 60
    work = _Packs.of("/embeddings", client, texts, {"model": "text-embedding-3-small"}, 2048, None)
    sizes = []
    while (pack := work.take()) is not None:
        sizes.append(pack.size)
    assert sum(sizes) == 60
    assert max(sizes) in (49, 50)


def test_token_arrays_are_packed_as_they_are(many: Callable[..., Any]) -> None:
    api = Api(lambda path, body: (200, embeddings(body)))
    response = many(embed_many, api, [[1, 2, 3], [4]], model="e", encoding_format="float")
    assert [item.embedding[0] for item in response.data] == [3.0, 1.0]
    assert api.asked[0][1]["input"] == [[1, 2, 3], [4]]


def test_nothing_asked_is_nothing_sent(many: Callable[..., Any]) -> None:
    api = Api()
    response = many(embed_many, api, [], model="e")
    assert (response.data, api.asked) == ([], [])


def refuse_empty(path: str, body: dict[str, Any]) -> tuple[int, Any]:
    if "" in body["input"]:
        return 400, refusal("'$.input' is invalid", "invalid_input")
    return 200, embeddings(body)


def test_a_pack_refused_for_one_bad_text_is_split_until_only_that_one_fails(many: Callable[..., Any]) -> None:
    texts = ["x"] * 100
    texts[37] = ""
    api = Api(refuse_empty)
    with pytest.raises(
        PackError, match=r"^1 of 100 prompts failed, the first of them number 37: .*is invalid"
    ) as caught:
        many(embed_many, api, texts, model="e", encoding_format="float")
    assert list(caught.value.failures) == [37]
    assert isinstance(caught.value.failures[37], openai.BadRequestError)
    response = caught.value.response
    assert isinstance(response, CreateEmbeddingResponse)
    assert [item.index for item in response.data] == [i for i in range(100) if i != 37]
    assert len(api.asked) <= 2 * 7 + 1


def test_a_mistake_in_the_request_itself_is_not_asked_again_for_each_text(many: Callable[..., Any]) -> None:
    api = Api(lambda path, body: (400, refusal("Unknown parameter: 'dimension'.", "unknown_parameter")))
    with pytest.raises(openai.BadRequestError, match="Unknown parameter"):
        many(embed_many, api, ["x"] * 2048, model="e")
    assert [len(body["input"]) for _, body in api.asked] == [2048 >> halved for halved in range(12)] + [1, 2, 1]


def test_once_one_item_was_accepted_the_rest_goes_side_by_side_again(many: Callable[..., Any]) -> None:
    """Nothing is accepted until the first item is alone; the other packs then meet no doubt."""

    def refuse_large(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if len(body["input"]) > 1:
            return 400, refusal("one at a time", "invalid_input")
        return 200, embeddings(body)

    api = Api(refuse_large)
    response = many(embed_many, api, ["x"] * 64, model="e", encoding_format="float")
    assert [item.index for item in response.data] == list(range(64))
    assert [len(body["input"]) for _, body in api.asked][:7] == [64, 32, 16, 8, 4, 2, 1]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((401, refusal("Incorrect API key", "invalid_api_key")), openai.AuthenticationError),
        ((404, refusal("no such model", "model_not_found")), openai.NotFoundError),
        (connect_error(), openai.APIConnectionError),
        ((429, refusal("You exceeded your current quota", "insufficient_quota")), openai.RateLimitError),
    ],
)
def test_what_holds_for_every_text_is_raised_as_the_sdk_raises_it(
    many: Callable[..., Any], answer: Any, kind: type[Exception]
) -> None:
    api = Api(lambda path, body: answer)
    with pytest.raises(kind):
        many(embed_many, api, ["x"] * 50, model="e", max_items=10)
    assert len(api.asked) <= 5


def test_a_server_that_takes_fewer_at_once_is_found_out_and_followed(many: Callable[..., Any]) -> None:
    def sixteen(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if len(body["input"]) > 16:
            return 400, refusal("Too many inputs. The max number of inputs is 16.", "bad")
        return 200, embeddings(body)

    api = Api(sixteen)
    response = many(
        embed_many, api, ["x" * (i + 1) for i in range(256)], model="e", max_items=64, encoding_format="float"
    )
    assert [item.embedding[0] for item in response.data] == [float(i + 1) for i in range(256)]


def test_a_size_that_was_refused_is_not_tried_again() -> None:
    client = Api().sync_client()
    error = openai.BadRequestError(
        "too many", response=httpx.Response(400, request=httpx.Request("POST", "/")), body=None
    )
    work = _Packs.of("/embeddings", client, ["x"] * 100, {"model": "e"}, 40, None)
    sent = []
    while work.workers(1):
        while (pack := work.take()) is not None:
            sent.append(pack.size)
            if pack.size > 20:
                work.refused(pack, error)
            else:
                data = [Embedding(index=i, embedding=[], object="embedding") for i in range(pack.size)]
                usage = EmbeddingUsage(prompt_tokens=0, total_tokens=0)
                work.answered(pack, CreateEmbeddingResponse(data=data, model="e", object="list", usage=usage))
    assert sent == [40, 20, 20, 20, 20, 20]


def test_an_answer_with_parts_missing_is_a_failure_of_its_pack(many: Callable[..., Any]) -> None:
    def forgetful(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        answer = embeddings(body)
        if "bad" in body["input"]:
            answer["data"].pop()
        return 200, answer

    api = Api(forgetful)
    with pytest.raises(PackError, match="the server gave 1 answers to 2 prompts") as caught:
        many(embed_many, api, ["a", "b", "bad", "d"], model="e", max_items=2, encoding_format="float")
    assert list(caught.value.failures) == [2, 3]


class Stop(BaseException):
    """What stops a program, as KeyboardInterrupt does."""


@pytest.mark.parametrize("error", [SystemExit(3), Stop("enough")], ids=repr)
@pytest.mark.parametrize("function", [embed_many, complete_many])
def test_whatever_ends_a_worker_is_raised_and_no_pack_is_lost_without_a_word(
    many: Callable[..., Any], function: Any, error: BaseException
) -> None:
    """A thread that ends with SystemExit says nothing; its pack was missing from the answer."""

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if "bad" in (body.get("input") or body["prompt"]):
            raise error
        return 200, completions(body) if "prompt" in body else embeddings(body)

    more = {"encoding_format": "float"} if function is embed_many else {}
    with pytest.raises(type(error)) as caught:
        many(function, Api(answer), ["a", "b", "bad", "d", "e", "f"], model="m", max_items=2, **more)
    assert caught.value is error


def test_a_stream_cannot_be_packed(many: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="leave stream out"):
        many(complete_many, Api(), ["a"], model="curie", stream=True)


def test_a_parameter_that_the_sdk_does_not_know_is_its_own_type_error(many: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="bogus"):
        many(embed_many, Api(), ["a"], model="e", bogus=1)


def test_the_twins_take_the_same_arguments() -> None:
    for function, twin in ((embed_many, aembed_many), (complete_many, acomplete_many)):
        assert list(inspect.signature(function).parameters) == list(inspect.signature(twin).parameters)

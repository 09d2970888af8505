"""A wrapped client looks, copies and ends as the SDK's own."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import re
import weakref
from typing import Any, Final

import openai
import pytest

import throttle
from tests.wire.calls import CHAT, AsyncConfigured, AsyncSubclass, Configured, Subclass, chat
from tests.wire.cells import Ledger
from tests.wire.driving import run
from tests.wire.scene import KEY, Scene

AZURE: Final[dict[str, Any]] = {"azure_endpoint": "https://sea.openai.azure.com", "api_version": "2024-10-21"}

HOOKS: Final = {
    "request",
    "_prepare_options",
    "_prepare_request",
    "_process_response",
    "_should_retry",
    "_make_status_error_from_response",
    "_calculate_retry_timeout",
    "copy",
    "with_options",
    "__reduce_ex__",
    "_throttle_binding",
}
"""All that a wrapped client has and a plain one hasn't."""


def make(kind: Any) -> Any:
    if kind in (Configured, AsyncConfigured):
        return kind({"api_key": KEY})
    return kind(api_key=KEY, **(AZURE if "Azure" in kind.__name__ else {}))


KINDS: Final = (
    openai.OpenAI,
    openai.AsyncOpenAI,
    openai.AzureOpenAI,
    openai.AsyncAzureOpenAI,
    Subclass,
    AsyncSubclass,
    Configured,
    AsyncConfigured,
)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A plain client and the same wrapped."""
    plain = make(request.param)
    return plain, throttle.wrap(plain, limiter=Ledger())


@pytest.fixture
def client(scene: Scene) -> Any:
    scene.begin()
    return openai.OpenAI(base_url=scene.base_url, api_key=KEY)


def test_type_repr_and_truth_are_the_sdks(pair: tuple[Any, Any]) -> None:
    plain, wrapped = pair
    assert type(wrapped) is type(plain)
    assert isinstance(wrapped, type(plain))
    assert bool(wrapped) is bool(plain) is True
    assert not hasattr(wrapped, "__len__")
    address = r"0x[0-9a-f]+"
    assert re.sub(address, "", repr(wrapped)) == re.sub(address, "", repr(plain))


def test_wrapping_leaves_the_client_as_it_was() -> None:
    plain = make(openai.OpenAI)
    assert plain.chat.completions is plain.chat.completions  # a cached resource, which the clone must not take over
    before = dict(vars(plain))
    wrapped = throttle.wrap(plain, limiter=Ledger())
    assert vars(plain) == before
    assert wrapped.chat._client is wrapped
    assert plain.chat._client is plain


def test_a_wrapped_client_has_the_same_attributes_and_its_hooks(pair: tuple[Any, Any]) -> None:
    plain, wrapped = pair
    assert set(vars(wrapped)) - set(vars(plain)) <= HOOKS
    assert {name: value for name, value in vars(wrapped).items() if name not in HOOKS} == vars(plain)
    assert set(dir(wrapped)) - set(dir(plain)) == {throttle.client.BINDING}


def test_every_method_has_the_same_signature_name_and_kind(pair: tuple[Any, Any]) -> None:
    plain, wrapped = pair
    for name in dir(type(plain)):
        mine, theirs = getattr(wrapped, name, None), getattr(plain, name, None)
        if name.startswith("__") or not inspect.ismethod(theirs):
            continue
        assert inspect.ismethod(mine), name
        assert inspect.signature(mine) == inspect.signature(theirs), name
        assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(theirs), name
        assert (mine.__name__, mine.__qualname__, mine.__doc__) == (
            theirs.__name__,
            theirs.__qualname__,
            theirs.__doc__,
        ), name


def test_what_is_written_on_a_wrapped_client_counts(scene: Scene, client: Any) -> None:
    wrapped = throttle.wrap(client, limiter=Ledger(), retry=None)
    scene.begin({"faults": [{"kind": "500", "calls": [1]}]})
    wrapped.max_retries = 0
    wrapped.organization = "org-mine"
    with pytest.raises(openai.InternalServerError):
        wrapped.chat.completions.create(**CHAT)
    (request,) = scene.gateway.take()
    assert request.header("openai-organization") == "org-mine"
    assert (client.max_retries, client.organization) == (openai.DEFAULT_MAX_RETRIES, None)


def test_a_shallow_copy_is_a_client_of_its_own_as_with_the_sdk(scene: Scene, client: Any) -> None:
    limiter = Ledger()
    wrapped = throttle.wrap(client, limiter=limiter, retry=None)
    copied = copy.copy(wrapped)
    assert type(copied) is type(client)
    assert copied._client is client._client
    assert throttle.limiter_of(copied) is limiter
    scene.begin({"faults": [{"kind": "500"}]})
    copied.max_retries = 0
    with pytest.raises(openai.InternalServerError):
        copied.chat.completions.create(**CHAT)
    assert len(scene.gateway.take()) == limiter.charged == 1
    assert wrapped.max_retries == client.max_retries


# an HTTP client that was half copied makes a noise when it is collected
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("act", [copy.deepcopy, pickle.dumps], ids=lambda act: act.__name__)
def test_what_cannot_be_copied_or_pickled_still_cannot(act: Any) -> None:
    plain = make(openai.OpenAI)
    with pytest.raises(TypeError, match="cannot pickle"):
        act(plain)
    with pytest.raises(TypeError, match="cannot pickle"):
        act(throttle.wrap(plain, limiter=Ledger()))


@pytest.mark.parametrize("first", ["plain", "wrapped"])
def test_either_client_may_be_garbage_collected_first(scene: Scene, first: str) -> None:
    scene.begin()
    clients = {"plain": openai.OpenAI(base_url=scene.base_url, api_key=KEY)}
    clients["wrapped"] = throttle.wrap(clients["plain"], limiter=Ledger())
    chat_of = {name: each.chat for name, each in clients.items()}  # resources hold their client
    gone = weakref.ref(clients.pop(first))
    del chat_of[first]
    gc.collect()
    assert gone() is None
    (other,) = clients.values()
    assert other.chat.completions.create(**CHAT).choices


def test_a_default_http_client_stays_open_while_either_lives(scene: Scene) -> None:
    scene.begin()
    wrapped = throttle.wrap(openai.OpenAI(base_url=scene.base_url, api_key=KEY), limiter=Ledger())
    gc.collect()
    assert wrapped.chat.completions.create(**CHAT).choices
    http = wrapped._client
    wrapped.close()
    assert http.is_closed


def test_closing_either_closes_both() -> None:
    plain = make(openai.OpenAI)
    wrapped = throttle.wrap(plain, limiter=Ledger())
    with wrapped as entered:
        assert entered is wrapped
    assert plain.is_closed()
    assert wrapped.is_closed()


def test_a_client_that_has_gone_leaves_no_limiter_behind() -> None:
    wrapped = throttle.wrap(make(openai.OpenAI), limits={"rpm": 10})
    gone = weakref.ref(throttle.limiter_of(wrapped))
    del wrapped
    gc.collect()
    assert gone() is None


def test_wrapping_again_replaces_the_limiter_and_charges_once(scene: Scene, client: Any) -> None:
    first, second = Ledger(), Ledger()
    wrapped = throttle.wrap(throttle.wrap(client, limiter=first), limiter=second)
    run("sync", lambda: chat(wrapped, scene))
    assert (first.charged, second.charged) == (0, 1)


def test_attributes_of_a_subclass_come_along() -> None:
    settings = {"api_key": KEY}
    wrapped = throttle.wrap(Configured(settings), limiter=Ledger())
    assert wrapped.settings is settings


@pytest.mark.parametrize(
    "kind", [openai.OpenAI, openai.AsyncOpenAI, openai.AzureOpenAI, openai.AsyncAzureOpenAI], ids=lambda k: k.__name__
)
def test_copies_stay_throttled_on_the_same_limiter(kind: Any) -> None:
    limiter = Ledger()
    wrapped = throttle.wrap(make(kind), limiter=limiter)
    for copied in (
        wrapped.copy(),
        wrapped.with_options(max_retries=7),
        wrapped.with_options(http_client=wrapped._client),
        wrapped.copy().with_options(timeout=3).copy(),
    ):
        assert type(copied) is kind
        assert throttle.limiter_of(copied) is limiter
        assert copied._client is wrapped._client


def test_a_copy_that_the_sdk_cannot_make_fails_as_it_does_there() -> None:
    plain = Configured({"api_key": KEY})
    with pytest.raises(TypeError) as theirs:
        plain.copy()
    with pytest.raises(TypeError) as ours:
        throttle.wrap(plain, limiter=Ledger()).copy()
    assert str(ours.value) == str(theirs.value)


def _patch_request(client: Any) -> None:
    client.request = lambda *args, **kwargs: None


def _patch_post(client: Any) -> None:
    client.post = client.post


def _patch_create(client: Any) -> None:
    client.chat.completions.create = lambda **kwargs: None


@pytest.mark.parametrize(
    ("patch", "what"),
    [(_patch_request, "request"), (_patch_post, "post"), (_patch_create, "chat.completions.create")],
)
def test_a_client_whose_methods_were_replaced_is_refused_for_they_would_be_lost_or_pass_us_by(
    patch: Any, what: str
) -> None:
    client = make(openai.OpenAI)
    patch(client)
    with pytest.raises(throttle.ThrottleError, match=rf"has a {what} of its own.*wrap the client first") as caught:
        throttle.wrap(client, limiter=Ledger())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("patch", [_patch_request, _patch_create])
def test_what_is_replaced_on_a_wrapped_client_holds(patch: Any) -> None:
    wrapped = throttle.wrap(make(openai.OpenAI), limiter=Ledger())
    patch(wrapped)
    assert wrapped.chat.completions.create(**CHAT) is None


def test_an_sdk_without_the_hooks_is_refused_in_one_line_that_names_its_version() -> None:
    class Older(openai.OpenAI):
        _prepare_request: Any = None
        _calculate_retry_timeout: Any = None

    with pytest.raises(throttle.ThrottleError) as caught:
        throttle.wrap(Older(api_key=KEY), limiter=Ledger())
    told = str(caught.value)
    assert told.startswith(f"openai {openai.__version__} has no _prepare_request, _calculate_retry_timeout on Older")
    assert "\n" not in told

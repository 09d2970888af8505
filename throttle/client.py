"""Wrap the client of the OpenAI SDK, so that every attempt waits for room before it is sent.

The wrapped client is a clone: an object of the same class, made without running `__init__`, that shares everything with
the client it was made of, the HTTP client included. Over the SDK's own hooks stand attributes of the instance:

=====================================  ==============================================================================
`request`                              brackets a call, over all attempts
`_prepare_options`                     is called for each attempt, before credentials are fetched and the body is
                                       built: here the attempt waits
`_prepare_request`                     the last hook before the attempt is handed to the HTTP client
`_process_response`                    an answer that is no error
`_should_retry`,                       an answer that is one; a last error passes the second only
`_make_status_error_from_response`
`_calculate_retry_timeout`             is called while the error is handled that an attempt ended with
`copy`, `with_options`                 give a client that is wrapped in turn
`__reduce_ex__`                        lets `copy.copy` do so, whose copy would else run the hooks of the original
=====================================  ==============================================================================

Nothing else is touched: no transport, so proxies, mounts and certificates stay as they are; no resource, so that
endpoints which do not exist yet are covered. Found in every SDK from 2.20 to 3.57, and looked for at `wrap`.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import openai
from openai import AsyncOpenAI, OpenAI

from throttle.account import Identity
from throttle.body import Body
from throttle.call import CURRENT, Binding, Call, adrive, drive, error_being_handled
from throttle.errors import ThrottleError
from throttle.limiter import Limiter, check_settings
from throttle.metering import Pacing
from throttle.retry import Retry
from throttle.routing import LimitsSource
from throttle.shared import OnStoreError

if TYPE_CHECKING:
    from throttle.stores.protocol import Store

__all__ = ["limiter_of", "wrap"]

Client = TypeVar("Client", bound=OpenAI | AsyncOpenAI)

DEFAULT_RETRY: Final = Retry()

BINDING: Final = "_throttle_binding"
"""The attribute of a wrapped client that ties it to its limiter."""

HOOKS: Final = (
    "request",
    "_prepare_options",
    "_prepare_request",
    "_process_response",
    "_should_retry",
    "_make_status_error_from_response",
    "_calculate_retry_timeout",
    "copy",
    "with_options",
)

_SHARED: weakref.WeakValueDictionary[str, Limiter] = weakref.WeakValueDictionary()
"""The limiter of each account in this process, by the account's hash: two clients of one account must share it."""

_SHARED_LOCK = threading.Lock()


def wrap(
    client: Client,
    *,
    limits: LimitsSource | None = None,
    tier: str | None = None,
    account: str | None = None,
    limiter: Limiter | None = None,
    store: str | Store | None = None,
    on_store_error: OnStoreError | None = None,
    pacing: Pacing = "auto",
    retry: Retry | Iterable[float] | None = DEFAULT_RETRY,
) -> Client:
    """Return a client of the same type whose calls wait until the account has room for them.

    The client passed in stays as it was; both share one HTTP client, so closing either closes it. Wrapping a wrapped
    client replaces its limiter. Clients of the same account (base URL, organization, project and key) share one limiter
    in a process.

    Args:
        client: `OpenAI`, `AsyncOpenAI`, `AzureOpenAI`, `AsyncAzureOpenAI` or a subclass.
        limits: as for `Limiter`.
        tier: as for `Limiter`.
        account: as for `Limiter`.
        limiter: the limiter to use, in place of the three above and the two below.
        store: as for `Limiter`: where levels live that other processes share.
        on_store_error: as for `Limiter`, `"local"` by default.
        pacing: as for `Limiter`; a limiter that is given keeps its own, and with `"auto"` so does one that the account
            has already.
        retry: when a call that the server refuses all the same (429) is sent again, as a `Retry` or a list of delays in
            seconds. With None we never send it again, and the SDK treats 429s as it always does.

    Raises:
        TypeError: not a client of the SDK, or `limiter` together with what it excludes.
        ValueError: `pacing` or `on_store_error` is none of its words.
        LimitsError: the limits can't be used.
        ThrottleError: the account has a limiter with other limits, another store or other settings already, the SDK
            lacks a hook, or methods of this one client were replaced.
        StoreError: `store` names no store, or what it needs isn't installed.
    """
    if not isinstance(client, OpenAI | AsyncOpenAI):
        raise TypeError(f"wrap takes a client of the OpenAI SDK (OpenAI, AsyncOpenAI, …), not {type(client).__name__}")
    if limiter is not None and any(given is not None for given in (limits, tier, account, store, on_store_error)):
        raise TypeError("wrap takes either limiter= or limits=, tier=, account=, store= and on_store_error=, not both")
    check_settings(pacing, on_store_error or "local")
    _look_for_hooks(type(client))
    _look_for_replacements(client)
    policy = Retry.of(retry)
    account_hash = _account_hash(client)
    if limiter is None:
        limiter = _shared_limiter(client, account_hash, limits, tier, account, store, on_store_error, pacing)
    return _clone(client, Binding(limiter, account_hash, account_hash, client.base_url.host, policy))


def limiter_of(client: OpenAI | AsyncOpenAI) -> Limiter:
    """Return the limiter behind a wrapped client.

    Raises:
        TypeError: the client is not wrapped.
    """
    binding = vars(client).get(BINDING)
    if not isinstance(binding, Binding):
        raise TypeError(f"this {type(client).__name__} is not wrapped: throttle.wrap(client) returns one that is")
    return binding.limiter


# ------------------------------------------------------------------------------------------------------------- accounts


def _shared_limiter(
    client: OpenAI | AsyncOpenAI,
    account_hash: str,
    limits: LimitsSource | None,
    tier: str | None,
    account: str | None,
    store: str | Store | None,
    on_store_error: OnStoreError | None,
    pacing: Pacing,
) -> Limiter:
    def make() -> Limiter:
        who, key = _identity(client)
        return Limiter(
            limits,
            tier=tier,
            account=account,
            pacing=pacing,
            store=store,
            on_store_error=on_store_error or "local",
            who=who,
            api_key=key,
        )

    with _SHARED_LOCK:
        there = _SHARED.get(account_hash)
        if there is None:
            there = _SHARED[account_hash] = make()
        elif any(given is not None for given in (limits, tier, account)):
            other = make()
            if not there.has_limits_of(other):
                raise ThrottleError(
                    f"this account has a limiter already, with tier {there.tier} of {there.source}, and can't have "
                    f"another with tier {other.tier} of {other.source}; pass limiter= to both, or the same limits"
                )
        for name, given, has in (
            ("store", store, there.store or "memory://"),
            ("on_store_error", on_store_error, there.on_store_error),
            ("pacing", None if pacing == "auto" else pacing, there.pacing),
        ):
            if given is not None and given != has:
                raise ThrottleError(
                    f"this account has a limiter already, with {name} {_shown(has)}, and can't have another with "
                    f"{name} {_shown(given)}; pass limiter= to both, or the same {name}"
                )
        return there


def _shown(setting: object) -> str:
    """Write a setting for people: the URL of a store without its password."""
    if not (isinstance(setting, str) and "://" in setting):
        return str(setting)
    from throttle.stores.opening import without_password

    return without_password(setting)


def _identity(client: OpenAI | AsyncOpenAI) -> tuple[Identity, str | None]:
    """Tell whom a client speaks as, and its key where it has one of its own."""
    who = Identity(str(client.base_url), client.organization, client.project)
    return who, vars(client).get("api_key") or None


def _account_hash(client: OpenAI | AsyncOpenAI) -> str:
    """Hash what makes an account: base URL, organization, project and key. A key that is a callable counts by its
    identity.
    """
    values = vars(client)
    provider = values.get("_api_key_provider") or values.get("_azure_ad_token_provider")
    identity = values.get("workload_identity")
    parts = (
        str(client.base_url),
        client.organization or "",
        client.project or "",
        values.get("api_key") or "",
        values.get("_azure_ad_token") or "",
        f"callable {id(provider)}" if provider is not None else "",
        f"identity {id(identity)}" if identity is not None else "",
    )
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------------------- clone


def _clone(client: Client, binding: Binding) -> Client:
    clone = _blank(type(client), binding)
    clone.__dict__.update(_state_of(client, clone))
    return clone


def _blank(kind: type[Client], binding: Binding) -> Client:
    """Make a client that has its hooks and nothing else yet."""
    clone = object.__new__(kind)
    state = clone.__dict__
    state[BINDING] = binding
    for name, hook in _hooks_of(kind).items():  # type: ignore[arg-type]  # a class is hashable
        state[name] = MethodType(hook, clone)
    return clone


def _state_of(client: Client, clone: Client | None) -> dict[str, Any]:
    """Give what a clone takes over: everything but hooks and resources. Those point at the original: a cached one is
    made anew when it is asked for, an eager one now, if there is the clone already.
    """
    kind, state = type(client), {}
    hooks: dict[str, Callable[..., Any]] = _hooks_of(kind)  # type: ignore[arg-type]
    for name, value in vars(client).items():
        if name in hooks or name == BINDING:
            continue
        if getattr(value, "_client", None) is client:
            if isinstance(getattr(kind, name, None), functools.cached_property):
                continue
            value = type(value)(clone or client)
        state[name] = value
    return state


def _rebound(client: Any, copy: Any) -> Any:
    """Wrap a copy that the SDK made of a wrapped client, on the same limiter."""
    binding: Binding = vars(client)[BINDING]
    account = _account_hash(copy)
    if account != binding.home:
        binding.limiter.know(account, *_identity(copy))
    return _clone(copy, replace(binding, account=account, host=copy.base_url.host))


def _look_for_hooks(kind: type) -> None:
    missing = [name for name in HOOKS if not callable(getattr(kind, name, None))]
    if missing:
        raise ThrottleError(
            f"openai {openai.__version__} has no {', '.join(missing)} on {kind.__name__}, which throttle needs; "
            "use a version that throttle was tested with (2.20 to 3)"
        )


def _look_for_replacements(client: Any) -> None:
    """Refuse a client whose methods were replaced on the object, as tracing does it: what replaces them calls the
    original client, past its clone, and what hangs on its resources is not taken over.
    """
    kind: Any = type(client)
    hooks = _hooks_of(kind).values()
    for name, value in vars(client).items():
        if getattr(value, "__func__", None) in hooks:
            continue
        found = name if _is_method(client, name) else _replaced(client, value)
        if found is not None:
            where = found if found == name else f"{name}.{found}"
            raise ThrottleError(
                f"this {type(client).__name__} has a {where} of its own, put there by a tracing library perhaps, which "
                "its wrapped clone can't take over; wrap the client first and trace what wrap returns"
            )


def _replaced(client: object, resource: object) -> str | None:
    """Find a method that was replaced on a resource or on one below it."""
    if getattr(resource, "_client", None) is not client:
        return None
    for name, value in vars(resource).items():
        if _is_method(resource, name):
            return name
        if (found := _replaced(client, value)) is not None:
            return f"{name}.{found}"
    return None


def _is_method(thing: object, name: str) -> bool:
    return inspect.isfunction(getattr(type(thing), name, None))


# ---------------------------------------------------------------------------------------------------------------- hooks


@functools.lru_cache(maxsize=256)
def _hooks_of(kind: Any) -> dict[str, Callable[..., Any]]:
    """Make the hooks for a class, once: functions that take the client and stand in for its own methods."""
    make = _async_hooks if issubclass(kind, AsyncOpenAI) else _sync_hooks
    hooks = {**make(kind), **_plain_hooks(kind)}
    return {name: functools.wraps(getattr(kind, name))(hook) for name, hook in hooks.items()}


def _call_of(client: object) -> Call | None:
    """Find the call that this client makes in this context. None where the hook is used outside of one, as websockets
    do.
    """
    call = CURRENT.get()
    return call if call is not None and call.client is client else None


def _begin(client: Any) -> tuple[Call, Any]:
    call = Call(client, vars(client)[BINDING])
    return call, CURRENT.set(call)


def _end(call: Call, token: Any) -> None:
    call.finish()
    try:
        CURRENT.reset(token)
    except ValueError:  # a coroutine that the garbage collector closes ends in a context of somebody else
        pass


def _attempt(call: Call, options: Any) -> Any:
    body = options.json_data
    if isinstance(body, dict) and isinstance(extra := getattr(options, "extra_json", None), dict):
        body = {**body, **extra}
    return call.attempt(options.url, options.method, body)


def _sync_hooks(kind: Any) -> dict[str, Callable[..., Any]]:
    sdk_request, sdk_prepare_options = kind.request, kind._prepare_options
    sdk_prepare_request, sdk_process_response = kind._prepare_request, kind._process_response

    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        call, token = _begin(self)
        body = Body(args[1] if len(args) > 1 else kwargs["options"])
        try:
            while True:
                try:
                    return call.delivered(sdk_request(self, *args, **kwargs))
                except BaseException as error:
                    if not call.tries_again(error) or not body.rewind():
                        raise
        finally:
            _end(call, token)

    def _prepare_options(self: Any, options: Any) -> Any:
        if (call := _call_of(self)) is not None:
            drive(_attempt(call, options))
        return sdk_prepare_options(self, options)

    def _prepare_request(self: Any, request: Any) -> Any:
        result = sdk_prepare_request(self, request)
        if (call := _call_of(self)) is not None:
            call.sending()
        return result

    def _process_response(self: Any, **kwargs: Any) -> Any:
        if (call := _call_of(self)) is not None:
            call.answered(kwargs["response"])
        return sdk_process_response(self, **kwargs)

    return {
        "request": request,
        "_prepare_options": _prepare_options,
        "_prepare_request": _prepare_request,
        "_process_response": _process_response,
    }


def _async_hooks(kind: Any) -> dict[str, Callable[..., Any]]:
    sdk_request, sdk_prepare_options = kind.request, kind._prepare_options
    sdk_prepare_request, sdk_process_response = kind._prepare_request, kind._process_response

    async def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        call, token = _begin(self)
        body = Body(args[1] if len(args) > 1 else kwargs["options"])
        try:
            while True:
                try:
                    return call.delivered(await sdk_request(self, *args, **kwargs))
                except BaseException as error:
                    if not call.tries_again(error) or not body.rewind():
                        raise
        finally:
            _end(call, token)

    async def _prepare_options(self: Any, options: Any) -> Any:
        if (call := _call_of(self)) is not None:
            await adrive(_attempt(call, options))
        return await sdk_prepare_options(self, options)

    async def _prepare_request(self: Any, request: Any) -> Any:
        result = await sdk_prepare_request(self, request)
        if (call := _call_of(self)) is not None:
            call.sending()
        return result

    async def _process_response(self: Any, **kwargs: Any) -> Any:
        if (call := _call_of(self)) is not None:
            call.answered(kwargs["response"])
        return await sdk_process_response(self, **kwargs)

    return {
        "request": request,
        "_prepare_options": _prepare_options,
        "_prepare_request": _prepare_request,
        "_process_response": _process_response,
    }


def _plain_hooks(kind: Any) -> dict[str, Callable[..., Any]]:
    """The hooks that are plain functions in sync and async clients alike."""
    sdk_should_retry, sdk_retry_timeout = kind._should_retry, kind._calculate_retry_timeout
    sdk_status_error, sdk_copy = kind._make_status_error_from_response, kind.copy

    def _should_retry(self: Any, response: Any) -> Any:
        if (call := _call_of(self)) is not None:
            if response.status_code != 429:
                call.answered(response)
            elif call.retries_refusals:
                return False
            else:
                call.refused(response)
        return sdk_should_retry(self, response)

    def _make_status_error_from_response(self: Any, response: Any) -> Any:
        if (call := _call_of(self)) is not None:
            if response.status_code == 429:
                call.refused(response)
            else:
                call.answered(response)
        return sdk_status_error(self, response)

    def _calculate_retry_timeout(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (call := _call_of(self)) is not None:
            call.failed(error_being_handled())
        return sdk_retry_timeout(self, *args, **kwargs)

    def copy(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _rebound(self, sdk_copy(self, *args, **kwargs))

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        return _blank, (kind, vars(self)[BINDING]), _state_of(self, None)

    return {
        "_should_retry": _should_retry,
        "_make_status_error_from_response": _make_status_error_from_response,
        "_calculate_retry_timeout": _calculate_retry_timeout,
        "copy": copy,
        "with_options": copy,
        "__reduce_ex__": __reduce_ex__,
    }

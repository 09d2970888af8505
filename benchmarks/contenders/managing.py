"""Libraries made for calls of language models: they reserve, refund, read headers, or run the calls themselves."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from openai import RateLimitError

from benchmarks.contenders.contract import Body, Call, Job, client_for
from benchmarks.contenders.counting import tokens_of
from throttle.costs.vocabulary import encoding_for

__all__ = ["adaptive", "backstop", "batch", "infermesh", "token_throttle"]

RETRIES = 10


@asynccontextmanager
async def token_throttle(job: Job) -> AsyncIterator[Call]:
    """Reserve by its own counter, refund by the answer's usage, as its page shows."""
    library: Any = import_module("token_throttle")
    counter = library.OpenAIUsageCounter(get_encoding_func=encoding_for)
    quotas = library.UsageQuotas(
        [
            library.Quota(metric="requests", limit=job.rpm, per_seconds=60),
            library.Quota(metric="tokens", limit=job.tpm, per_seconds=60),
        ]
    )
    limiter = library.RateLimiter(
        library.PerModelConfig(quotas=quotas, usage_counter=counter), backend=library.MemoryBackendBuilder()
    )
    async with client_for(job, retries=RETRIES) as client:

        async def call(body: Body) -> object:
            reservation = await limiter.acquire_capacity_for_request(**body)
            try:
                answer = await client.chat.completions.create(**body)
            except Exception:
                await limiter.refund_capacity(reservation=reservation, actual_usage={"requests": 1, "tokens": 0})
                raise
            await limiter.refund_capacity_from_response(reservation, answer)
            return answer

        try:
            yield call
        finally:
            await limiter.aclose()


@asynccontextmanager
async def infermesh(job: Job) -> AsyncIterator[Call]:
    """Its client, on litellm, with both limits; it follows the headers."""
    library: Any = import_module("infermesh")
    client = library.LMClient(
        model="openai/gpt-4o-mini",
        api_base=job.base_url,
        api_key="benchmark",
        rpm=job.rpm,
        tpm=job.tpm,
        max_parallel_requests=job.workers,
        max_retries=RETRIES,
    )

    async def call(body: Body) -> object:
        rest = {name: value for name, value in body.items() if name not in ("model", "messages")}
        return await client.agenerate(body["messages"], **rest)

    try:
        yield call
    finally:
        client.close()


@asynccontextmanager
async def adaptive(job: Job) -> AsyncIterator[Call]:
    """Its intelligent mode, with a provider that tells the limits and reads OpenAI's headers."""
    library: Any = import_module("adaptive_rate_limiter")
    scheduling: Any = import_module("adaptive_rate_limiter.scheduler")

    class Server:
        base_url = job.base_url
        timeout = 120.0

        def get_headers(self) -> dict[str, str]:
            return {}

    class Provider(library.ProviderInterface):  # type: ignore[misc]
        @property
        def name(self) -> str:
            return "openai"

        async def discover_limits(self, force_refresh: bool = False, timeout: float = 30.0) -> dict[str, Any]:
            bucket = library.DiscoveredBucket(bucket_id="default", rpm_limit=job.rpm, tpm_limit=job.tpm)
            return {"default": bucket}

        def parse_rate_limit_response(
            self, headers: dict[str, str], body: dict[str, Any] | None = None, status_code: int | None = None
        ) -> Any:
            def number(name: str) -> int | None:
                told = headers.get(f"x-ratelimit-{name}")
                return None if told is None else int(float(told))

            return library.RateLimitInfo(
                rpm_remaining=number("remaining-requests"),
                rpm_limit=number("limit-requests"),
                tpm_remaining=number("remaining-tokens"),
                tpm_limit=number("limit-tokens"),
                is_rate_limited=status_code == 429,
            )

        async def get_bucket_for_model(self, model_id: str, resource_type: str | None = None) -> str:
            return "default"

    class Classifier:
        async def classify(self, request: Any) -> Any:
            return library.RequestMetadata(
                request_id="",
                model_id=request["model"],
                resource_type=library.TEXT,
                estimated_tokens=tokens_of(request),
            )

    config = scheduling.RateLimiterConfig(
        max_concurrent_executions=job.workers,
        max_queue_size=10_000,
        rate_limit_buffer_ratio=1.0,
        request_timeout=3600.0,
        metrics_enabled=False,
    )
    provider, states = Provider(), import_module("adaptive_rate_limiter.scheduler.state")
    backend = import_module("adaptive_rate_limiter.backends").MemoryBackend()
    scheduler = scheduling.create_scheduler(
        client=Server(),
        mode="intelligent",
        config=config,
        provider=provider,
        classifier=Classifier(),
        state_manager=states.StateManager(backend=backend, provider=provider),
    )
    numbers = itertools.count()
    async with client_for(job, retries=RETRIES) as client, scheduler:

        async def call(body: Body) -> object:
            asked = library.RequestMetadata(
                request_id=f"call-{next(numbers)}",
                model_id=body["model"],
                resource_type=library.TEXT,
                estimated_tokens=tokens_of(body),
            )
            result = await scheduler.submit_request(
                metadata=asked,
                request_func=lambda: client.chat.completions.with_raw_response.create(**body),
            )
            return await result.request.future

        yield call


@asynccontextmanager
async def batch(job: Job) -> AsyncIterator[Call]:
    """Its shared pool over our own client, with both limits; the cooldown after a 429 is a second in place of five
    minutes.
    """
    library: Any = import_module("async_batch_llm")
    estimation: Any = import_module("async_batch_llm.token_estimation")
    core: Any = import_module("async_batch_llm.core")

    def estimate(prompt: str, *, strategy: Any, attempt: int, state: Any) -> Any:
        body = json.loads(prompt)
        output = int(body.get("max_tokens", 0))
        return estimation.TokenEstimate(tokens_of(body) - output, output)

    async with client_for(job, retries=0) as client:

        async def invoke(prompt: str, *, attempt: int, timeout: float | None, state: Any) -> Any:
            answer = await client.chat.completions.create(**json.loads(prompt))
            usage = answer.usage
            return library.CallOutcome(
                answer.choices[0].message.content or "",
                token_usage={
                    "input_tokens": usage.prompt_tokens,
                    "output_tokens": usage.completion_tokens,
                    "total_tokens": usage.total_tokens,
                },
            )

        strategy = library.CallableStrategy(
            invoke, identity=library.ArtifactIdentity(provider="openai", model="gpt-4o-mini")
        )
        config = library.ProcessorConfig(
            concurrency=job.workers,
            max_requests_per_minute=job.rpm,
            max_tokens_per_minute=job.tpm,
            token_estimator=estimate,
            quota_burst_seconds=1.0,
            attempt_timeout=120.0,
            rate_limit=core.RateLimitConfig(cooldown_seconds=1.0, slow_start_items=0),
        )
        async with library.LLMCallPool(strategy, config=config, error_classifier=_Refusals.of(library)) as pool:
            yield lambda body: pool.submit(json.dumps(body))


class _Refusals:
    """Tells `async-batch-llm` which errors are refusals, as its guide for callers with clients of their own asks."""

    @staticmethod
    def of(library: Any) -> Any:
        try:
            return import_module("async_batch_llm.classifiers.openai").OpenAIErrorClassifier()
        except (ImportError, AttributeError):

            class Classifier(library.ErrorClassifier):  # type: ignore[misc]
                def classify(self, exception: Exception) -> Any:
                    limited = isinstance(exception, RateLimitError)
                    return library.ErrorInfo(
                        is_retryable=True, is_rate_limit=limited, is_timeout=False, error_category="openai"
                    )

            return Classifier()


@asynccontextmanager
async def backstop(job: Job) -> AsyncIterator[Call]:
    """Its wrap, with an ample budget: at most 64 at once, fewer as the headers say; the circuit stays closed."""
    library: Any = import_module("backstop")
    config = library.BackstopConfig(
        initial_concurrency=32,
        max_concurrency=min(64, job.workers),
        retry_max_attempts=RETRIES,
        retry_max_delay=8.0,
        circuit_failure_threshold=1.0,
        circuit_min_requests=100_000,
        quota_aware=True,
    )
    client = library.Backstop.wrap(client_for(job, retries=0), budget=10**12, config=config)
    try:
        yield lambda body: client.chat.completions.create(**body)
    finally:
        await client.close()

"""Texts with which servers refused, as people met them, and what each is to be taken for.

`python -m tests.feedback.refusal_texts` prints them as the table in docs/refusals.md. Names of organizations were
replaced.
"""

# ruff: noqa: E501 (texts stand as they were met)
from __future__ import annotations

import json
from dataclasses import dataclass, field

from throttle.feedback.refusals import read_refusal

MINUTE, DAY, MONTH = 60.0, 86_400.0, 2_592_000.0
WALL_S = 1_754_667_600.0


@dataclass(frozen=True)
class Case:
    """One refusal. `expected` names what must be read; what it leaves out must be None, False or "organization"."""

    name: str
    source: str
    status: int
    body: str
    expected: dict[str, object]
    headers: dict[str, str] = field(default_factory=dict)


def body(message: str, type_: str | None = None, code: str | int | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": type_, "param": None, "code": code}})


def tokens(message: str) -> str:
    return body(message, "tokens", "rate_limit_exceeded")


def requests(message: str) -> str:
    return body(message, "requests", "rate_limit_exceeded")


MORE = " Visit https://platform.openai.com/account/rate-limits to learn more."
HELP = " Contact us through our help center at help.openai.com if you continue to have issues."
OLD = " Contact support@openai.com if you continue to have issues."
GROQ = " Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing"
AZURE = (
    " Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."
)


def rate(unit: str | None, wait_s: float | None, **more: object) -> dict[str, object]:
    return {"kind": "rate", "retry": True, "unit": unit, "wait_s": wait_s, **more}


def exact(
    unit: str, pool: str, limit: float, used: float, requested: float, wait_s: float, window_s: float = MINUTE
) -> dict[str, object]:
    told = {"pool": pool, "limit": limit, "used": used, "requested": requested, "window_s": window_s, "exact": True}
    return rate(unit, wait_s, **told)


def never(kind: str, **more: object) -> dict[str, object]:
    return {"kind": kind, "retry": False, **more}


CASES = [
    Case(
        "tokens a minute",
        "FoundationAgents/MetaGPT#523",
        429,
        tokens(
            "Rate limit reached for gpt-4 in organization org-x on tokens per min (TPM): Limit 10000, Used 8554, "
            "Requested 3082. Please try again in 9.816s." + MORE
        ),
        exact("tokens", "gpt-4", 10_000, 8554, 3082, 9.816),
    ),
    Case(
        "tokens a minute, vision",
        "abi/screenshot-to-code#76",
        429,
        tokens(
            "Rate limit reached for gpt-4-vision-preview in organization org-x on tokens per min (TPM): Limit 10000, "
            "Used 6701, Requested 4497. Please try again in 7.188s." + MORE
        ),
        exact("tokens", "gpt-4-vision-preview", 10_000, 6701, 4497, 7.188),
    ),
    Case(
        "tokens a minute, soon",
        "continuedev/continue#11472",
        429,
        tokens(
            "Rate limit reached for gpt-4.1 in organization org-x on tokens per min (TPM): Limit 30000, Used 18928, "
            "Requested 11159. Please try again in 174ms." + MORE
        ),
        exact("tokens", "gpt-4.1", 30_000, 18_928, 11_159, 0.174),
    ),
    Case(
        "tokens a minute, seconds with a fraction",
        "continuedev/continue#10502",
        429,
        tokens(
            "Rate limit reached for gpt-4.1 in organization org-x on tokens per min (TPM): Limit 30000, Used 28039, "
            "Requested 3906. Please try again in 3.89s." + MORE
        ),
        exact("tokens", "gpt-4.1", 30_000, 28_039, 3906, 3.89),
    ),
    Case(
        "tokens a minute, large call",
        "semanser/codel#72",
        429,
        tokens(
            "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 14567, "
            "Requested 24754. Please try again in 18.642s." + MORE
        ),
        exact("tokens", "gpt-4o", 30_000, 14_567, 24_754, 18.642),
    ),
    Case(
        "tokens a minute, milliseconds",
        "BuilderIO/micro-agent#86",
        429,
        tokens(
            "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29937, "
            "Requested 385. Please try again in 644ms."
        ),
        exact("tokens", "gpt-4o", 30_000, 29_937, 385, 0.644),
    ),
    Case(
        "tokens a minute, cut to the millisecond",
        "pixeltable/pixeltable#704",
        429,
        tokens(
            "Rate limit reached for gpt-4o-mini in organization org-x on tokens per min (TPM): Limit 200000, Used 200000, "
            "Requested 775. Please try again in 232ms." + MORE
        ),
        exact("tokens", "gpt-4o-mini", 200_000, 200_000, 775, 0.232),
    ),
    Case(
        "tokens a minute, a later snapshot",
        "jekalmin/extended_openai_conversation#147",
        429,
        tokens(
            "Rate limit reached for gpt-3.5-turbo-0125 in organization org-x on tokens per min (TPM): Limit 40000, "
            "Used 39485, Requested 787. Please try again in 408ms." + MORE
        ),
        exact("tokens", "gpt-3.5-turbo-0125", 40_000, 39_485, 787, 0.408),
    ),
    Case(
        "tokens a minute, inside a stream that began with 200",
        "pomerium/mcp-app-demo#156",
        200,
        json.dumps(
            {
                "type": "response.failed",
                "response": {
                    "status": "failed",
                    "error": {
                        "code": "rate_limit_exceeded",
                        "message": "Rate limit reached for o3-deep-research in organization org-x on tokens per min (TPM): "
                        "Limit 450000, Used 379102, Requested 89741. Please try again in 2.512s." + MORE,
                    },
                },
            }
        ),
        exact("tokens", "o3-deep-research", 450_000, 379_102, 89_741, 2.512),
    ),
    Case(
        "requests a minute",
        "user code of mastra, chunking by gpt-4o, 2025-03-22",
        429,
        requests(
            "Rate limit reached for gpt-4o in organization org-x on requests per min (RPM): Limit 500, Used 500, "
            "Requested 1. Please try again in 120ms."
        ),
        exact("requests", "gpt-4o", 500, 500, 1, 0.120),
    ),
    Case(
        "requests a minute, with the link to billing",
        "OpenAI's text for accounts without a payment method",
        429,
        requests(
            "Rate limit reached for gpt-4o-mini in organization org-x on requests per min (RPM): Limit 3, Used 3, "
            "Requested 1. Please try again in 20s. You can increase your rate limit by adding a payment method to your "
            "account at https://platform.openai.com/account/billing."
        ),
        exact("requests", "gpt-4o-mini", 3, 3, 1, 20.0),
    ),
    Case(
        "requests a day",
        "feder-cr/invisible_playwright_mcp#109",
        429,
        requests(
            "Rate limit reached for gpt-4o-mini in organization org-x on requests per day (RPD): Limit 200, Used 200, "
            "Requested 1. Please try again in 7m12s." + MORE
        ),
        exact("requests", "gpt-4o-mini", 200, 200, 1, 432.0, DAY),
    ),
    Case(
        "tokens of a free account: thirty days, whatever the text says",
        "community.openai.com/t/1066011",
        429,
        tokens(
            "Rate limit reached for gpt-4o-mini in organization org-x on tokens per min (TPM): Limit 100000, Used 99918, "
            "Requested 2094. Please try again in 14h29m11.04s." + MORE
        ),
        exact("tokens", "gpt-4o-mini", 100_000, 99_918, 2094, 52_151.04, MONTH),
    ),
    Case(
        "Groq, tokens a day",
        "continuedev/continue#10920",
        429,
        tokens(
            "Rate limit reached for model `llama-3.3-70b-versatile` in organization `org_x` service tier `on_demand` on "
            "tokens per day (TPD): Limit 100000, Used 97050, Requested 3619. Please try again in 9m38.016s." + GROQ
        ),
        exact("tokens", "llama-3.3-70b-versatile", 100_000, 97_050, 3619, 578.016, DAY),
    ),
    Case(
        "Groq, tokens a minute, nanoseconds printed",
        "ago19800/HomeMind#29",
        429,
        tokens(
            "Rate limit reached for model `llama-3.3-70b-versatile` in organization `org_x` service tier `on_demand` on "
            "tokens per minute (TPM): Limit 12000, Used 2542, Requested 9855. Please try again in 1.984999999s." + GROQ
        ),
        exact("tokens", "llama-3.3-70b-versatile", 12_000, 2542, 9855, 1.984999999),
    ),
    Case(
        "Groq, tokens a minute",
        "openinterpreter/openinterpreter#408",
        429,
        tokens(
            "Rate limit reached for model `llama-3.3-70b-versatile` in organization `org_x` on tokens per minute (TPM): "
            "Limit 6000, Used 3513, Requested 3166. Please try again in 6.780999999s. Visit "
            "https://console.groq.com/docs/rate-limits for more information."
        ),
        exact("tokens", "llama-3.3-70b-versatile", 6000, 3513, 3166, 6.780999999),
    ),
    Case(
        "Groq, tokens a minute, small model",
        "elizaOS/eliza#4040",
        429,
        tokens(
            "Rate limit reached for model `llama-3.1-8b-instant` in organization `org_x` service tier `on_demand` on tokens "
            "per minute (TPM): Limit 6000, Used 5034, Requested 1443. Please try again in 4.77s." + GROQ
        ),
        exact("tokens", "llama-3.1-8b-instant", 6000, 5034, 1443, 4.77),
    ),
    Case(
        "Groq, larger than the bucket though it says to come back",
        "danielmiessler/Fabric#364",
        429,
        tokens(
            "Rate limit reached for model `llama3-70b-8192` in organization `org_x` on tokens per minute (TPM): Limit 7000, "
            "Used 0, Requested ~12903. Please try again in 50.597142857s. Visit https://console.groq.com/docs/rate-limits "
            "for more information."
        ),
        never(
            "too-large",
            unit="tokens",
            pool="llama3-70b-8192",
            limit=7000,
            used=0,
            requested=12_903,
            window_s=MINUTE,
        ),
    ),
    Case(
        "Groq, larger than the bucket",
        "HunorLaczko/ha-groq-cloud-api#27",
        413,
        tokens(
            "Request too large for model llama-3.1-8b-instant in organization org_x service tier on_demand on tokens per "
            "minute (TPM): Limit 6000, Requested 12328, please reduce your message size and try again." + GROQ
        ),
        never("too-large", unit="tokens", pool="llama-3.1-8b-instant", limit=6000, requested=12_328, window_s=MINUTE),
    ),
    Case(
        "larger than the bucket, in a pool of another name",
        "continuedev/continue#11717",
        429,
        tokens(
            "Request too large for gpt-4.1-2025-04-14 (for limit gpt-4.1) in organization org-x on tokens per min (TPM): "
            "Limit 30000, Requested 37313. The input or output tokens must be reduced in order to run successfully."
            + MORE
        ),
        never("too-large", unit="tokens", pool="gpt-4.1", limit=30_000, requested=37_313, window_s=MINUTE),
    ),
    Case(
        "larger than the bucket",
        "TheR1D/shell_gpt#653",
        429,
        tokens(
            "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 31538. The "
            "input or output tokens must be reduced in order to run successfully." + MORE
        ),
        never("too-large", unit="tokens", pool="gpt-4o", limit=30_000, requested=31_538, window_s=MINUTE),
    ),
    Case(
        "larger than the bucket, the earlier form",
        "vanna-ai/vanna-flask#11",
        429,
        tokens(
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389. The input or output "
            "tokens must be reduced in order to run successfully."
        ),
        never("too-large", unit="tokens", pool="gpt-4o", limit=30_000, requested=342_389, window_s=MINUTE),
    ),
    Case(
        "the oldest form, tokens",
        "a public log of code-davinci-002, 2022",
        429,
        body(
            "Rate limit reached for default-code-davinci-002 in organization org-x on tokens per min. Limit: 40000.000000 / "
            "min. Current: 40960.000000 / min." + OLD,
            "tokens",
        ),
        rate("tokens", 1.44, pool="default-code-davinci-002", limit=40_000, window_s=MINUTE),
    ),
    Case(
        "the oldest form, no pool",
        "stanford-crfm/helm#97",
        429,
        body(
            "Rate limit reached for tokens. Limit: 150000.000000 / min. Current: 176000.000000 / min." + OLD, "tokens"
        ),
        rate("tokens", 10.4, limit=150_000, window_s=MINUTE),
    ),
    Case(
        "the oldest form, requests",
        "mukulpatnaik/researchgpt#22",
        429,
        body(
            "Rate limit reached for default-global-with-image-limits in organization org-x on requests per min. Limit: "
            "60.000000 / min. Current: 100.000000 / min." + OLD,
            "requests",
        ),
        rate("requests", 40.0, pool="default-global-with-image-limits", limit=60, window_s=MINUTE),
    ),
    Case(
        "2023, requests",
        "hwchase17/notion-qa#19",
        429,
        body(
            "Rate limit reached for default-global-with-image-limits in organization org-x on requests per min. Limit: 60 / "
            "min. Please try again in 1s." + HELP,
            "requests",
        ),
        rate("requests", 1.0, pool="default-global-with-image-limits", limit=60, window_s=MINUTE),
    ),
    Case(
        "2023, three requests a minute",
        "datawhalechina/llm-cookbook#8",
        429,
        body(
            "Rate limit reached for default-gpt-3.5-turbo in organization org-x on requests per min. Limit: 3 / min. Please "
            "try again in 20s." + HELP,
            "requests",
        ),
        rate("requests", 20.0, pool="default-gpt-3.5-turbo", limit=3, window_s=MINUTE),
    ),
    Case(
        "2023, tokens, a pool named by its size",
        "daveshap/Medical_Intake#9",
        429,
        body(
            "Rate limit reached for 10KTPM-200RPM in organization org-x on tokens per min. Limit: 10000 / min. Please try "
            "again in 6ms." + HELP,
            "tokens",
        ),
        rate("tokens", 0.006, pool="10KTPM-200RPM", limit=10_000, window_s=MINUTE),
    ),
    Case(
        "images a minute: when, by the header",
        "superduper-io/superduper, recorded 2023-11-11",
        429,
        requests(
            "Rate limit exceeded for images per minute in organization org-x. Limit: 5/1min. Current: 6/1min. Please visit "
            "https://help.openai.com/en/articles/6696591 to learn how to increase your rate limit."
        ),
        rate("images", 5.0, limit=5, window_s=MINUTE),
        {"x-ratelimit-limit-images": "5", "x-ratelimit-remaining-images": "0", "x-ratelimit-reset-images": "5"},
    ),
    Case(
        "images a minute, a limit of zero",
        "chatboxai/chatbox#1361",
        429,
        requests(
            "Rate limit exceeded for images per minute in organization org-x. Limit: 0/1min. Current: 1/1min. Please visit "
            "https://help.openai.com/en/articles/6696591 to learn how to increase your rate limit."
        ),
        never("no-access", unit="images", limit=0),
    ),
    Case(
        "a rate of nobody knows what",
        "receptron/mulmocast-cli#477",
        429,
        body("You've exceeded the rate limit, please slow down and try again after 51.84 seconds."),
        rate(None, 51.84),
    ),
    Case(
        "no quota",
        "Pythagora-io/gpt-pilot#340",
        429,
        body(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        never("quota"),
    ),
    Case(
        "no quota, early 2023, without a code",
        "ayaka14732/ChatGPTAPIFree#16",
        429,
        body(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
        ),
        never("quota"),
    ),
    Case(
        "a spending limit, sent as 400",
        "Decryptu/DecryptGPT#1",
        400,
        body("Billing hard limit has been reached", "invalid_request_error", "billing_hard_limit_reached"),
        never("quota"),
    ),
    Case(
        "Azure, tokens",
        "microsoft/sample-app-aoai-chatGPT#406",
        429,
        body(
            "Requests to the Creates a completion for the chat message Operation under Azure OpenAI API version "
            "2023-03-15-preview have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 9 "
            "seconds." + AZURE,
            code="429",
        ),
        rate("tokens", 9.0),
    ),
    Case(
        "Azure, calls",
        "langchain-ai/langchain#12986",
        429,
        body(
            "Requests to the Embeddings_Create Operation under Azure OpenAI API version 2023-07-01-preview have exceeded "
            "call rate limit of your current OpenAI S0 pricing tier. Please retry after 2 seconds." + AZURE,
            code="429",
        ),
        rate("requests", 2.0),
    ),
    Case(
        "Azure, a day for a limit by the minute",
        "alex-wolf-ps/dbchatprov2#2",
        429,
        body(
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-05-01-preview have "
            "exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 86400 seconds."
            + AZURE,
            code="429",
        ),
        rate("tokens", 60.0, probe=True),
    ),
    Case(
        "Azure behind a proxy that quotes it",
        "jasonacox/TinyLLM#17",
        429,
        body(
            "litellm.RateLimitError: AzureException RateLimitError - Error code: 429 - {'error': {'code': '429', 'message': "
            "'Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2023-05-15 have exceeded "
            "token rate limit of your current AIServices S0 pricing tier. Please retry after 86400 seconds. Please contact "
            "Azure support service if you would like to further increase the default rate limit.'}}",
            "throttling_error",
            "429",
        ),
        rate("tokens", 60.0, probe=True),
    ),
    Case(
        "Azure, newer words",
        "dyad-sh/dyad#1849",
        429,
        body(
            "Your requests to gpt-5.1 for gpt-5.1 in East US 2 have exceeded the token rate limit for your current "
            "AIServices S0 pricing tier. This request was for ChatCompletions_Create under Azure OpenAI API version "
            "2025-03-01-preview. Please retry after 60 seconds."
        ),
        rate("tokens", 60.0, pool="gpt-5.1"),
    ),
    Case(
        "Azure, two headers that disagree",
        "crmne/ruby_llm, recorded 2026-08-19",
        429,
        body(
            "Your requests to grok-4-1-fast-non-reasoning for grok-4-1-fast-non-reasoning in westeurope have exceeded rate "
            "limit.",
            code="RateLimitReached",
        ),
        rate(None, 1.0, pool="grok-4-1-fast-non-reasoning"),
        {"retry-after": "1", "retry-after-ms": "0"},
    ),
    Case(
        "Azure, its own load",
        "pollinations/pollinations#6260",
        429,
        body(
            "The system is currently experiencing high demand and cannot process your request. Your request exceeds the "
            "maximum usage size allowed during peak load. Please retry after 20 seconds. For improved latency reliability, "
            "consider switching to Provisioned Throughput.",
            code="429",
        ),
        {"kind": "overloaded", "retry": True, "wait_s": 20.0},
    ),
    Case(
        "Azure, gateway",
        "Azure-Samples/azure-search-openai-demo#177",
        429,
        json.dumps({"statusCode": 429, "message": "Rate limit is exceeded. Try again in 30 seconds."}),
        rate(None, 30.0),
    ),
    Case(
        "a model overloaded",
        "ikechan8370/chatgpt-plugin#125",
        503,
        body(
            "That model is currently overloaded with other requests. You can retry your request, or contact us through our "
            "help center at help.openai.com if the error persists.",
            "server_error",
        ),
        {"kind": "overloaded", "retry": True},
    ),
    Case(
        "an engine overloaded, sent as 429",
        "666ghj/BettaFish#292",
        429,
        body("The engine is currently overloaded, please try again later", "engine_overloaded_error"),
        {"kind": "overloaded", "retry": True},
    ),
    Case(
        "slow down, a bare string",
        "waylaidwanderer/node-chatgpt-api#506",
        429,
        json.dumps({"error": "slow down"}),
        {"kind": "overloaded", "retry": True},
    ),
    Case(
        "growing too fast",
        "agentscope-ai/DojoZero#45",
        429,
        body(
            "Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale "
            "requests more smoothly over time."
        ),
        {"kind": "overloaded", "retry": True},
    ),
    Case(
        "no JSON at all",
        "vicentereig/dspy.rb, recorded 2025-10-13",
        503,
        "upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
        {"kind": "overloaded", "retry": True},
    ),
    Case(
        "a server's fault",
        "alexrudall/ruby-openai, recorded 2024-10-15",
        500,
        body(
            "The server had an error processing your request. Sorry about that! You can retry your request, or contact us "
            "through our help center at help.openai.com if you keep seeing this error.",
            "server_error",
        ),
        {"kind": "server", "retry": True},
    ),
    Case(
        "Anthropic overloaded",
        "anthropics/claude-code#35792",
        529,
        json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        {"kind": "overloaded", "retry": True},
    ),
    Case(
        "Anthropic, rate",
        "anthropics/claude-code#5769",
        429,
        json.dumps(
            {
                "type": "error",
                "error": {
                    "type": "rate_limit_error",
                    "message": "This request would exceed your account's rate limit. Please try again later.",
                },
            }
        ),
        rate(None, 12.0),
        {"retry-after": "12"},
    ),
    Case(
        "Mistral, rate",
        "raycast/extensions#31107",
        429,
        json.dumps(
            {
                "object": "error",
                "message": "Rate limit exceeded",
                "type": "rate_limited",
                "param": None,
                "code": "1300",
                "raw_status_code": 429,
            }
        ),
        rate(None, None),
    ),
    Case(
        "Mistral, its own load",
        "continuedev/continue#6185",
        429,
        json.dumps(
            {
                "object": "error",
                "message": "Service tier capacity exceeded for this model.",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        ),
        {"kind": "overloaded", "retry": True},
    ),
    Case(
        "Cerebras",
        "anomalyco/opencode#7463",
        429,
        json.dumps(
            {
                "message": "Tokens per minute limit exceeded - too many tokens processed.",
                "type": "too_many_tokens_error",
                "param": "quota",
                "code": "token_quota_exceeded",
            }
        ),
        rate("tokens", None, window_s=MINUTE),
    ),
    Case(
        "OpenRouter, a model's free minute",
        "tmc/langchaingo, recorded 2025-08-08",
        429,
        body(
            "Rate limit exceeded: limit_rpm/meta-llama/llama-3.2-3b-instruct/e8440b11-29fb-4887-a222-eff9ba33dfbf. High "
            "demand for meta-llama/llama-3.2-3b-instruct:free on OpenRouter - limited to 1 requests per minute. Please "
            "retry shortly.",
            code=429,
        ),
        rate("requests", 60.0, limit=1, window_s=MINUTE),
        {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1754667660000"},
    ),
    Case(
        "OpenRouter, a free day",
        "Gitlawb/openclaude#936",
        429,
        body(
            "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
            code=429,
        ),
        rate("requests", 3600.0, window_s=DAY),
        {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1754671200000"},
    ),
    Case(
        "LiteLLM, which of three was crossed",
        "BerriAI/litellm#13898",
        429,
        body(
            "LiteLLM Rate Limit Handler for rate limit type = team. Crossed TPM / RPM / Max Parallel Request Limit. current "
            "rpm: 1, rpm limit: 15, current tpm: 12260, tpm limit: 5000, current max_parallel_requests: 0, "
            "max_parallel_requests: 9223372036854775807",
            code="429",
        ),
        rate("tokens", 87.12, limit=5000, window_s=MINUTE),
    ),
    Case(
        "a batch queue that is full",
        "openai/openai-python#2084",
        200,
        body(
            "Enqueued token limit reached for gpt-4o-mini in organization org-x. Limit: 2,000,000 enqueued tokens. Please "
            "try again once some in_progress batches have been completed.",
            code="token_limit_exceeded",
        ),
        never("batch"),
    ),
]


def table() -> str:
    """The texts as Markdown: what was said, and what it was taken for."""
    lines = ["| text | from | taken for | come back |", "| --- | --- | --- | --- |"]
    for case in CASES:
        r = read_refusal(case.status, case.headers, case.body, wall_s=WALL_S)
        meter = " ".join(str(part) for part in (r.unit, f"of `{r.pool}`" if r.pool else "") if part)
        numbers = ", ".join(f"{n} {v:g}" for n in ("limit", "used", "requested") if (v := getattr(r, n)) is not None)
        taken = "; ".join(part for part in (f"**{r.kind}**", meter, numbers) if part)
        when = (
            "never"
            if not r.retry
            else "unsaid"
            if r.wait_s is None
            else f"{r.wait_s:g} s{', exact' if r.exact else ''}"
        )
        lines.append(
            f"| {case.status}: {case.name} | {case.source} | {taken} | {when}{', probing' if r.probe else ''} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())

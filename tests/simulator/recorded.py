"""What real servers answered: a selection of figures from recordings that public repositories keep for their tests.

Each line names the repository (or the public issue that quotes the text) and the day.
"""

from __future__ import annotations

ELASTIC = "elastic/elastic-otel-python-instrumentations"

MINUTE_S, DAY_S, THIRTY_DAYS_S = 60, 86_400, 2_592_000

HEADERS = [
    # meter, limit, remaining, reset, window in seconds, repository, day
    ("requests", 50, 49, "1.2s", MINUTE_S, "alexrudall/ruby-openai", "2023-11-14"),
    ("requests", 500, 499, "120ms", MINUTE_S, "Arize-ai/openinference", "2024-08-05"),
    ("requests", 1000, 999, "60ms", MINUTE_S, "activeagents/activeagent", "2025-10-26"),
    ("requests", 3000, 2999, "20ms", MINUTE_S, "DataDog/dd-trace-py", "2023-10-23"),
    ("requests", 5000, 4999, "12ms", MINUTE_S, "traceloop/openllmetry", "2024-02-27"),
    ("requests", 10_000, 9999, "6ms", MINUTE_S, "DataDog/dd-trace-py", "2024-06-28"),
    ("requests", 12_000, 11_999, "5ms", MINUTE_S, "Future-House/ldp", "2026-04-21"),
    ("requests", 15_000, 14_999, "4ms", MINUTE_S, "DataDog/dd-trace-py", "2023-10-23"),
    ("requests", 30_000, 29_999, "2ms", MINUTE_S, "DataDog/dd-trace-py", "2024-09-24"),
    ("requests", 200, 199, "7m12s", DAY_S, ELASTIC, "2025-04-21"),
    ("requests", 10_000, 9999, "8.64s", DAY_S, "Arize-ai/openinference", "2024-08-05"),
    ("requests", 14_400, 14_399, "6s", DAY_S, "alexrudall/ruby-openai (Groq)", "2024-04-28"),
    ("input_images", 50_000, 49_998, "2ms", MINUTE_S, "vicentereig/dspy.rb", "2025-08-08"),
    ("input_images", 250_000, 249_999, "0s", MINUTE_S, "DataDog/dd-trace-py", "2025-08-13"),
    ("tokens", 12_000, 11_994, "30ms", MINUTE_S, "alexrudall/ruby-openai (Groq)", "2024-04-28"),
    ("tokens", 30_000, 30_000, "0s", MINUTE_S, "tidyverse/ellmer", "2026-08-02"),
    ("tokens", 30_000, 27_375, "5.25s", MINUTE_S, "vicentereig/dspy.rb", "2025-09-14"),
    ("tokens", 30_000, 27_376, "5.248s", MINUTE_S, "vicentereig/dspy.rb", "2025-09-13"),
    ("tokens", 30_000, 29_209, "1.582s", MINUTE_S, "jackmpcollins/magentic", "2024-11-24"),
    ("tokens", 30_000, 29_641, "718ms", MINUTE_S, "vicentereig/dspy.rb", "2025-12-11"),
    ("tokens", 40_000, 39_974, "39ms", MINUTE_S, "traceloop/openllmetry", "2024-03-18"),
    ("tokens", 60_000, 59_971, "29ms", MINUTE_S, "alexrudall/ruby-openai", "2024-03-26"),
    ("tokens", 80_000, 79_970, "22ms", MINUTE_S, "traceloop/openllmetry", "2024-02-27"),
    ("tokens", 90_000, 89_974, "17ms", MINUTE_S, "DataDog/dd-trace-js", "2025-08-07"),
    ("tokens", 150_000, 149_977, "9ms", MINUTE_S, "DataDog/dd-trace-py", "2023-11-27"),
    ("tokens", 160_000, 159_730, "101ms", MINUTE_S, "traceloop/openllmetry", "2024-06-08"),
    ("tokens", 200_000, 197_378, "786ms", MINUTE_S, "vicentereig/dspy.rb", "2025-09-13"),
    ("tokens", 200_000, 199_221, "233ms", MINUTE_S, "tidyverse/ellmer", "2026-08-02"),
    ("tokens", 200_000, 199_995, "1ms", MINUTE_S, "jackmpcollins/magentic", "2025-06-22"),
    ("tokens", 250_000, 248_232, "424ms", MINUTE_S, "traceloop/openllmetry", "2024-04-26"),
    ("tokens", 250_000, 249_991, "2ms", MINUTE_S, "traceloop/openllmetry", "2026-02-15"),
    ("tokens", 500_000, 497_377, "314ms", MINUTE_S, "vicentereig/dspy.rb", "2025-09-13"),
    ("tokens", 500_000, 499_995, "0s", MINUTE_S, "traceloop/openllmetry", "2025-11-23"),
    ("tokens", 800_000, 796_087, "293ms", MINUTE_S, "Mirascope/mirascope", "2026-01-15"),
    ("tokens", 800_000, 799_945, "4ms", MINUTE_S, "Mirascope/mirascope", "2025-11-13"),
    ("tokens", 1_000_000, 999_967, "1ms", MINUTE_S, "DataDog/dd-trace-js", "2025-08-07"),
    ("tokens", 2_000_000, 1_998_994, "30ms", MINUTE_S, "Mirascope/mirascope", "2026-01-17"),
    ("tokens", 4_000_000, 3_999_217, "11ms", MINUTE_S, "Mirascope/mirascope", "2026-02-06"),
    ("tokens", 5_000_000, 4_976_251, "284ms", MINUTE_S, "traceloop/openllmetry", "2024-06-08"),
    ("tokens", 10_000_000, 9_976_252, "142ms", MINUTE_S, "traceloop/openllmetry", "2026-01-17"),
    ("tokens", 30_000_000, 29_994_688, "10ms", MINUTE_S, "activeagents/activeagent", "2025-11-19"),
    ("tokens", 40_000_000, 39_998_186, "2ms", MINUTE_S, "DataDog/dd-trace-py", "2026-07-10"),
    ("tokens", 150_000_000, 149_998_385, "0s", MINUTE_S, "traceloop/openllmetry", "2026-03-31"),
]
"""Header triples of levels that were whole."""

HIDDEN_FRACTIONS = [
    # the same, where the reset tells a level between two whole ones; in milliseconds, too, for the arithmetic
    ("requests", 200, 197, "20m52.666s", 1_252_666, DAY_S, "traceloop/openllmetry", "2024-03-18"),
    ("requests", 200, 197, "19m29.225s", 1_169_225, DAY_S, ELASTIC, "2025-04-11"),
    ("requests", 10_000, 9997, "21.714s", 21_714, DAY_S, "vicentereig/dspy.rb", "2025-08-08"),
    ("requests", 10_000, 9998, "16.227s", 16_227, DAY_S, "alexrudall/ruby-openai", "2024-03-26"),
    ("requests", 10_000, 9998, "12.676s", 12_676, DAY_S, "Arize-ai/openinference", "2025-10-27"),
    ("tokens", 100_000, 99_925, "32m9.545s", 1_929_545, THIRTY_DAYS_S, ELASTIC, "2025-04-11"),
    ("tokens", 100_000, 88_447, "83h10m39.057s", 299_439_057, THIRTY_DAYS_S, ELASTIC, "2025-04-21"),
]

REFUSALS = [
    # meter, window in seconds, model, limit, used, requested, the wait as told, source
    ("tpm", MINUTE_S, "gpt-4", 10_000, 8554, 3082, "9.816s", "FoundationAgents/MetaGPT#523"),
    ("tpm", MINUTE_S, "gpt-4-vision-preview", 10_000, 6701, 4497, "7.188s", "abi/screenshot-to-code#76"),
    ("tpm", MINUTE_S, "gpt-4.1", 30_000, 18_928, 11_159, "174ms", "continuedev/continue#11472"),
    ("tpm", MINUTE_S, "gpt-4o", 30_000, 29_937, 385, "644ms", "BuilderIO/micro-agent#86"),
    ("tpm", MINUTE_S, "gpt-4o", 30_000, 14_567, 24_754, "18.642s", "semanser/codel#72"),
    ("tpm", MINUTE_S, "gpt-4o-mini", 200_000, 200_000, 775, "232ms", "pixeltable/pixeltable#704"),
    ("tpm", THIRTY_DAYS_S, "gpt-4o-mini", 100_000, 99_918, 2094, "14h29m11.04s", "community.openai.com/t/1066011"),
    ("rpd", DAY_S, "gpt-4o-mini", 200, 200, 1, "7m12s", "feder-cr/invisible_playwright_mcp#109"),
]

TOO_LARGE = [
    # the model, the pool, limit, requested, source
    ("gpt-4.1-2025-04-14", "gpt-4.1", 30_000, 37_313, "continuedev/continue#11717"),
    ("gpt-4o", "gpt-4o", 30_000, 31_538, "TheR1D/shell_gpt#653"),
    ("gpt-5", "gpt-5", 30_000, 36_055, "agent0ai/agent-zero#711"),
]

CHARACTER_CHARGES = [
    # endpoint, characters, messages, images, charged (limit - remaining of a full bucket), repository, day
    ("chat/completions", 16, 1, 0, 6, "DataDog/dd-trace-py", "2025-03-20"),
    ("chat/completions", 196, 2, 0, 52, "DataDog/dd-trace-py", "2025-04-04"),
    ("chat/completions", 108, 5, 0, 33, "traceloop/openllmetry", "2025-05-12"),
    ("chat/completions", 13, 1, 0, 6, "DataDog/dd-trace-py", "2025-06-25"),
    ("chat/completions", 53, 1, 0, 16, "braintrustdata/braintrust-sdk-python", "2025-06-26"),
    ("chat/completions", 7243, 2, 0, 1814, "DataDog/dd-trace-py", "2025-07-03"),
    ("chat/completions", 122, 1, 0, 33, "DataDog/dd-trace-js", "2025-08-07"),
    ("chat/completions", 21, 1, 1, 773, "DataDog/dd-trace-py", "2025-08-13"),
    ("chat/completions", 336, 10, 0, 95, "DataDog/dd-trace-py", "2025-09-22"),
    ("chat/completions", 6, 1, 0, 4, "activeagents/activeagent", "2025-10-26"),
    ("chat/completions", 22, 1, 1, 773, "activeagents/activeagent", "2025-10-26"),
    ("chat/completions", 9, 1, 0, 5, "Mirascope/mirascope", "2025-11-13"),
    ("chat/completions", 1724, 3, 0, 435, "Arize-ai/openinference", "2026-01-20"),
    ("chat/completions", 42, 1, 1, 778, "Mirascope/mirascope", "2026-01-28"),
    ("chat/completions", 168, 2, 0, 45, "traceloop/openllmetry", "2026-03-31"),
    ("chat/completions", 9036, 2, 0, 2262, "Future-House/ldp", "2026-04-21"),
    ("chat/completions", 43, 3, 0, 15, "DataDog/dd-trace-js", "2026-07-22"),
    ("embeddings", 34, 0, 0, 8, "traceloop/openllmetry", "2024-06-08"),
    ("embeddings", 11, 0, 0, 2, "DataDog/dd-trace-py", "2024-06-28"),
    ("embeddings", 35, 0, 0, 8, "open-telemetry/opentelemetry-python-contrib", "2025-05-03"),
    ("embeddings", 6, 0, 0, 1, "timescale/pgai", "2025-06-04"),
    ("embeddings", 114, 0, 0, 28, "timescale/pgai", "2025-06-04"),
    ("embeddings", 46, 0, 0, 11, "DataDog/dd-trace-js", "2025-08-07"),
    ("embeddings", 10, 0, 0, 2, "DataDog/dd-trace-py", "2026-04-03"),
]

MAXIMUM_CHARGES = [
    # characters, messages, n, charged; chat until March 2025, none of these said max_tokens
    (134, 4, 2, 71, "DataDog/dd-trace-py", "2023-10-23"),
    (287, 1, 1, 90, "DataDog/dd-trace-py", "2023-11-09"),
    (34, 1, 1, 27, "traceloop/openllmetry", "2024-07-23"),
    (168, 2, 1, 61, "traceloop/openllmetry", "2024-10-10"),
    (18, 1, 1, 23, "open-telemetry/opentelemetry-python-contrib", "2024-11-13"),
    (1066, 2, 1, 286, "DataDog/dd-trace-py", "2025-03-14"),
    (3340, 2, 1, 854, "DataDog/dd-trace-py", "2025-03-17"),
]

RESPONSE_CHARGES = [
    # input tokens of the usage, whether with tools, charged
    (75, True, 292, "DataDog/dd-trace-py", "2025-05-22"),
    (22, False, 41, "braintrustdata/braintrust-sdk-python", "2025-05-29"),
    (1515, False, 1534, "DataDog/dd-trace-py", "2025-07-03"),
    (24, False, 43, "traceloop/openllmetry", "2025-08-15"),
    (188, True, 405, "traceloop/openllmetry", "2025-08-15"),
    (113, False, 132, "DataDog/dd-trace-py", "2025-10-10"),
    (60, True, 277, "activeagents/activeagent", "2025-11-19"),
    (9, False, 28, "Mirascope/mirascope", "2025-12-12"),
    (108, True, 325, "Arize-ai/openinference", "2026-04-09"),
    (143, True, 360, "DataDog/dd-trace-js", "2026-06-22"),
]

SETTLED = [
    # limit, input and output tokens of the usage, remaining and reset when the answer was done
    (180_000_000, 54, 164, 180_000_000, "0s", "DataDog/dd-trace-py", "2025-12-01"),
    (180_000_000, 20, 232, 179_999_985, "0s", "DataDog/dd-trace-js", "2025-12-03"),
    (2_000_000, 32, 1223, 1_998_994, "30ms", "Mirascope/mirascope", "2026-01-17"),
    (2_000_000, 62, 10, 2_000_000, "0s", "Mirascope/mirascope", "2026-01-17"),
    (4_000_000, 12, 149, 4_000_000, "0s", "Mirascope/mirascope", "2026-02-12"),
    (180_000_000, 12, 841, 179_999_376, "0s", "traceloop/openllmetry", "2026-03-31"),
]

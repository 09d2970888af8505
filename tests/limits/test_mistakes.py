"""A wrong file a row, and what is said of it: line, column, what is wrong, how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from throttle.errors import LimitsError
from throttle.limits import load_limits

WRONG: list[tuple[str, str, list[str]]] = [
    (
        "an empty file",
        "",
        ["1:1: the file is empty: begin with `version: 1`"],
    ),
    (
        "a list",
        ("- a\n- b\n"),
        ["1:1: a limits file is keys and values, and this is something else: begin with `version: 1`"],
    ),
    (
        "a text",
        "just text\n",
        ["1:1: a limits file is keys and values, and this is something else: begin with `version: 1`"],
    ),
    (
        "a later version",
        ("version: 2\nfamilies:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["1:10: version: 2 is none of what it can be: write 1"],
    ),
    (
        "a version in quotes",
        ('version: "1"\nfamilies:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\n'),
        ["1:10: version: '1' is none of what it can be: write 1"],
    ),
    (
        "tabs",
        ("families:\n\ta: {models: [m]}\n\tb: {models: [n]}\n"),
        [
            "2:1: indented with a tab: YAML wants spaces: use two for each level",
            "3:1: indented with a tab: YAML wants spaces: use two for each level",
        ],
    ),
    (
        "an open brace",
        "families: {a: {models: [m]}\n",
        [
            (
                "2:1: not readable as YAML (did not find expected ',' or '}'): check that every { and [ is "
                "closed and that entries are parted by commas"
            )
        ],
    ),
    (
        "an open quote",
        'a: "x\n',
        [("2:1: not readable as YAML (found unexpected end of stream): check the line and the one above it")],
    ),
    (
        "two colons",
        "a: b: c\n",
        [
            (
                "1:5: not readable as YAML (mapping values are not allowed in this context): a text with `: ` "
                "in it needs quotes, and a key on a line of its own needs the indent of its neighbours"
            )
        ],
    ),
    (
        "a duplicate key",
        ('families: {a: {models: [m]}}\nfamilies: {b: {models: [n]}}\ntiers: {t: {a: {rpm: 1}, "*": {rpm: 1}}}\n'),
        ["2:1: the key 'families' stands here a second time; the first is on line 1: keep one of the two"],
    ),
    (
        "a duplicate meter",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5, rpm: 6}}\n"),
        ["4:19: the key 'rpm' stands here a second time; the first is on line 4: keep one of the two"],
    ),
    (
        "a misspelt section",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\ntier: {}\n"),
        ["5:1: unknown key 'tier': did you mean 'tiers'?"],
    ),
    (
        "a key of another program",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\nmodel_list: []\n"),
        [
            (
                "5:1: unknown key 'model_list': there is version, extends, meters, sources, families, tiers, "
                "tier_rules, fine_tuned and 2 more"
            )
        ],
    ),
    (
        "a misspelt meter",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rmp: 5}}\n"),
        ["4:11: unknown meter 'rmp': did you mean 'rpm'?"],
    ),
    (
        "a misspelt meter in capitals",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {RPM: 5}}\n"),
        ["4:11: unknown meter 'RPM': did you mean 'rpm'?"],
    ),
    (
        "a negative limit",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: -5}}\n"),
        ["4:16: rpm: -5 is below zero: the least is 1; write null where there is no such limit"],
    ),
    (
        "a limit of zero",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 0}}\n"),
        ["4:16: rpm: 0 is no limit: the least is 1; write null where there is no such limit"],
    ),
    (
        "a limit with a point",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5.5}}\n"),
        ["4:16: rpm: 5.5 is no whole number: write it as in 500 or 10_000"],
    ),
    (
        "a limit in words",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: many}}\n"),
        ["4:16: rpm: 'many' is no whole number: write it as in 500 or 10_000"],
    ),
    (
        "a limit that is a truth",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: true}}\n"),
        ["4:16: rpm: true is no whole number: write it as in 500 or 10_000"],
    ),
    (
        "a limit in quotes",
        ('families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: "5"}}\n'),
        ["4:16: rpm: '5' is no whole number: write it as in 500 or 10_000"],
    ),
    (
        "a limit in a list",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: [5]}}\n"),
        ["4:16: rpm: [5] is no whole number: write it as in 500 or 10_000"],
    ),
    (
        "a row without limits",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {}}\n"),
        ["4:10: no limits for 'a': give some, as in {rpm: 500, tpm: 200_000}, or write null"],
    ),
    (
        "a row that is a number",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: 5}\n"),
        ["4:10: a: 5 where keys and values belong: write `name: value` below it"],
    ),
    (
        "a negative batch queue",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5, batch_queue_tokens: -1}}\n"),
        ["4:39: batch_queue_tokens: -1 is below zero: the least is 0"],
    ),
    (
        "a misspelt family in a tier",
        ("families:\n  gpt-4o: {models: [m]}\ntiers:\n  t: {gpt-4o: {rpm: 5}, gtp-4o: {rpm: 5}}\n"),
        ["4:25: unknown family 'gtp-4o': did you mean 'gpt-4o'?"],
    ),
    (
        "families without tiers",
        ("families:\n  a: {models: [m]}\n"),
        [
            (
                "1:1: families, but no tier with their limits: add `tiers:` with the limits of each, as in "
                "{tier-1: {my-family: {rpm: 500}}}"
            )
        ],
    ),
    (
        "a family without limits in a tier",
        (
            "families:\n"
            "  a: {models: [m]}\n"
            "  b: {models: [n]}\n"
            "tiers:\n"
            "  t: {a: {rpm: 1}}\n"
            "  u: {a: {rpm: 2}, b: null}\n"
        ),
        [
            (
                "5:3: tier 't' has no limits for the family b: add them, write null where none are known, or "
                '`"*":` for all others'
            )
        ],
    ),
    (
        "nothing but empty sections",
        ("families: {}\ntiers: {}\n"),
        ["1:1: there are no limits in it: add `families:` and `tiers:`, or `extends: bundled`"],
    ),
    (
        "sections of the wrong kind",
        ("families: [a]\ntiers: 5\naccounts: x\n"),
        [
            "1:11: families: a list where keys and values belong: write `name: value` below it",
            "2:8: tiers: 5 where keys and values belong: write `name: value` below it",
            "3:11: accounts: 'x' where keys and values belong: write `name: value` below it",
        ],
    ),
    (
        "a model in two families",
        ('families:\n  a: {models: [m]}\n  b: {models: [n, m]}\ntiers: {t: {"*": {rpm: 1}}}\n'),
        [
            (
                "3:19: the model 'm' is in the family 'a' already: a model draws on one family: take it out "
                "of 'b' or of 'a'"
            )
        ],
    ),
    (
        "a model twice",
        ('families:\n  a: {models: [m, m]}\ntiers: {t: {"*": {rpm: 1}}}\n'),
        ["2:19: 'm' stands twice in the family 'a': take one of the two out"],
    ),
    (
        "a pattern in two families",
        ('families:\n  a: {models: ["g*"]}\n  b: {models: ["g*"]}\ntiers: {t: {"*": {rpm: 1}}}\n'),
        [
            (
                "3:16: the pattern 'g*' is in the family 'a' already: a model draws on one family: take it "
                "out of 'b' or of 'a'"
            )
        ],
    ),
    (
        "patterns that shadow each other",
        (
            "families:\n"
            '  a: {models: ["gpt-*-mini"]}\n'
            '  b: {models: ["gpt-4?-mini", "gpt-mini-*"]}\n'
            'tiers: {t: {"*": {rpm: 1}}}\n'
        ),
        [
            (
                "3:31: the pattern 'gpt-mini-*' and 'gpt-*-mini' of the family 'a' shadow each other: some "
                "names match both: make one of them longer, or name those models in full"
            )
        ],
    ),
    (
        "a pattern that covers another",
        ('families:\n  a: {models: ["gpt-4*", "gpt-*"]}\ntiers: {t: {"*": {rpm: 1}}}\n'),
        [
            (
                "2:16: the pattern 'gpt-4*' is covered by 'gpt-*' of the same family: take it out, or move it "
                "to a family of its own"
            )
        ],
    ),
    (
        "a name for a list",
        ("families:\n  a: {models: m}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ['2:15: models: \'m\' where a list belongs: write it as in ["one", "two"]'],
    ),
    (
        "a number for a model",
        ("families:\n  a: {models: [3.5]}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ['2:16: models: 3.5 is no text: put it in quotes: "3.5"'],
    ),
    (
        "an empty name",
        ('families:\n  a: {models: [""]}\ntiers:\n  t: {a: {rpm: 5}}\n'),
        ["2:16: models: an empty name: write the name, or take the entry out"],
    ),
    (
        "a family without models",
        ("families:\n  a: {models: []}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        [
            (
                "2:3: no call draws on the family 'a': it has no models: list its models, or name it in "
                "another family's `long_context` or `service_tiers`"
            )
        ],
    ),
    (
        "a list for a family",
        ("families:\n  a: [m]\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:6: a: a list where keys and values belong: write `name: value` below it"],
    ),
    (
        "a misspelt key of a family",
        ("families:\n  a: {modles: [m]}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:7: unknown key 'modles': did you mean 'models'?"],
    ),
    (
        "headroom above one",
        ("families:\n  a: {models: [m], headroom: 1.5}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        [("2:30: headroom: 1.5 is no fraction from 0 to below 1: 0.1 leaves a tenth of every limit to others")],
    ),
    (
        "an unknown charge",
        ("families:\n  a: {models: [m], charge: output}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        [
            (
                "2:28: charge: 'output' is none of what it can be: write 'auto', 'characters', 'input', "
                "'maximum' or 'usage'"
            )
        ],
    ),
    (
        "a window in words",
        ("families:\n  a: {models: [m], window: soon}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:28: window: 'soon' is no time span: write seconds, or as in 10s, 1m, 48h, 30d"],
    ),
    (
        "a negative window",
        ("families:\n  a: {models: [m], window: -1}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:28: window: -1 is no time span: it has to be longer than 0 seconds"],
    ),
    (
        "a window of an unknown meter",
        ("families:\n  a: {models: [m], window: {rmp: 1}}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:29: unknown meter 'rmp': did you mean 'rpm'?"],
    ),
    (
        "a weight of no model",
        ("families:\n  a: {models: [m], weights: {x: 1}}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:30: a weight for 'x', which is none of the family's models: they are m"],
    ),
    (
        "a weight by zero",
        ("families:\n  a: {models: [m], weights: {m: 1/0}}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:33: m: '1/0' is no number: write it as in 1/25 or 0.04"],
    ),
    (
        "a negative weight",
        ("families:\n  a: {models: [m], weights: {m: -1}}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:33: m: -1 is not above zero: write it as in 1/25 or 0.04"],
    ),
    (
        "an unknown family for long calls",
        ("families:\n  a: {models: [m], long_context: {over: 5, family: bb}}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:52: unknown family 'bb': there is a"],
    ),
    (
        "half a rule for long calls",
        ("families:\n  a: {models: [m], long_context: {over: 5}}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:20: long_context: the key 'family' is missing: add `family:`"],
    ),
    (
        "a family that stands in for itself",
        ("families:\n  a: {models: [m], long_context: {over: 5, family: a}}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:52: the family 'a' stands in for itself: name the family with the other limits"],
    ),
    (
        "an unknown family for a service tier",
        ("families:\n  a: {models: [m], service_tiers: {flex: aa}}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:42: unknown family 'aa': did you mean 'a'?"],
    ),
    (
        "an unknown tier of a family",
        ("families:\n  a: {models: [m], tiers: [tt]}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:28: unknown tier 'tt': did you mean 't'?"],
    ),
    (
        "neither true nor false",
        ("families:\n  a: {models: [m], per_model: maybe}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["2:31: per_model: 'maybe' doesn't belong here: write true or false"],
    ),
    (
        "two families with one pool",
        ('families:\n  a: {models: [m], pool: p}\n  b: {models: [n], pool: p}\ntiers: {t: {"*": {rpm: 1}}}\n'),
        [("3:26: the families 'a' and 'b' both have the pool 'p': models that share a limit belong in one family")],
    ),
    (
        "a star for a family",
        ('families:\n  "*": {models: [m]}\ntiers: {t: {"*": {rpm: 1}}}\n'),
        ["2:3: `*` is no name of a family: give it a name, with `*` among its models"],
    ),
    (
        "an unknown tier of an account",
        ("families:\n  a: {models: [m]}\ntiers:\n  tier-1: {a: {rpm: 5}}\naccounts: {default: {tier: teir-1}}\n"),
        ["5:28: unknown tier 'teir-1': did you mean 'tier-1'?"],
    ),
    (
        "no point in time",
        (
            "families:\n"
            "  a: {models: [m]}\n"
            "tiers:\n"
            "  t: {a: {rpm: 5}}\n"
            "accounts: {default: {tier: t, since: yesterday}}\n"
        ),
        ["5:38: since: 'yesterday' is no point in time: write it as in 2026-11-20T09:00:00Z"],
    ),
    (
        "a key in the file",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\naccounts: {default: {key: sk-0123456789}}\n"),
        [
            (
                "5:27: key: an API key doesn't belong in a file: write `key: ${NAME_OF_A_VARIABLE}`, or its hash "
                "as `key_hash` (`throttle limits key` prints it)"
            )
        ],
    ),
    (
        "a key for a hash",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\naccounts: {default: {key_hash: sk-0123456789}}\n"),
        [
            (
                "5:32: key_hash: an API key doesn't belong in a file: write `key: ${NAME_OF_A_VARIABLE}`, or "
                "its hash as `key_hash` (`throttle limits key` prints it)"
            )
        ],
    ),
    (
        "a key by another name",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\naccounts: {default: {api_key: sk-0123456789}}\n"),
        [
            (
                "5:22: an API key doesn't belong in a file: write `key: ${NAME_OF_A_VARIABLE}`, or its hash "
                "as `key_hash` (`throttle limits key` prints it)"
            )
        ],
    ),
    (
        "a key for a tier",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\naccounts: {default: {tier: sk-0123456789}}\n"),
        ["5:28: unknown tier 'sk-…': there is t"],
    ),
    (
        "a hash that is none",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\naccounts: {default: {key_hash: abc}}\n"),
        [("5:32: key_hash: 'abc' is no key hash: 12 to 64 hex digits of the key's SHA-256: `throttle limits key`")],
    ),
    (
        "two accounts with one key",
        (
            "families:\n"
            "  a: {models: [m]}\n"
            "tiers:\n"
            "  t: {a: {rpm: 5}}\n"
            "accounts: {x: {key_hash: 0123456789ab}, y: {key_hash: 0123456789abcd}}\n"
        ),
        [
            (
                "5:55: the accounts 'x' and 'y' have the same key hash: one key is one account: put what "
                "differs under `projects:`"
            )
        ],
    ),
    (
        "an unknown family of an account",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\naccounts: {x: {limits: {aa: {rpm: 1}}}}\n"),
        ["5:25: unknown family 'aa': did you mean 'a'?"],
    ),
    (
        "a misspelt meter of a project",
        (
            "families:\n"
            "  a: {models: [m]}\n"
            "tiers:\n"
            "  t: {a: {rpm: 5}}\n"
            "accounts: {x: {projects: {p: {limits: {a: {rpmm: 1}}}}}}\n"
        ),
        ["5:44: unknown meter 'rpmm': did you mean 'rpm'?"],
    ),
    (
        "an unknown server",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\naccounts: {x: {server: groq}}\n"),
        ["5:24: unknown server 'groq': there is none"],
    ),
    (
        "a server without an address",
        (
            "families:\n"
            "  a: {models: [m]}\n"
            "tiers:\n"
            "  t: {a: {rpm: 5}}\n"
            'servers: {s: {families: {f: {models: ["*"]}}, tiers: {u: {f: {rpm: 1}}}}}\n'
        ),
        [("5:11: nothing leads to the server 's': add `base_url:`, or `base_url: []` where only accounts name it")],
    ),
    (
        "an unknown tier of a server",
        (
            "families:\n"
            "  a: {models: [m]}\n"
            "tiers:\n"
            "  t: {a: {rpm: 5}}\n"
            'servers: {s: {base_url: http://x, tier: v, families: {f: {models: ["*"]}}, tiers: {u: {f: {rpm: 1}}}}}\n'
        ),
        ["5:41: unknown tier 'v': there is u"],
    ),
    (
        "a header for an unknown meter",
        (
            "families:\n"
            "  a: {models: [m]}\n"
            "tiers:\n"
            "  t: {a: {rpm: 5}}\n"
            "servers: {s: {base_url: http://x, headers: {x-limit: rpn}}}\n"
        ),
        ["5:54: unknown meter 'rpn': did you mean 'rpm'?"],
    ),
    (
        "a deployment of an unknown model",
        (
            "families:\n"
            "  a: {models: [m]}\n"
            "tiers:\n"
            "  t: {a: {rpm: 5}}\n"
            "servers: {s: {base_url: http://x, inherit: true, deployments: {d: {model: mm}}}}\n"
        ),
        ["5:75: unknown model 'mm': did you mean 'm'?"],
    ),
    (
        "a window of nothing",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\nmeters: {mine: {window: 0}}\n"),
        ["5:25: window: 0 is no time span: it has to be longer than 0 seconds"],
    ),
    (
        "an unknown unit",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\nmeters: {mine: {counts: {toknes: 1}}}\n"),
        ["5:26: unknown unit 'toknes': did you mean 'tokens'?"],
    ),
    (
        "a meter named like a key",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\nmeters: {note: {}}\n"),
        ["5:10: 'note' is no name for a meter: a row has a key of that name already"],
    ),
    (
        "an unknown tier that follows",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\ntier_rules: {t: {becomes: x, after: 1h}}\n"),
        ["5:27: unknown tier 'x': there is t"],
    ),
    (
        "half a rule for a tier",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\ntier_rules: {t: {becomes: t}}\n"),
        [("5:17: t: `becomes` and `after` belong together: write both, as in {becomes: pay-as-you-go, after: 48h}")],
    ),
    (
        "a rule for an unknown tier",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\ntier_rules: {q: {days: 1}}\n"),
        ["5:14: unknown tier 'q': there is t"],
    ),
    (
        "a variable that is not set",
        ('families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: "${THROTTLE_TEST_UNSET}"}}\n'),
        [
            (
                "4:16: the environment variable THROTTLE_TEST_UNSET isn't set: set it, or write "
                "${THROTTLE_TEST_UNSET:-VALUE} for when it isn't"
            )
        ],
    ),
    (
        "a variable without quotes",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: ${X}}}\n"),
        [
            (
                "4:17: not readable as YAML (did not find expected ',' or '}'): between { and } a reference "
                'needs quotes: "${NAME}"'
            )
        ],
    ),
    (
        "an alias that contains itself",
        "a: &a [*a]\n",
        ["1:4: an alias that contains itself: write the values out"],
    ),
    (
        "an unknown alias",
        "x: *nope\n",
        ["1:4: found undefined alias: define the anchor (&name) above its use (*name)"],
    ),
    (
        "aliases that explode",
        (
            "a: &a [x, x, x, x, x, x, x, x, x]\n"
            "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
            "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
            "d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
            "e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]\n"
            "f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e]\n"
            "g: &g [*f, *f, *f, *f, *f, *f, *f, *f, *f]\n"
            "h: &h [*g, *g, *g, *g, *g, *g, *g, *g, *g]\n"
        ),
        [
            (
                "8:4: the aliases expand to 54,481,013 values, more than the 300,000 that a table may have: "
                "write the values out"
            )
        ],
    ),
    (
        "an object",
        "a: !!python/object/apply:os.system ['true']\n",
        [
            (
                "1:1: unknown key 'a': there is version, extends, meters, sources, families, tiers, "
                "tier_rules, fine_tuned and 2 more"
            ),
            (
                "1:4: the tag tag:yaml.org,2002:python/object/apply:os.system isn't allowed: write plain "
                "keys, values and lists"
            ),
        ],
    ),
    (
        "a scalar of a wrong kind",
        ("version: !!int one\nfamilies:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        [
            (
                "1:10: 'one' is no such value (invalid literal for int() with base 10: 'one'): put it in "
                "quotes if it is meant as text"
            )
        ],
    ),
    (
        "two documents",
        ("---\nversion: 1\n---\nversion: 1\n"),
        ["3:1: a second document begins here: a limits file is one document: remove the `---`"],
    ),
    (
        "deep nesting",
        "a: " + "[" * 60 + "]" * 60,
        ["1:27: nested more than 24 levels deep: a limits file needs at most ten"],
    ),
    (
        "a file that is not there to extend",
        ("extends: nowhere.yaml\nfamilies:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["1:10: there is no file 'nowhere.yaml': write `bundled`, or a path as seen from this file"],
    ),
    (
        "a number to extend",
        ("extends: 5\nfamilies:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ['1:10: extends: 5 is no text: put it in quotes: "5"'],
    ),
    (
        "a key that is a list",
        ("? [a]\n: 1\nfamilies:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\n"),
        ["1:3: a key has to be a name: write `name: value`"],
    ),
    (
        "a control character",
        "a: \x07\n",
        ["1:4: the character '\\x07' can't stand in YAML: remove it; the file has to be plain UTF-8 text"],
    ),
    (
        "no hour of the day",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpd: {limit: 50, resets: midnight}}}\n"),
        [
            (
                '4:36: resets: \'midnight\' is no hour of the day: write it as in "00:00 UTC" or "00:00 '
                'America/Los_Angeles"'
            )
        ],
    ),
    (
        "no time zone",
        ('families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpd: {limit: 50, resets: "00:00 Mars/Base"}}}\n'),
        [('4:36: resets: \'Mars/Base\' is no time zone: write it as in "00:00 UTC" or "00:00 America/Los_Angeles"')],
    ),
    (
        "a misspelt key of a figure",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpd: {limt: 50}}}\n"),
        ["4:11: rpd: the key 'limit' is missing: add `limit:`", "4:17: unknown key 'limt': did you mean 'limit'?"],
    ),
    (
        "a figure seen of an unknown meter",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5, seen: {tpm: 5}}}\n"),
        [("4:26: `seen` has 'tpm', for which the row has no figure: give the figure to start from beside it")],
    ),
    (
        "an unknown rule for fine-tuned models",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\nfine_tuned: {draws_on: bas}\n"),
        ["5:24: draws_on: 'bas' is none of what it can be: write 'base' or 'own'"],
    ),
    (
        "a source without words",
        ("families:\n  a: {models: [m]}\ntiers:\n  t: {a: {rpm: 5}}\nsources: {x: {where: y}}\n"),
        ["5:11: x: the key 'what' is missing: add `what:`"],
    ),
    (
        "many mistakes at once",
        (
            "version: 1\n"
            "familys: {}\n"
            "families:\n"
            "  a: {models: [m], headroom: 2}\n"
            "  b: {models: [m]}\n"
            "tiers:\n"
            "  t: {a: {rpm: -1, tmp: 3}, c: {rpm: 1}}\n"
            "accounts: {default: {tier: u}}\n"
        ),
        [
            "2:1: unknown key 'familys': did you mean 'families'?",
            ("4:30: headroom: 2 is no fraction from 0 to below 1: 0.1 leaves a tenth of every limit to others"),
            (
                "5:16: the model 'm' is in the family 'a' already: a model draws on one family: take it out "
                "of 'b' or of 'a'"
            ),
            (
                "7:3: tier 't' has no limits for the family b: add them, write null where none are known, or "
                '`"*":` for all others'
            ),
            "7:16: rpm: -1 is below zero: the least is 1; write null where there is no such limit",
            "7:20: unknown meter 'tmp': did you mean 'tpm'?",
            "7:29: unknown family 'c': there is a, b",
            "8:28: unknown tier 'u': there is t",
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_every_mistake_is_told_with_its_place_and_its_remedy(
    text: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THROTTLE_TEST_UNSET", raising=False)
    Path("limits.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(LimitsError) as caught:
        load_limits("limits.yaml")
    assert str(caught.value).split("\n") == [f"limits.yaml:{line}" for line in expected]


def test_the_table_has_the_forty_and_more_that_were_asked_for() -> None:
    assert len(WRONG) >= 40
    assert len({row[0] for row in WRONG}) == len(WRONG)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"# \xff\n", "limits.yaml:1:3: the byte 0xff isn't UTF-8: save the file as UTF-8 text"),
        (b"a: 1\nb: \xe9\n", "limits.yaml:2:4: the byte 0xe9 isn't UTF-8: save the file as UTF-8 text"),
    ],
)
def test_a_file_that_is_not_utf_8_is_told_by_its_first_wrong_byte(
    content: bytes, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("limits.yaml").write_bytes(content)
    with pytest.raises(LimitsError) as caught:
        load_limits("limits.yaml")
    assert str(caught.value) == expected


def test_a_file_of_100_mb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(LimitsError) as caught:
        load_limits(path)
    assert str(caught.value) == (
        f"{path}: 100 MB is too large for a limits file, which may have 4 MB: is it the right file?"
    )


def test_a_directory_and_a_missing_file_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LimitsError, match=r"that is a directory: name the file in it"):
        load_limits(tmp_path)
    with pytest.raises(LimitsError, match=r"there is no such file: check the path$"):
        load_limits(tmp_path / "none.yaml")


def test_files_that_extend_each_other_in_a_circle_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("extends: b.yaml\n")
    Path("b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(LimitsError, match=r"go round in a circle: let the first extend `bundled`"):
        load_limits("a.yaml")


def test_mistakes_in_limits_given_as_a_dict_have_no_line() -> None:
    with pytest.raises(LimitsError) as caught:
        load_limits({"families": {"a": {"models": ["m"]}}, "tiers": {"t": {"a": {"rmp": 5}}}})
    assert str(caught.value) == "limits=: tiers.t.a: unknown meter 'rmp': did you mean 'rpm'?"
    assert caught.value.mistakes[0].line == 0


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"rmp": 5}, "limits=: unknown meter 'rmp': did you mean 'rpm'?"),
        ({"rpm": 0}, "limits=: rpm: 0 is no limit: the least is 1; write null where there is no such limit"),
        ({"rpm": 5, "familys": {}}, "limits=: unknown meter 'familys': did you mean 'families'?"),
        (
            {"rpm": 5, "headroom": 3},
            "limits=: headroom: 3 is no fraction from 0 to below 1: 0.1 leaves a tenth of every limit to others",
        ),
    ],
)
def test_mistakes_in_bare_meters_are_told(limits: dict[str, object], expected: str) -> None:
    with pytest.raises(LimitsError) as caught:
        load_limits(limits)
    assert str(caught.value) == expected

"""`throttle limits`, as it is typed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from throttle.limits import bundled_path, key_hash, load_limits, resolve

typer = pytest.importorskip("typer")
pytest.importorskip("rich")


@dataclass
class Told:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from throttle.cli import limits
    from throttle.cli.failures import tell

    monkeypatch.chdir(tmp_path)
    for name in ("THROTTLE_LIMITS", "THROTTLE_TIER", "OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    parent = typer.Typer(pretty_exceptions_enable=False)
    parent.add_typer(limits.app, name="limits")

    def run(*arguments: str) -> Told:
        try:
            code = parent(args=["limits", *arguments], standalone_mode=False, prog_name="throttle")
        except Exception as error:
            code = tell(error)
            if code is None:
                raise
        out, err = capsys.readouterr()
        return Told(code if isinstance(code, int) else 0, out, err)

    return run


# -- show, check, schema, diff, key ------------------------------------------------------------------------------------


def test_show_prints_the_tier_as_a_table(run: Any) -> None:
    told = run("show", "--tier", "tier-2")
    assert told.code == 0
    assert "tier-2" in told.out
    (line,) = [line for line in told.out.splitlines() if line.startswith("│ gpt-4o ")]
    assert [cell.strip() for cell in line.split("│")[1:4]] == ["gpt-4o", "5,000", "450,000"]
    assert "…" not in told.out
    assert "unlisted (each)" in told.out
    assert "tier-2 is reached when 50 USD were paid" in told.out
    assert "becomes pay-as-you-go 48 hours after" in run("show", "--tier", "pay-as-you-go-new").out


def test_show_marks_what_could_not_be_verified(run: Any) -> None:
    lines = run("show", "--tier", "free-trial").out.splitlines()
    assert any(line.startswith("│ code") and "?" in line for line in lines)
    assert any(line.startswith("│ text-and-embeddings") and "?" not in line for line in lines)


def test_show_of_a_model_has_what_its_calls_draw_on(run: Any) -> None:
    told = run("show", "--model", "gpt-5.5-2026-04-23")
    assert "calls over 272,000 input tokens draw on gpt-5.5-long-context" in told.out
    assert "gpt-4o" not in told.out
    assert "a token counts as 1/25" in run("show", "--model", "curie", "--tier", "free-trial").out


def test_show_says_where_nothing_is_known(run: Any) -> None:
    told = run("show", "--model", "gpt-4o", "--tier", "free-trial")
    assert told.out.startswith("gpt-4o: no limits are known in free-trial of ")


def test_show_speaks_json(run: Any) -> None:
    told = run("show", "--model", "gpt-4o-mini", "--json").json
    assert (told["tier"], told["family"], told["weight"]) == ("tier-1", "gpt-4o-mini", "1")
    assert told["pools"][0]["meters"]["rpd"] == {
        "limit": 10_000,
        "unit": "requests",
        "window_s": 86_400.0,
        "burst_s": 86_400.0,
        "resets": None,
        "origin": "bundled",
    }


def test_show_takes_another_server_and_an_account(run: Any) -> None:
    assert "llama-3.3-70b" in run("show", "--base-url", "https://api.groq.com/openai/v1").out
    Path("limits.yaml").write_text("accounts: {a: {tier: tier-3, projects: {p: {limits: {gpt-4o: {rpm: 7}}}}}}\n")
    told = run("show", "--account", "a", "--project", "p", "--model", "gpt-4o", "--json").json
    assert [pool["name"] for pool in told["pools"]] == ["gpt-4o", "gpt-4o@p"]


def test_an_unknown_tier_is_one_line_and_no_traceback(run: Any) -> None:
    told = run("show", "--tier", "teir-1")
    assert told.code != 0
    assert told.out == ""
    assert told.err.splitlines() == [f"{bundled_path()}: unknown tier 'teir-1': did you mean 'tier-1'?"]


def test_check_says_that_all_is_well(run: Any) -> None:
    told = run("check", str(bundled_path()))
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith(f"{bundled_path()}: all is well (")


def test_check_tells_a_mistake_a_line_and_fails(run: Any) -> None:
    Path("limits.yaml").write_text("familys: {}\ntires: {}\n")
    told = run("check", "limits.yaml")
    assert told.code == 1
    assert told.out == ""
    assert told.err.splitlines() == [
        "limits.yaml:1:1: unknown key 'familys': did you mean 'families'?",
        "limits.yaml:2:1: unknown key 'tires': did you mean 'tiers'?",
    ]


def test_check_speaks_json(run: Any) -> None:
    Path("limits.yaml").write_text("familys: {}\n")
    told = run("check", "limits.yaml", "--json")
    assert told.code == 1
    assert told.json == {
        "file": "limits.yaml",
        "ok": False,
        "mistakes": [
            {
                "file": "limits.yaml",
                "line": 1,
                "column": 1,
                "what": "unknown key 'familys'",
                "remedy": "did you mean 'families'?",
            }
        ],
    }
    assert run("check", str(bundled_path()), "--json").json == {"file": str(bundled_path()), "ok": True, "mistakes": []}


def test_check_of_a_missing_file_is_one_line(run: Any) -> None:
    told = run("check", "none.yaml")
    assert (told.code, told.err) == (1, "none.yaml: there is no such file: check the path\n")


def test_schema_is_json(run: Any) -> None:
    assert run("schema").json["title"] == "limits.yaml of openai-throttle"


def test_diff_lists_what_is_another_figure(run: Any) -> None:
    Path("mine.yaml").write_text("extends: bundled\ntiers: {tier-1: {gpt-4o: {tpm: 31_000}}}\n")
    assert run("diff", "bundled", "mine.yaml").out == "tier-1 gpt-4o tpm: 30,000 -> 31,000\n"
    assert run("diff", "bundled", "bundled").out == "no figure differs\n"
    assert run("diff", "bundled", "mine.yaml", "--json").json[0]["new"] == 31_000


def test_key_prints_the_hash_and_never_the_key(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("key").err == "throttle: OPENAI_API_KEY is not set: keys are taken from the environment only\n"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert run("key").out == key_hash("sk-secret") + "\n"


# -- import ------------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A server that answers what the administration API and a few calls would."""

    base_url: str = ""
    projects: list[str] = field(default_factory=lambda: ["proj_1"])
    limits: dict[str, dict[str, int]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def rate_limits(self, after: str | None) -> Mapping[str, Any]:
        names = list(self.limits)
        start = names.index(after.removeprefix("rl-")) + 1 if after else 0
        page = names[start : start + 2]
        data = [
            {
                "object": "project.rate_limit",
                "id": f"rl-{name}",
                "model": name,
                "max_requests_per_1_minute": self.limits[name].get("rpm", 0),
                "max_tokens_per_1_minute": self.limits[name].get("tpm", 0),
            }
            for name in page
        ]
        return listing(data, has_more=start + 2 < len(names))


def listing(data: list[dict[str, Any]], *, has_more: bool = False) -> dict[str, Any]:
    ids = [entry["id"] for entry in data]
    return {
        "object": "list",
        "data": data,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": has_more,
    }


class Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        facts: Server = self.server.facts
        facts.seen.append((path, self.headers.get("authorization", ""), ""))
        after = dict(part.split("=") for part in query.split("&") if "=" in part).get("after")
        if path == "/v1/organization/projects":
            entries = [
                {
                    "id": name,
                    "object": "organization.project",
                    "name": name.title(),
                    "created_at": 0,
                    "status": "active",
                }
                for name in facts.projects
            ]
            self.answer(200, listing(entries))
        elif path.endswith("/rate_limits"):
            self.answer(200, facts.rate_limits(after))
        elif path == "/v1/models":
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "x"} for name in facts.limits]
            self.answer(200, {"object": "list", "data": models})
        else:
            self.answer(404, {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        facts: Server = self.server.facts
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = body["model"]
        facts.seen.append((self.path, self.headers.get("authorization", ""), name))
        if name in facts.unknown:
            self.answer(404, {"error": {"message": f"The model {name} does not exist"}})
            return
        told = facts.limits[name]
        headers: dict[str, str] = {}
        for unit, meter in (("requests", "rpm"), ("tokens", "tpm")):
            limit = told.get(meter, 0)
            headers |= {
                f"x-ratelimit-limit-{unit}": str(limit),
                f"x-ratelimit-remaining-{unit}": str(limit - limit // 10),
                f"x-ratelimit-reset-{unit}": "6s",
            }
        self.answer(
            429 if name in facts.refused else 200, {"error": {"message": "slower"}, "data": [], "choices": []}, headers
        )

    def answer(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(content)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    facts = Server(limits={"gpt-4o": {"rpm": 5000, "tpm": 450_000}, "gpt-4.1": {"rpm": 5000, "tpm": 450_000}})
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.facts = facts  # type: ignore[attr-defined]
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        facts.base_url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        yield facts
        http.shutdown()
        thread.join()


def in_file(text: str, model: str) -> dict[str, int]:
    Path("made.yaml").write_text(text)
    match = resolve(load_limits("made.yaml"), environ={}).match(model)
    assert match is not None
    return {meter.name: meter.limit for meter in match.pools[0].meters}


def test_import_asks_the_administration_api_page_by_page(
    run: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-secret")
    server.limits["gpt-4o-mini"] = {"rpm": 5000, "tpm": 2_000_000}
    server.limits["gpt-9-unheard-of"] = {"rpm": 12}
    told = run("import", "--base-url", server.base_url)
    assert told.code == 0, told.err
    assert "throttle: these are the limits of tier-2" in told.err
    assert "throttle: gpt-4o tpm: 30,000 -> 450,000" in told.err
    assert in_file(told.out, "gpt-4o-2024-08-06") == {"rpm": 5000, "tpm": 450_000}
    assert in_file(told.out, "gpt-9-unheard-of") == {"rpm": 12}
    assert resolve(load_limits("made.yaml"), environ={}).tier == "tier-2"
    asked = [path for path, key, _ in server.seen if key == "Bearer sk-admin-secret"]
    assert asked == ["/v1/organization/projects"] + 2 * ["/v1/organization/projects/proj_1/rate_limits"]
    assert "secret" not in told.out + told.err


def test_import_wants_to_know_which_of_several_projects(
    run: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    server.projects = ["proj_1", "proj_2"]
    told = run("import", "--base-url", server.base_url)
    assert (told.code, told.out) == (2, "")
    assert told.err == "throttle: there are 2 projects: name one with --project: proj_1 (Proj_1), proj_2 (Proj_2)\n"
    assert run("import", "--base-url", server.base_url, "--project", "proj_2").code == 0


def test_import_probes_with_one_small_call_a_pool(run: Any, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ordinary")
    server.limits = {
        "gpt-4o": {"rpm": 5000, "tpm": 450_000},
        "gpt-4o-2024-08-06": {"rpm": 5000, "tpm": 450_000},
        "text-embedding-3-small": {"rpm": 5000, "tpm": 1_000_000},
        "omni-moderation-latest": {"rpm": 500, "tpm": 20_000},
        "gpt-3.5-turbo-instruct": {"rpm": 3500, "tpm": 2_000_000},
        "gpt-5.4-pro": {"rpm": 500, "tpm": 100_000},
        "o3": {"rpm": 5000, "tpm": 450_000},
        "gpt-image-2": {"rpm": 5},
        "whisper-1": {"rpm": 5},
    }
    server.refused = {"omni-moderation-latest"}
    server.unknown = {"o3"}
    told = run("import", "--probe", "--base-url", server.base_url)
    assert told.code == 0, told.err
    calls = {name: path for path, _, name in server.seen if name}
    assert calls == {
        "gpt-4o": "/v1/chat/completions",
        "o3": "/v1/chat/completions",
        "text-embedding-3-small": "/v1/embeddings",
        "omni-moderation-latest": "/v1/moderations",
        "gpt-3.5-turbo-instruct": "/v1/completions",
        "gpt-5.4-pro": "/v1/responses",
    }
    assert "throttle: o3: left out (404" in told.err
    assert "these are the limits of tier-2" in told.err
    assert in_file(told.out, "omni-moderation-latest") == {"rpm": 500, "tpm": 20_000}


def test_import_reads_a_recording(run: Any) -> None:
    lines = [
        {
            "model": "gpt-4o",
            "x-ratelimit-limit-requests": "10000",
            "x-ratelimit-limit-tokens": "2000000",
            "x-ratelimit-remaining-requests": "9999",
            "x-ratelimit-remaining-tokens": "1900000",
            "x-ratelimit-reset-requests": "8.64s",
            "x-ratelimit-reset-tokens": "3s",
        }
    ]
    Path("calls.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    told = run("import", "--from-recording", "calls.jsonl", "--json").json
    assert told["observed"] == {"gpt-4o": {"rpd": 10_000, "tpm": 2_000_000}}
    # tier-4 has no limit by the day to compare with, and its tokens fit
    assert told["matching_tiers"] == ["tier-4"]


def test_import_without_anything_found_says_so(run: Any) -> None:
    Path("calls.jsonl").write_text("{}\n")
    told = run("import", "--from-recording", "calls.jsonl")
    assert (told.code, told.err) == (2, "throttle: no limits were found there\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["import"], "OPENAI_ADMIN_KEY is not set: keys are taken from the environment only"),
        (["import", "--probe"], "OPENAI_API_KEY is not set: keys are taken from the environment only"),
        (["import", "--probe", "--from-recording", "x"], "--probe and --from-recording are two ways: give one of them"),
        (["import", "--from-recording", "none.jsonl"], "none.jsonl: no such file or directory"),
    ],
)
def test_import_that_cannot_be_done_is_one_line(run: Any, arguments: list[str], line: str) -> None:
    told = run(*arguments)
    assert told.code != 0
    assert told.err == f"throttle: {line}\n"


def recorded() -> None:
    record = {"model": "gpt-4o", "x-ratelimit-limit-requests": "5000", "x-ratelimit-limit-tokens": "450000"}
    Path("calls.jsonl").write_text(json.dumps(record))


def test_import_writes_a_new_file_without_asking(run: Any) -> None:
    recorded()
    told = run("import", "--from-recording", "calls.jsonl", "-o", "limits.yaml")
    assert (told.code, told.out) == (0, "")
    assert told.err.splitlines()[-1] == "throttle: limits.yaml is written"
    assert in_file(Path("limits.yaml").read_text(), "gpt-4o") == {"rpm": 5000, "tpm": 450_000}


def test_import_does_not_replace_a_file_unasked_and_keeps_the_old_one(run: Any) -> None:
    recorded()
    Path("limits.yaml").write_text("accounts: {default: {tier: tier-1}}\n")
    told = run("import", "--from-recording", "calls.jsonl", "-o", "limits.yaml")
    assert told.code == 2
    assert "give --yes to replace it (the old one is kept as limits.yaml.bak)" in told.err
    assert "gpt-4o rpm: 500 -> 5,000" in told.err
    assert "tier-1" in Path("limits.yaml").read_text()
    assert run("import", "--from-recording", "calls.jsonl", "-o", "limits.yaml", "--yes").code == 0
    assert "tier-1" in Path("limits.yaml.bak").read_text()
    assert "tier-2" in Path("limits.yaml").read_text()

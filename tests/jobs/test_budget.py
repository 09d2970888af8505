from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

import throttle
from tests.jobs.support import Api, chat_line
from throttle.jobs import Report, arun, load_prices
from throttle.jobs.budget import Budget
from throttle.jobs.usage import Usage

PRICES = {"m": {"input": 1_000_000, "output": 2_000_000}}  # one for a token in, two for one out


def lines(count: int, **more: Any) -> list[dict[str, Any]]:
    return [chat_line(f"n{i}", "hi", max_tokens=2, **more) for i in range(count)]


def go(api: Api, count: int, output: Path, **settings: Any) -> Report:
    return anyio.run(lambda: arun(lines(count), api.client(), output, **settings))


def test_a_reservation_never_lets_the_sum_exceed_the_budget() -> None:
    budget = Budget(max_tokens=100)
    assert budget.reserve(60, 0.0)
    assert not budget.reserve(41, 0.0)
    assert budget.reserve(40, 0.0)
    budget.settle(60, 0.0)
    budget.use(Usage(10, 5), 0.0)
    assert not budget.reserve(46, 0.0)
    assert budget.reserve(45, 0.0)


def test_a_job_stops_cleanly_at_its_budget_of_tokens(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    report = go(Api(), 1000, output, max_tokens_total=200)  # an answer uses 5, as much as 8 + 2 are foreseen for
    assert report.stopped is not None
    assert report.stopped.startswith("budget: ")
    assert 190 <= report.usage.tokens <= 200
    assert (report.failed, report.left) == (0, 1000 - report.answered)


def test_the_budget_is_the_whole_jobs_over_all_its_runs(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    first = go(Api(), 1000, output, max_tokens_total=200)
    again = Api()
    report = go(again, 1000, output, max_tokens_total=200)
    assert (again.asked, report.answered) == ([], first.answered)
    report = go(Api(), 1000, output, max_tokens_total=400)
    assert 380 <= report.answered * 5 <= 400


def test_a_job_stops_cleanly_at_its_budget_of_money(tmp_path: Path) -> None:
    report = go(Api(), 1000, tmp_path / "out.jsonl", max_cost=100.0, prices=PRICES)  # an answer costs 3 + 2 * 2
    assert report.stopped is not None
    assert report.stopped.startswith("budget: ")
    assert 80 <= report.cost <= 100
    report = go(Api(), 1000, tmp_path / "out.jsonl", max_cost=200.0, prices=PRICES)
    assert report.answered * 7 <= 200


def test_a_bound_on_the_cost_needs_a_price_for_every_model(tmp_path: Path) -> None:
    api = Api()
    with pytest.raises(throttle.LimitsError, match="no price for m"):
        go(api, 3, tmp_path / "out.jsonl", max_cost=1.0)
    assert api.asked == []


def test_costs_are_counted_where_prices_are_given(tmp_path: Path) -> None:
    assert go(Api(), 10, tmp_path / "out.jsonl", prices=PRICES).cost == pytest.approx(70.0)


def test_prices_go_by_name_then_by_the_longest_pattern() -> None:
    prices = load_prices({"gpt-4o": {"input": 1}, "gpt-*": {"input": 2}, "gpt-4*": {"input": 3}})
    found = {model: prices.of(model) for model in ("gpt-4o", "gpt-5", "gpt-4.1", "o3")}
    assert {model: price.input if price else None for model, price in found.items()} == {
        "gpt-4o": 1,
        "gpt-5": 2,
        "gpt-4.1": 3,
        "o3": None,
    }


def test_cached_input_has_a_price_of_its_own() -> None:
    price = load_prices({"m": {"input": 2, "output": 8, "cached_input": 1}}).of("m")
    assert price is not None
    assert price.of(Usage(1_000_000, 500_000, 400_000)) == pytest.approx(0.6 * 2 + 0.4 * 1 + 0.5 * 8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "prices are a map of models"),
        ("m: 5", "m: a price has at least an input"),
        ("m: {input: -1}", "m: input is -1"),
        ("m: {input: 1, outptu: 2}", "unknown key 'outptu'"),
        ("m: {input: 1", "not YAML"),
    ],
)
def test_a_wrong_list_of_prices_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(throttle.LimitsError) as caught:
        load_prices(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_list_of_prices_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(throttle.LimitsError, match="no such file"):
        load_prices(tmp_path / "none.yaml")

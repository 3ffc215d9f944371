"""A budget counts a request at most before it is sent, and as it was afterwards."""

import pytest

from legorec.texts.budget import Budget, Cost, Prices


def test_what_is_under_way_is_counted_at_most_until_it_is_settled():
    budget = Budget(tokens=100, money=1.0, prices=Prices(1000.0, 10000.0))
    cost = Cost(10, 40)
    assert budget.refuses(cost) is None
    budget.reserve(0, cost)
    assert budget.refuses(cost) is None
    budget.reserve(1, cost)
    assert budget.refuses(Cost(1, 0)) == "100 tokens (100 are spent, and the next request may take 1)"
    assert budget.refuses(Cost(1, 0), with_reserved=False) is None
    budget.settle(0, Cost(10, 5))
    budget.settle(1, Cost(0, 0))
    assert (budget.sent, budget.prompt_tokens, budget.completion_tokens) == (2, 10, 5)
    assert budget.spent == pytest.approx(0.06)
    assert budget.refuses(Cost(0, 85)) is None and budget.refuses(Cost(0, 86)) is not None
    assert budget.refuses(Cost(0, 80), with_reserved=False) is None


def test_money_is_counted_at_the_prices_of_a_million_tokens():
    budget = Budget(money=3.0, prices=Prices(1.0, 2.0))
    budget.reserve(0, Cost(1_000_000, 500_000))
    assert budget.refuses(Cost(0, 500_000)) is None
    assert budget.refuses(Cost(0, 500_001)) == "3 (2.0000 is spent, and the next request may take 1.0000)"
    assert Budget().spent is None
    with pytest.raises(ValueError, match=r"a budget of money \(3\) needs `prices`"):
        Budget(money=3.0)


def test_requests_are_counted_when_they_are_sent():
    budget = Budget(requests=1)
    assert budget.refuses(Cost(9, 9)) is None
    budget.reserve(0, Cost(9, 9))
    assert budget.refuses(Cost(0, 0), with_reserved=False) == "1 requests"

"""What a run may spend: requests, tokens, money."""

from __future__ import annotations

from dataclasses import dataclass

MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """Of a million tokens, in whatever currency."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of some tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / MILLION


@dataclass(frozen=True)
class Cost:
    """Tokens of one request: at most before it is sent, and what they were after it is answered."""

    prompt: int
    completion: int

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion


class Budget:
    """What is left to spend; a request is counted at most before it is sent, and as it was afterwards.

    Args:
        requests, tokens, money: the limits; None: there is none.
        prices: of the tokens; None: no money is counted.
    """

    def __init__(
        self,
        requests: int | None = None,
        tokens: int | None = None,
        money: float | None = None,
        prices: Prices | None = None,
    ) -> None:
        if money is not None and prices is None:
            raise ValueError(f"a budget of money ({money:g}) needs `prices`, of a million tokens")
        self.requests, self.tokens, self.money, self.prices = requests, tokens, money, prices
        self.sent = self.prompt_tokens = self.completion_tokens = 0  # of what was answered
        self._reserved: dict[int, Cost] = {}
        self._reserved_prompt = self._reserved_completion = 0

    @property
    def spent(self) -> float | None:
        """Money for what was answered; None without prices."""
        return None if self.prices is None else self.prices.of(self.prompt_tokens, self.completion_tokens)

    def refuses(self, cost: Cost, with_reserved: bool = True) -> str | None:
        """Which limit a request might pass; None where it may be sent.

        Args:
            with_reserved: what is under way is counted, at most; else it is taken to cost nothing.
        """
        prompt = self.prompt_tokens + self._reserved_prompt * with_reserved
        completion = self.completion_tokens + self._reserved_completion * with_reserved
        if self.requests is not None and self.sent >= self.requests:
            return f"{self.requests:,} requests"
        if self.tokens is not None and prompt + completion + cost.tokens > self.tokens:
            return (
                f"{self.tokens:,} tokens ({prompt + completion:,} are spent, and the next request may take "
                f"{cost.tokens:,})"
            )
        if self.money is not None and self.prices is not None:
            spent, next_one = self.prices.of(prompt, completion), self.prices.of(cost.prompt, cost.completion)
            if spent + next_one > self.money * (1 + 1e-12):
                return f"{self.money:g} ({spent:.4f} is spent, and the next request may take {next_one:.4f})"
        return None

    def reserve(self, number: int, cost: Cost) -> None:
        """Count a request that is sent now, at most; ``number`` is its own until it is settled."""
        self.sent += 1
        self._reserved[number] = cost
        self._reserved_prompt += cost.prompt
        self._reserved_completion += cost.completion

    def settle(self, number: int, cost: Cost) -> None:
        """Count a request that was answered as it was."""
        at_most = self._reserved.pop(number)
        self._reserved_prompt -= at_most.prompt
        self._reserved_completion -= at_most.completion
        self.prompt_tokens += cost.prompt
        self.completion_tokens += cost.completion

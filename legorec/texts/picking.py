"""From the scores of a model to the next token of each row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from legorec.texts.generator import GenerationParameters

ENOUGH = 1024  # tokens that nearly always reach ``top_p``; sorting a whole vocabulary takes long


class Picker:
    """Picks tokens for the rows of a batch; what it picks for a row does not depend on the others.

    Where tokens are drawn, each row has its own uniform numbers, a function of the seed, its prompt and the
    number of its text alone, and a token is found from one of them through the cumulative probabilities.

    Args:
        prompts: token ids of each row, without padding.
        numbers: which text of its request each row is.
        vocab_size: of the scores.

    Raises:
        ValueError: tokens are drawn without a seed.
    """

    def __init__(
        self,
        parameters: GenerationParameters,
        prompts: Sequence[Sequence[int]],
        numbers: Sequence[int],
        vocab_size: int,
        device: torch.device,
    ) -> None:
        self._parameters = parameters
        self._seen_BV: Tensor | None = None
        self._uniform_BT: Tensor | None = None
        if parameters.repetition_penalty != 1.0:
            seen_BV = torch.zeros(len(prompts), vocab_size, dtype=torch.bool)
            for row, ids in enumerate(prompts):
                seen_BV[row, list(ids)] = True  # not the padding, which would depend on the batch
            self._seen_BV = seen_BV.to(device)
        if parameters.temperature > 0:
            check_seed(parameters)
            seed, length = parameters.seed or 0, parameters.max_tokens
            drawn = [_uniform(seed, ids, each, length) for ids, each in zip(prompts, numbers, strict=True)]
            exact = torch.float32 if device.type == "mps" else torch.float64  # which has no more
            self._uniform_BT = torch.stack(drawn).to(device, exact)

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows."""
        if self._seen_BV is not None:
            self._seen_BV = self._seen_BV[rows]
        if self._uniform_BT is not None:
            self._uniform_BT = self._uniform_BT[rows]

    def pick(self, scores_BV: Tensor, step: int, allowed_BV: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The next tokens (B,), and the logarithms of their probabilities under the model itself (B,).

        The probabilities are those of its scores alone: without temperature, penalty, or what is not allowed.
        """
        scores_BV = scores_BV.float()
        changed_BV = scores_BV
        if self._seen_BV is not None:
            penalty = self._parameters.repetition_penalty
            lower_BV = torch.where(scores_BV > 0, scores_BV / penalty, scores_BV * penalty)
            changed_BV = torch.where(self._seen_BV, lower_BV, scores_BV)
        if allowed_BV is not None:
            changed_BV = changed_BV.masked_fill(~allowed_BV, -torch.inf)
        if self._uniform_BT is None:
            token_B = changed_BV.argmax(-1)
        else:
            token_B = self._drawn(changed_BV / self._parameters.temperature, self._uniform_BT[:, step])
        if self._seen_BV is not None:
            self._seen_BV.scatter_(1, token_B[:, None], True)
        log_B = scores_BV.gather(1, token_B[:, None])[:, 0] - scores_BV.logsumexp(-1)
        return token_B, log_B

    def _drawn(self, scores_BV: Tensor, uniform_B: Tensor) -> Tensor:
        # In the order of the vocabulary: sorted, two tokens of nearly one probability could change places.
        weight_BV = scores_BV.to(uniform_B.dtype).softmax(-1)
        if self._parameters.top_k or self._parameters.top_p < 1:
            weight_BV = _most_probable(weight_BV, self._parameters.top_k, self._parameters.top_p)
        sum_BV = weight_BV.cumsum(-1)
        total_B1 = sum_BV[:, -1:]
        # Below the total, or a token without probability could be the one.
        goal_B1 = (uniform_B[:, None] * total_B1).minimum(total_B1.nextafter(torch.zeros_like(total_B1)))
        return torch.searchsorted(sum_BV, goal_B1, right=True)[:, 0]


def check_seed(parameters: GenerationParameters) -> None:
    """Refuse draws that could not be repeated.

    Raises:
        ValueError: tokens are drawn without a seed.
    """
    if parameters.temperature > 0 and parameters.seed is None:
        raise ValueError("`seed` must be given where a local model draws tokens (`temperature` above 0)")


def _most_probable(weight_BV: Tensor, top_k: int, top_p: float) -> Tensor:
    """The weights of the ``top_k`` tokens, and of these as many as it takes to ``top_p``; else 0.

    The token with which the sum reaches ``top_p`` is the last one taken (Holtzman et al., 2020, section 3.1).
    """
    size = weight_BV.size(1)
    sorted_BK, place_BK = weight_BV.topk(min(top_k or ENOUGH, size), sorted=True)
    total_B1 = (sorted_BK if top_k else weight_BV).sum(-1, keepdim=True)
    reach_B1 = top_p * total_B1
    if not top_k and sorted_BK.size(1) < size and bool((sorted_BK.sum(-1, keepdim=True) < reach_B1).any()):
        sorted_BK, place_BK = weight_BV.sort(-1, descending=True)
    before_BK = sorted_BK.cumsum(-1) - sorted_BK
    sorted_BK = sorted_BK.masked_fill(before_BK >= reach_B1, 0.0)
    return torch.zeros_like(weight_BV).scatter_(1, place_BK, sorted_BK)


def _uniform(seed: int, ids: Sequence[int], number: int, length: int) -> Tensor:
    text = f"{seed} {number} {' '.join(map(str, ids))}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    return torch.rand(length, generator=generator, dtype=torch.float64)

"""Which tokens of a text a language model is to tell (BERT; Devlin et al., 2019, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from legorec.aligning.items import ItemBatch
from legorec.data.draws import Purpose, generator
from legorec.nn.sending import sent

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MASKS = ("[MASK]", "<mask>")
REPLACED, RANDOM = 0.8, 0.1  # shares of the chosen tokens; the rest stay as they are


@dataclass(frozen=True)
class MaskedBatch:
    """Texts of items, and the same texts with some tokens masked."""

    texts: ItemBatch
    masked: Tensor  # (T,) the tokens, those at ``places`` perhaps replaced
    places: Tensor  # (S,) places in ``masked`` of the tokens that are to be told

    @property
    def number(self) -> int:
        """Its place in the run, for messages."""
        return self.texts.number

    @property
    def group(self) -> Tensor:
        """(B,) the items, for messages."""
        return self.texts.items

    def to(self, device: torch.device | str) -> MaskedBatch:
        """The same batch on a device."""
        masked, places = sent(device, self.masked, self.places)
        return replace(self, texts=self.texts.to(device), masked=masked, places=places)


class Masking:
    """Chooses a share of a text's tokens, never special ones: 80 % become the mask, 10 % another token, 10 %
    stay.

    What is drawn for a text is a function of the seed, the item and the pass.

    Args:
        share: of the tokens that are chosen.

    Raises:
        ValueError: the tokenizer has no mask token.
    """

    def __init__(self, tokenizer: Tokenizer, share: float, seed: int) -> None:
        found = [number for each in MASKS if (number := tokenizer.token_to_id(each)) is not None]
        if not found:
            raise ValueError(
                f"the tokenizer has no mask token ({' or '.join(MASKS)}): masked language modelling is for "
                "models that read in both directions, such as BERT"
            )
        self.mask, self.share, self.seed = found[0], share, seed
        size = tokenizer.get_vocab_size(with_added_tokens=True)
        self.special = np.zeros(size, dtype=bool)
        for number, token in tokenizer.get_added_tokens_decoder().items():
            self.special[number] |= token.special
        self.special[self.mask] = True
        self.ordinary = np.flatnonzero(~self.special)

    def __call__(self, batch: ItemBatch, turn: int) -> MaskedBatch:
        """The batch with its masked tokens, in pass ``turn``."""
        tokens = batch.tokens.numpy()
        masked, chosen = tokens.copy(), np.zeros(len(tokens), dtype=bool)
        ends = batch.lengths.numpy().cumsum()
        for item, stop, length in zip(batch.items.tolist(), ends, batch.lengths.tolist(), strict=True):
            row = slice(stop - length, stop)
            masked[row], chosen[row] = self.row(tokens[row], item, turn)
        places = torch.from_numpy(np.flatnonzero(chosen))
        return MaskedBatch(batch, torch.from_numpy(masked), places)

    def row(self, tokens_L: np.ndarray, item: int, turn: int) -> tuple[np.ndarray, np.ndarray]:
        """(L,) the tokens of one text after masking, and (L,) True where one was chosen."""
        draws = generator(self.seed, Purpose.MASKED_TOKENS, (turn << 32) + item)
        chosen = (draws.random(len(tokens_L)) < self.share) & ~self.special[tokens_L]
        fate = draws.random(len(tokens_L))
        others = draws.choice(self.ordinary, len(tokens_L))
        masked = np.where(chosen & (fate < REPLACED), self.mask, tokens_L)
        return np.where(chosen & (fate >= REPLACED) & (fate < REPLACED + RANDOM), others, masked), chosen

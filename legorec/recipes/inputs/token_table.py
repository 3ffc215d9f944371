"""Check that the token table of the ``embed`` layer is the one inside the language model's checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from legorec.abilities import LanguageModel
from legorec.recipes.inputs.given_vectors import read_matrix

if TYPE_CHECKING:
    from legorec.settings import EmbedSettings

SAMPLED = 64  # rows that are compared, spread over the table


def check_token_table(settings: EmbedSettings, pretrained: LanguageModel) -> None:
    """With a language model, ``embed`` only names the table that its checkpoint holds anyway.

    Some rows are compared, so that neither table is read in full.

    Raises:
        ValueError: there are other tables, or the one is another model's.
    """
    if not settings.tables:
        return
    if len(settings.tables) > 1:
        raise ValueError(
            f"embed.tables names {len(settings.tables)} tables; with a language model as source it names the "
            "token table of its checkpoint, or none"
        )
    named = settings.tables[0]
    for key, value in (("field", named.field), ("dropout", named.dropout)):
        if value:
            raise ValueError(
                f"embed.tables.0.{key} is read with word-level models alone: with a language model as source "
                f"the table is that of its checkpoint; got {value!r}"
            )
    path = named.path
    table = read_matrix(Path(path))
    wanted = (pretrained.vocab_size, pretrained.token_width)
    if table.shape[1] != wanted[1] or len(table) > wanted[0]:
        raise ValueError(
            f"{path} is {tuple(table.shape)}, the token table of {pretrained.name} is {wanted}; give the "
            "embed layer that was exported from this checkpoint, or none"
        )
    if table.device.type == "meta":  # only counted
        return
    rows = np.unique(np.linspace(0, len(table) - 1, SAMPLED).astype(int)).tolist()
    own = pretrained.token_rows(rows)
    given = table[rows]
    if not torch.allclose(given.float(), own.to(given.dtype).float(), rtol=1e-2, atol=1e-4):
        raise ValueError(
            f"{path} is not the token table of {pretrained.name}: its rows differ; give the embed layer that "
            "was exported from this checkpoint, or none"
        )

"""Read the tables of vectors that the settings name, and check them against the vocabularies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from legorec.batch import TokenVectors
from legorec.data.vectors import ITEMS, Rows
from legorec.files.sealed import load_sealed

if TYPE_CHECKING:
    from legorec.recipes.inputs.store_data import Data
    from legorec.settings import EmbedSettings, TokenTableSettings


def read_tables(settings: EmbedSettings, data: Data) -> dict[str, TokenVectors]:
    """The given tables of ``embed.tables``, by vocabulary; ``items`` names one with a row per item.

    A table that says how many of its rows are of tokens is cut to these.

    Raises:
        ValueError: a file is missing, holds no matrix, has another number of rows than the vocabulary, or
            says that its rows are of other tokens or items.
    """
    tables = {}
    for table in settings.tables:
        known = data.catalog.vocabularies | {ITEMS: data.num_items}
        rows = known.get(table.vocabulary)
        if rows is None:
            raise ValueError(
                f"embed.tables names the vocabulary '{table.vocabulary}', which no field of `data.fields` "
                f"uses; there are {', '.join(known)}"
            )
        weight = read_matrix(Path(table.path))
        stated = Rows.stated_in(Path(table.path))
        if stated is not None:
            weight = weight[: stated.count]  # a language model's table may be padded
        if len(weight) != rows:
            raise ValueError(
                f"{table.path} has {len(weight)} rows, the vocabulary '{table.vocabulary}' has {rows}; "
                "the table must belong to the tokenizer, or the items, of this store"
            )
        if stated is not None:
            _check_owner(table, stated, data)
        tables[table.vocabulary] = TokenVectors(weight, frozen=table.frozen, transform=table.transform)
    return tables


def _check_owner(table: TokenTableSettings, stated: Rows, data: Data) -> None:
    """Check whose rows they are: two stores may cut their vocabularies to the same size."""
    if table.vocabulary == ITEMS:
        own = Rows.of_items(data.store)
    elif table.vocabulary in data.store.manifest["tokenizers"]:
        own = Rows.of_tokens(data.store.tokenizer(table.vocabulary))
    else:
        return
    if own != stated:
        of = "items" if table.vocabulary == ITEMS else f"tokens of the vocabulary '{table.vocabulary}'"
        raise ValueError(
            f"{table.path} was made for other {of} than those of {data.store.path}, though as many; write it "
            "again with process/embed.py"
        )


def read_matrix(path: Path) -> Tensor:
    """A matrix from ``.npy`` (never pickled) or from the one tensor of a ``.safetensors`` file.

    Under ``torch.device("meta")`` its values are not read.
    """
    only_shape = torch.get_default_device().type == "meta"
    if not path.is_file():
        raise ValueError(f"embed.tables: {path} does not exist; write it with process/embed.py")
    if path.suffix == ".npy":
        try:
            mapped: Literal["c"] | None = "c" if only_shape else None
            matrix = torch.from_numpy(np.load(path, mapped, allow_pickle=False))
        except (ValueError, TypeError, EOFError):
            raise ValueError(
                f"embed.tables: {path} is no plain .npy matrix (a pickled one is refused)"
            ) from None
    elif path.suffix == ".safetensors":
        try:
            tensors = list(load_sealed(path, verify=not only_shape).values())
        except ValueError as error:
            raise ValueError(f"embed.tables: {error}") from error
        if len(tensors) != 1:
            raise ValueError(f"embed.tables: {path} must hold one tensor, it holds {len(tensors)}")
        matrix = tensors[0]
    else:
        raise ValueError(f"embed.tables: {path} must be a .npy or .safetensors file")
    if matrix.ndim != 2 or not matrix.is_floating_point():
        raise ValueError(
            f"embed.tables: {path} must hold a matrix of floats, one row per token; it holds "
            f"{tuple(matrix.shape)} of {matrix.dtype}"
        )
    if only_shape:
        matrix = matrix.to("meta")
    elif not matrix.isfinite().all():
        raise ValueError(f"embed.tables: {path} holds values that are not finite")
    return matrix.float() if matrix.dtype == torch.float64 else matrix

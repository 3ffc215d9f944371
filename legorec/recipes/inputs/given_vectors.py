"""Read the tables of vectors that the settings name, and check them against the vocabularies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from legorec.batch import TokenVectors
from legorec.data.vectors import ITEMS, Rows, made_with
from legorec.files.sealed import load_sealed
from legorec.lm.item_encoding import tokenizer_digest
from legorec.lm.pretrained import find_pretrained

if TYPE_CHECKING:
    from legorec.recipes.inputs.store_data import Data
    from legorec.settings import EmbedSettings, TokenTableSettings


def read_tables(settings: EmbedSettings, data: Data) -> dict[str, TokenVectors]:
    """The given tables of ``embed.tables``, by vocabulary, or as ``own_table`` calls that of a field; the
    vocabulary ``items`` has a row per item.

    A table that says how many of its rows are of tokens is cut to these.

    Raises:
        ValueError: a file is missing, holds no matrix, has another number of rows than the vocabulary, or
            says that its rows are of other tokens or items, or that it was made with other settings.
    """
    tables = {}
    for table in settings.tables:
        vocabulary, rows = _owner(table, data)
        weight = read_matrix(Path(table.path))
        _check_made_with(table)
        stated = Rows.stated_in(Path(table.path))
        if stated is not None:
            weight = weight[: stated.count]  # a language model's table may be padded
        if len(weight) != rows:
            raise ValueError(
                f"{table.path} has {len(weight)} rows, the vocabulary '{vocabulary}' has {rows}; "
                "the table must belong to the tokenizer, or the items, of this store"
            )
        if stated is not None:
            _check_owner(table.path, vocabulary, stated, data)
        tables[table.owner] = TokenVectors(weight, table.frozen, table.transform, table.dropout)
    return tables


def _owner(table: TokenTableSettings, data: Data) -> tuple[str, int]:
    """Whose rows a table must have: the vocabulary, or ``items``, and their number.

    Raises:
        ValueError: no field uses the vocabulary, or there is no such field, or one without a vocabulary.
    """
    fields = {part.name: part for part in data.catalog.fields if part.kind != "number"}
    if table.field is not None:
        part = fields.get(table.field)
        if part is None:
            raise ValueError(
                f"embed.tables names the field '{table.field}', which is none of `data.fields` with a "
                f"vocabulary; there are {', '.join(fields)}"
            )
        return part.vocabulary, part.vocab_size
    known = data.catalog.vocabularies | {ITEMS: data.num_items}
    if table.vocabulary not in known:
        raise ValueError(
            f"embed.tables names the vocabulary '{table.vocabulary}', which no field of `data.fields` "
            f"uses; there are {', '.join(known)}"
        )
    return table.vocabulary, known[table.vocabulary]


def _check_made_with(table: TokenTableSettings) -> None:
    """Check what the layer says of the table: a file of another making may lie in its place."""
    required = table.made_with | ({} if table.checkpoint is None else _of_checkpoint(table.checkpoint))
    there = made_with(Path(table.path)) if required else {}
    for name, wanted in required.items():
        if name not in there:
            raise ValueError(
                f"{table.path} does not say which `{name}` it was made with, the layer requires {wanted!r}; "
                "write it with process/embed.py items, or leave `made_with` out"
            )
        if there[name] != wanted:
            raise ValueError(
                f"{table.path} was made with `{name}` = {there[name]!r}, the layer requires {wanted!r}; "
                "write one of them with process/embed.py items under a --name of its own"
            )


def _of_checkpoint(name: str) -> dict[str, str]:
    """What a table says of the language model that made it."""
    pretrained = find_pretrained(name)
    return {"weights": pretrained.digest(), "tokenizer": tokenizer_digest(pretrained)}


def _check_owner(path: str, vocabulary: str, stated: Rows, data: Data) -> None:
    """Check whose rows they are: two stores may cut their vocabularies to the same size."""
    if vocabulary == ITEMS:
        own = Rows.of_items(data.store)
    elif vocabulary in data.store.manifest["tokenizers"]:
        own = Rows.of_tokens(data.store.tokenizer(vocabulary))
    else:
        return
    if own != stated:
        of = "items" if vocabulary == ITEMS else f"tokens of the vocabulary '{vocabulary}'"
        raise ValueError(
            f"{path} was made for other {of} than those of {data.store.path}, though as many; write it "
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

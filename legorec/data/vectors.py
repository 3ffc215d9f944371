"""Vectors or semantic codes in a file that says what its rows belong to, and the ``embed`` layer for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
import yaml
from safetensors import safe_open
from torch import Tensor

from legorec.data.layout import check_name
from legorec.data.text import vocab_size
from legorec.files.digest import digest_bytes
from legorec.files.json_text import parse_json
from legorec.files.sealed import load_sealed, save_sealed
from legorec.files.whole import save_whole, written_whole

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from legorec.data.store import Store

ITEMS = "items"
KEY = "legorec.rows"
SIZES_KEY = "legorec.codes"
MADE_WITH_KEY = "legorec.made_with"
EXPORTED, EXPORTED_IDS = "items.safetensors", "item_ids.parquet"  # written by a run in mode export
TEXT_TAG = "tag:yaml.org,2002:str"
DEFAULTS = {"frozen": True, "transform": "auto"}


@dataclass(frozen=True)
class Rows:
    """What the first rows of a table belong to; a language model may pad its table with more rows.

    Args:
        count: tokens of a vocabulary, or items.
        digest: of the tokens with their ids, or of the raw ids of the items.
    """

    count: int
    digest: str

    @classmethod
    def of_tokens(cls, tokenizer: Tokenizer) -> Rows:
        """Equal where two tokenizers give every token the same id."""
        tokens = sorted((number, token) for token, number in tokenizer.get_vocab().items())
        return cls(vocab_size(tokenizer), digest_bytes(json.dumps(tokens).encode()))

    @classmethod
    def of_items(cls, store: Store) -> Rows:
        """Equal where two stores have the same items in the same order."""
        return cls(len(store.items), store.manifest["files"]["items/ids.safetensors"]["blake2b"])

    @classmethod
    def stated_in(cls, path: Path) -> Rows | None:
        """The owner that a file names; None if it names none."""
        if path.suffix != ".safetensors":
            return None
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get(KEY)
        try:
            return cls(**parse_json(said)) if said else None
        except (ValueError, TypeError):
            raise ValueError(f"{path}: its header does not say whose rows it holds; write it again") from None


def made_with(path: Path) -> dict[str, Any]:
    """What a table was made with, as far as it says it.

    Raises:
        ValueError: its header cannot be read.
    """
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        said = (file.metadata() or {}).get(MADE_WITH_KEY)
    found = parse_json(said) if said else {}
    if not isinstance(found, dict):
        raise ValueError(f"{path}: its header does not say what it was made with; write it again")
    return found


def table_content(
    path: Path, matrix: Tensor, rows: Rows, settings: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a table of vectors, and what its header says.

    Raises:
        ValueError: a value is not finite.
    """
    if not matrix.isfinite().all():
        raise ValueError(
            f"{path}: some values are not finite as {matrix.dtype}, so nothing was written; "
            "--dtype takes another"
        )
    said = {KEY: json.dumps(asdict(rows))}
    if settings:
        said[MADE_WITH_KEY] = json.dumps(dict(settings))
    return {"vectors": matrix}, said


def save_table(path: Path, matrix: Tensor, rows: Rows, settings: Mapping[str, Any]) -> None:
    """Write a table of vectors without a layer, as a run does that leaves one in its folder.

    Raises:
        ValueError: a value is not finite.
        WriteError: the disk is full, or may not be written.
    """
    tensors, said = table_content(path, matrix, rows, settings)
    with written_whole(path, matrix.nbytes) as temporary:
        save_sealed(tensors, temporary, {"format": "pt", **said})


class _Quoted(str):
    """A text that is quoted in YAML, so that one like ``1e5`` stays a text."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Quoted, lambda dumper, text: dumper.represent_scalar(TEXT_TAG, str(text), style='"'))


class NewTable:
    """A file to be written, ``tables/NAME.safetensors``, and its layer, ``configs/NAME.yaml``.

    An existing layer that says the same is left unchanged, with its comments.

    Args:
        vocabulary: whose vectors they are: a tokenizer of a store, or ``items``. None for semantic codes.
        remark: the comment at the top of a new layer.
        overwrite: replace existing files.
        settings: what the vectors are made with; it stands in the file and in the layer, and a run refuses
            a file that was made with something else than its layer says.
    Raises:
        ValueError: the file exists, or a layer that says something else; or a text that a layer would read as
            a reference.
    """

    def __init__(
        self,
        name: str,
        vocabulary: str | None,
        tables: Path,
        configs: Path,
        remark: str,
        overwrite: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if vocabulary is not None:
            check_name(vocabulary, "vocabulary")
        if not re.fullmatch(r"[\w@+=,-][\w@+=.,-]*", name):
            raise ValueError(f"`name` must be letters, digits and -_.@+=, as it names files; got '{name}'")
        self.path = tables / f"{name}.safetensors"
        self.layer_path = configs / f"{name}.yaml"
        path = {"path": self.path.as_posix()}
        self._layer: dict[str, Any] = {"name": name, "tables": []}
        if vocabulary is None:
            self._layer["codes"] = path
        else:
            self._layer["tables"] = [{"vocabulary": vocabulary, **path, **DEFAULTS}]
        self._settings = dict(settings or {})
        if settings:
            self._layer["tables"][0]["made_with"] = self._settings
            for name, value in settings.items():
                if "${" in str(value):
                    raise ValueError(
                        f"`{name}` may not hold '${{', which a layer reads as a reference: {value!r}"
                    )
        self._remark = remark
        self._overwrite = overwrite
        self._check()
        self._layer_is_there = self.layer_path.exists() and _meaning(self.layer_path) == self._layer
        if self.layer_path.exists() and not self._layer_is_there and not overwrite:
            raise ValueError(
                f"{self.layer_path}: it exists and says something else; give another --name, or --overwrite "
                "to replace it"
            )

    def _check(self) -> None:
        if self.path.exists() and not self._overwrite:
            raise ValueError(f"{self.path}: it exists; give another --name, or --overwrite to replace it")

    def write(self, matrix: Tensor, rows: Rows) -> None:
        """Write the table, then the layer if it does not exist; each appears complete or not at all.

        Raises:
            ValueError: a value is not finite.
            OSError: the disk is full or not writable.
        """
        self._write(*table_content(self.path, matrix, rows, self._settings))

    def write_codes(self, codes: np.ndarray, sizes: Sequence[int], rows: Rows | None) -> None:
        """Write codes (num_items, levels), as ``write`` does vectors.

        Args:
            sizes: how many codes each level has, even if no item has the last ones.
            rows: whose codes they are; None if unknown.
        Raises:
            OSError: the disk is full or not writable.
        """
        said = {SIZES_KEY: json.dumps({"sizes": list(sizes)})}
        if rows is not None:
            said[KEY] = json.dumps(asdict(rows))
        self._write({"codes": torch.from_numpy(codes.astype(np.int32))}, said)

    def _write(self, tensors: dict[str, Tensor], said: dict[str, str]) -> None:
        size = sum(tensor.nbytes for tensor in tensors.values())
        with written_whole(self.path, size, "about ") as temporary:
            save_sealed(tensors, temporary, {"format": "pt", **said})
            self._check()  # again: another process may have written it meanwhile
        if not self._layer_is_there:
            save_whole(self.layer_path, self.layer_text().encode())

    def layer_text(self) -> str:
        """The text of the layer."""
        body = yaml.dump(
            _quoted(self._layer), None, _Dumper, sort_keys=False, allow_unicode=True, width=1 << 16
        )
        return f"# {self._remark}\n{body}"


def _quoted(tree: Any, within: bool = False) -> Any:
    """The layer with the texts of ``made_with`` quoted."""
    if isinstance(tree, dict):
        return {key: _quoted(value, within or key == "made_with") for key, value in tree.items()}
    if isinstance(tree, list):
        return [_quoted(value, within) for value in tree]
    return _Quoted(tree) if within and isinstance(tree, str) else tree


def _meaning(path: Path) -> Any:
    """The content of a layer, with the defaults filled in."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {**found, "tables": [{**DEFAULTS, **table} for table in found.get("tables", [])]}
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError, TypeError, AttributeError):
        return None


def sizes_stated_in(path: Path) -> tuple[int, ...] | None:
    """How many codes each level has, according to a file of semantic codes; None if it does not say."""
    with safe_open(path, framework="pt") as file:
        said = (file.metadata() or {}).get(SIZES_KEY)
    return tuple(parse_json(said)["sizes"]) if said else None


def map_items(path: Path, store: Store | None = None) -> tuple[Tensor, Rows | None]:
    """Vectors of items (N, E), mapped if the file allows it, and whose they are, as far as that is known.

    Args:
        path: a table that ``NewTable`` wrote, ``items.safetensors`` of a run in mode export, any other
            ``.safetensors`` file with one tensor, or ``.npy`` (never pickled).
        store: whose items they are; None takes that from the file.
    Raises:
        ValueError: no such file, no matrix of floats in it, or the items are not those of ``store``.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file of vectors")
    matrix = _map_matrix(path)
    if matrix.ndim != 2 or not matrix.is_floating_point():
        raise ValueError(
            f"{path}: must hold a matrix of floats, one row for each item; it holds {tuple(matrix.shape)} of "
            f"{matrix.dtype}"
        )
    stated = Rows.stated_in(path)
    if store is None:
        return matrix, stated
    own, ids = Rows.of_items(store), path.with_name(EXPORTED_IDS)
    same = len(matrix) == own.count and stated in (None, own)
    if same and path.name == EXPORTED and ids.is_file():
        same = pl.read_parquet(ids)["id"].to_list() == list(store.items.ids)
    if not same:
        raise ValueError(
            f"{path}: it holds {len(matrix):,} vectors of other items than those of {store.path}"
        )
    return matrix, own


def _map_matrix(path: Path) -> Tensor:
    if path.suffix == ".npy":
        try:
            return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
        except (ValueError, TypeError, EOFError):
            raise ValueError(f"{path}: no plain .npy matrix (a pickled one is refused)") from None
    tensors = list(load_sealed(path).values())
    if len(tensors) != 1:
        raise ValueError(f"{path}: must hold one tensor, it holds {len(tensors)}")
    return tensors[0]

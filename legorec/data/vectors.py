"""A table of vectors as a file, with what its rows belong to, and the ``embed`` layer that names it."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from legorec.data.digest import digest_bytes
from legorec.data.files import check_name, flush
from legorec.data.text import vocab_size

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from legorec.data.store import Store

ITEMS = "items"
KEY = "legorec.rows"
DEFAULTS = {"frozen": True, "transform": "auto"}


@dataclass(frozen=True)
class Rows:
    """What the rows of a table belong to, from the first on; a language model may pad its table with more.

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
        """What a file says of itself; None where it says nothing."""
        if path.suffix != ".safetensors":
            return None
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get(KEY)
        return cls(**json.loads(said)) if said else None


class NewTable:
    """A table that is about to be written, ``tables/NAME.safetensors``, and its layer, ``configs/NAME.yaml``.

    A layer that says the same already is left as it is, with its comments.

    Args:
        vocabulary: whose vectors they are: a tokenizer of a store, or ``items``.
        remark: the comment at the top of a new layer.
        overwrite: replace what is there.
    Raises:
        ValueError: the table is there, or a layer that says something else.
    """

    def __init__(
        self, name: str, vocabulary: str, tables: Path, configs: Path, remark: str, overwrite: bool = False
    ) -> None:
        check_name(vocabulary, "vocabulary")
        if not re.fullmatch(r"[\w@+=,-][\w@+=.,-]*", name):
            raise ValueError(f"`name` must be letters, digits and -_.@+=, as it names files; got '{name}'")
        self.path = tables / f"{name}.safetensors"
        self.layer_path = configs / f"{name}.yaml"
        table = {"vocabulary": vocabulary, "path": self.path.as_posix(), **DEFAULTS}
        self._layer = {"name": name, "tables": [table]}
        self._remark = remark
        if self.path.exists() and not overwrite:
            raise ValueError(f"{self.path}: it exists; give another --name, or --overwrite to replace it")
        self._layer_is_there = self.layer_path.exists() and _meaning(self.layer_path) == self._layer
        if self.layer_path.exists() and not self._layer_is_there and not overwrite:
            raise ValueError(
                f"{self.layer_path}: it exists and says something else; give another --name, or --overwrite "
                "to replace it"
            )

    def write(self, matrix: Tensor, rows: Rows) -> None:
        """Write the table, and then the layer if it is not there; each appears whole or not at all.

        Raises:
            ValueError: a value is not finite.
            OSError: the disk is full, or may not be written.
        """
        if not matrix.isfinite().all():
            raise ValueError(
                f"{self.path}: some values are not finite as {matrix.dtype}, so nothing was written; "
                "--dtype takes another"
            )
        said = {"format": "pt", KEY: json.dumps(asdict(rows))}
        with written_whole(self.path) as temporary:
            try:
                save_file({"vectors": matrix.contiguous()}, temporary, metadata=said)
            except SafetensorError as problem:
                size = matrix.numel() * matrix.element_size()
                raise OSError(f"{self.path}: not written, it needs {size:,} bytes ({problem})") from None
        if not self._layer_is_there:
            with written_whole(self.layer_path) as temporary:
                temporary.write_text(self.layer_text(), encoding="utf-8")

    def layer_text(self) -> str:
        """The layer as it is written."""
        body = yaml.safe_dump(self._layer, sort_keys=False, allow_unicode=True, width=1 << 16)
        return f"# {self._remark}\n{body}"


def _meaning(path: Path) -> Any:
    """What a layer says, with the defaults filled in."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {**found, "tables": [{**DEFAULTS, **table} for table in found["tables"]]}
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError):
        return None


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{secrets.token_hex(4)}")
    try:
        yield temporary
        temporary.chmod(path.parent.stat().st_mode & 0o666)  # safetensors keeps its files to their owner
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)

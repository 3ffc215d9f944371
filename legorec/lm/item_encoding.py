"""How a text encoder makes vectors of items: what is chosen, what its folder says, and the record of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legorec.data.text_frame import SpecialTokens, TextFrame
from legorec.files.digest import digest_bytes
from legorec.lm.cut import Precision
from legorec.lm.pretrained import Pretrained
from legorec.lm.sentence_folder import MODULES, Pool, SentenceFolder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from legorec.data.ragged import Ragged


def tokenizer_digest(pretrained: Pretrained) -> str:
    """The digest of a checkpoint's tokenizer."""
    return digest_bytes(pretrained.tokenizer().to_str().encode())


@dataclass(frozen=True)
class ItemEncoding:
    """All that decides what the vectors are, beside the checkpoint and the texts.

    Args:
        template: of the text.
        prefix: an instruction in front of it.
        special_tokens: whether the tokenizer's own are added where the template lacks them.
        width: of the vectors; None is the model's.
        said: what a sentence-transformers folder said of it, in one line; empty without one.
    """

    template: str
    prefix: str
    special_tokens: SpecialTokens
    pool: Pool
    normalize: bool
    width: int | None
    dtype: Precision
    said: str = ""

    @classmethod
    def chosen(cls, folder: Path, given: Mapping[str, Any]) -> ItemEncoding:
        """The choices of a command line, where a None is what the checkpoint's folder says.

        Args:
            given: the arguments by name; ``prompt`` names a prompt of the folder in place of a ``prefix``.
        Raises:
            ValueError: the folder's pooling cannot be computed, or it has no such prompt.
        """
        prefix, prompt = given["prefix"], given["prompt"]
        if prefix is not None and prompt is not None:
            raise ValueError(f"`prefix` or `prompt`, not both: got '{prefix}' and '{prompt}'")
        fixed = {name: given[name] for name in ("template", "special_tokens", "width", "dtype")}
        pool, normalize = given["pool"], given["normalize"]
        needed = pool is None or normalize is None or prefix is None
        stated = SentenceFolder.read(folder) if needed else None
        if stated is None:
            if prompt is not None:
                raise ValueError(f"{folder} has no {MODULES} that says `prompt` '{prompt}'; give --prefix")
            return cls(**fixed, prefix=prefix or "", pool=pool or "mean", normalize=bool(normalize))
        said = []
        if prefix is None:
            name, prefix = stated.prompt(prompt)
            said.append(f"prefix {prefix!r}" + (f" (prompt '{name}')" if name else ""))
        if pool is None:
            pool = stated.pool(prefix)
            said.append(f"pool {pool}")
        if normalize is None:
            normalize = stated.normalize
            said.append("normalize" if normalize else "no-normalize")
        line = f"{folder / MODULES} says: {', '.join(reversed(said))}"
        return cls(**fixed, prefix=prefix, pool=pool, normalize=normalize, said=line)

    def frame(self, tokenizer: Tokenizer) -> TextFrame:
        """What stands around the text of every item."""
        return TextFrame.of(tokenizer, self.template, self.prefix, self.special_tokens)

    def record(self, pretrained: Pretrained, tokens: Ragged) -> dict[str, Any]:
        """What vectors of these tokens are made with; equal only where the vectors are, to rounding."""
        ids = digest_bytes(tokens.offsets.tobytes() + tokens.values.tobytes())
        return {
            "checkpoint": Path(pretrained.name).name,
            "weights": pretrained.digest(),
            "tokenizer": tokenizer_digest(pretrained),
            "template": self.template,
            "prefix": self.prefix,
            "special_tokens": self.special_tokens,
            "text": ids,
            "pool": self.pool,
            "normalize": self.normalize,
            "width": self.width or pretrained.output_width,
            "dtype": self.dtype,
        }

"""How a sentence-transformers folder says that its model makes vectors: pooling, length and prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from legorec.files.json_text import parse_json
from legorec.files.manifest import is_plain

MODULES, PROMPTS = "modules.json", "config_sentence_transformers.json"
# Of the names that these folders use for what is to be found, in contrast to queries.
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
SAME = {"lasttoken": "last"}  # the names of newer folders, where they differ
Pool = Literal["mean", "cls", "last"]
POOLS: tuple[Pool, ...] = ("mean", "cls", "last")


@dataclass(frozen=True)
class SentenceFolder:
    """What a folder with ``modules.json`` says.

    Args:
        modules: their classes, in order, such as Transformer, Pooling, Normalize.
        pooling: the settings of its pooling.
        prompts: name -> the text put before every text of that kind.
        default_prompt: the name of the one that is used where none is named.
    """

    folder: Path
    modules: tuple[str, ...]
    pooling: dict[str, Any]
    prompts: dict[str, str]
    default_prompt: str | None

    @classmethod
    def read(cls, folder: Path) -> SentenceFolder | None:
        """None where there is no ``modules.json``.

        Raises:
            ValueError: a file is missing, or does not say what it should.
        """
        if not (folder / MODULES).is_file():
            return None
        parts = _json(folder / MODULES, list)
        try:
            kinds = {str(part["type"]).rpartition(".")[2]: str(part["path"]) for part in parts}
        except (TypeError, KeyError):
            raise ValueError(f"{folder / MODULES} does not say which modules there are") from None
        pooling: dict[str, Any] = {}
        if "Pooling" in kinds:
            if not is_plain(kinds["Pooling"]):
                raise ValueError(f"{folder / MODULES} leads out of its folder: '{kinds['Pooling']}'")
            pooling = _json(folder / kinds["Pooling"] / "config.json", dict)
        said = _json(folder / PROMPTS, dict) if (folder / PROMPTS).is_file() else {}
        prompts = said.get("prompts") or {}
        if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
            raise ValueError(f"{folder / PROMPTS}: `prompts` must map names to texts")
        return cls(folder, tuple(kinds), pooling, prompts, said.get("default_prompt_name"))

    @property
    def normalize(self) -> bool:
        """Whether vectors have length 1."""
        return "Normalize" in self.modules

    def pool(self, prefix: str) -> Pool:
        """The pooling.

        Args:
            prefix: what is put before the text.
        Raises:
            ValueError: it is one that cannot be computed here, or more follows it.
        """
        chosen = [name for key, name in POOLING.items() if self.pooling.get(key)]
        mode = self.pooling.get("pooling_mode", chosen)
        chosen = [SAME.get(name, name) for name in (mode if isinstance(mode, list) else [str(mode)])]
        found = [pool for pool in POOLS if chosen == [pool]]
        others = set(self.modules) - {"Transformer", "Pooling", "Normalize"}
        why = ""
        if not found:
            why = f"pools by {' and '.join(chosen) or 'nothing'}"
        elif others:
            why = f"goes on with {', '.join(sorted(others))}"
        elif prefix and found == ["mean"] and self.pooling.get("include_prompt") is False:
            why = "leaves the instruction out of the mean"
        if why:
            raise ValueError(
                f"{self.folder / MODULES}: its model {why}, which is not done here; --pool "
                f"{{{','.join(POOLS)}}} takes the states of its transformer without that"
            )
        return found[0]

    def prompt(self, name: str | None = None) -> tuple[str | None, str]:
        """The name and the text of a prompt; by default that for documents, which items are.

        Raises:
            ValueError: there is none of this name.
        """
        if name is None:
            found = [each for each in (*DOCUMENT_PROMPTS, self.default_prompt) if each in self.prompts]
            name = found[0] if found else None
        elif name not in self.prompts:
            known = ", ".join(self.prompts) or "none"
            raise ValueError(f"{self.folder / PROMPTS} has no prompt '{name}'; there are {known}")
        return name, self.prompts[name] if name is not None else ""


def _json(path: Path, kind: type) -> Any:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path} is missing, which {MODULES} names; fetch the checkpoint again, or give --pool, "
            "--normalize and --prefix"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(found, kind):
        raise ValueError(f"{path} must hold a {kind.__name__}, it holds a {type(found).__name__}")
    return found

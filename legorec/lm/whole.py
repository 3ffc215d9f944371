"""A whole language model whose own weights are tuned, and the folder that it is saved as."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from legorec.files.disk import flush
from legorec.files.manifest import MANIFEST, fact_of, save_json, seal
from legorec.files.sealed import save_sealed
from legorec.files.whole import folder_whole
from legorec.lm.attention import AUTO
from legorec.lm.cut import Attention
from legorec.lm.length_groups import LengthGroups
from legorec.lm.model_types import part, replace
from legorec.lm.padded_rows import PaddedRows
from legorec.lm.pretrained import Pretrained
from legorec.lm.row_dropout import row_dropout
from legorec.nn.drawing import belonging, entry, keys_now
from legorec.nn.dropout import Dropout
from legorec.nn.segments import Segments

FORMAT = "legorec-language-model"
WEIGHTS = "model.safetensors"
# The config and the tokenizer; how a sentence encoder pools is no longer true once it was trained otherwise.
KEPT = (
    *("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.*", "merges.txt", "*.model"),
)


class WholeModel(nn.Module):
    """Packed rows of token ids -> final states, all weights in float32 and learned, the embeddings too.

    Args:
        frozen_layers: the embeddings and so many layers above them stay as they are; 0 tunes all.
        attention: its name in transformers; ``auto`` is ``sdpa`` here.

    Raises:
        ValueError: the model has fewer layers.
    Unlike ``TunedLayers``, which stand on frozen embeddings, this reads tokens, so that what it has learned
    can be saved as a checkpoint that any program reads.
    """

    pretrained = True  # so that `item_lr` applies

    def __init__(self, base: Pretrained, frozen_layers: int = 0, attention: Attention = "auto") -> None:
        super().__init__()
        if not 0 <= frozen_layers <= base.num_layers:
            raise ValueError(
                f"`frozen_layers` must be at most {base.num_layers}, the layers of {base.name}, got "
                f"{frozen_layers}"
            )
        self.base, self.output_dim = base, base.output_width
        self.model = base.skeleton(None if attention == AUTO else attention)
        for path, module in list(self.model.named_modules()):
            if type(module) is nn.Dropout:
                replace(self.model, path, Dropout(module.p))
        base.fill(self.model, torch.float32)
        if frozen_layers:
            self._freeze(frozen_layers)
        self._rows = PaddedRows(base, self.model)

    def _freeze(self, count: int) -> None:
        layers = part(self.model, self.base.family.layers)
        assert isinstance(layers, nn.ModuleList)
        after = (part(self.model, path) for path in self.base.family.after)
        learned = [*layers[count:], *(each for each in after if each is not None)]
        self.requires_grad_(False)
        for module in learned:
            module.requires_grad_(True)

    @property
    def token_table(self) -> Tensor:
        """(V, E) the token embeddings."""
        weight = self.model.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return weight

    def forward(self, ids_T: Tensor, lengths_R: Tensor) -> Tensor:
        """(T, output_dim) final states of packed rows; ``lengths_R`` is on the host, and no row is empty."""
        groups = LengthGroups(lengths_R, ids_T.device)
        at, keys = entry("language model"), keys_now()
        done = []
        for ids, lengths, chosen in zip(groups.split(ids_T), groups.lengths, groups.rows, strict=True):
            own = None if keys is None else keys[torch.from_numpy(chosen)]
            with belonging(at, own), row_dropout(len(lengths), self.training):
                done.append(self._padded(ids, Segments(torch.from_numpy(lengths))))
        return groups.join(done)

    def _padded(self, ids_T: Tensor, rows: Segments) -> Tensor:
        inputs = self._rows.inputs(ids_T.unsqueeze(1), rows)
        inputs["input_ids"] = inputs.pop("inputs_embeds").squeeze(2)
        return self._rows.packed(self.model(**inputs).last_hidden_state, rows)

    def save(self, folder: Path, said: Mapping[str, Any]) -> None:
        """Write a checkpoint that transformers and ``find_pretrained`` read, completely or not at all.

        The config and the tokenizer are those of the model that it began as.

        Args:
            said: what it was trained with, for the manifest.
        Raises:
            WriteError: the disk is full, or may not be written.
        """
        weights = {name: value.detach().cpu() for name, value in self.model.state_dict().items()}
        kept = sorted({file for pattern in KEPT for file in self.base.folder.glob(pattern)})
        size = sum(value.nbytes for value in weights.values()) + sum(each.stat().st_size for each in kept)
        with folder_whole(folder, size) as partial:
            for each in kept:
                shutil.copyfile(each, partial / each.name)
            save_sealed(weights, partial / WEIGHTS, {"format": "pt"})
            facts = {each.name: fact_of(each) for each in sorted(partial.iterdir())}
            began = {"name": Path(self.base.name).name, "digest": self.base.digest()}
            manifest = {"format": FORMAT, "version": 1, "base": began, **said, "files": facts}
            save_json(partial / MANIFEST, seal(manifest))
            for each in partial.iterdir():
                flush(each)

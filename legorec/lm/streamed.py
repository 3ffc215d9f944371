"""The lower layers of a language model that do not fit in memory: read from the disk one after the other."""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy

import torch
from torch import nn

from legorec.lm.attention import AUTO
from legorec.lm.cut import Attention, LowerLayers, PassThrough, Precision, UpperLayers
from legorec.lm.model_types import layers_at, part
from legorec.lm.pretrained import DTYPES, Pretrained


class StreamedLayers:
    """The embeddings, then each of the first layers, of which one is on the device at a time.

    A thread reads the next layer into the host's memory while the device works on this one.

    Args:
        depth: layers that may be needed.
        dtype: of the weights and of the computation.
        attention: name of the implementation in transformers.
        ahead: False leaves the next layer on the disk until this one is let go, which takes half the memory.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        depth: int,
        dtype: Precision = "fp32",
        attention: Attention = "auto",
        device: torch.device | str = "cpu",
        ahead: bool = True,
    ) -> None:
        self.pretrained, self.depth, self.dtype, self.attention = pretrained, depth, dtype, attention
        own = None if attention == AUTO else attention
        self.device, self.ahead = device, ahead
        self.waited = 0.0  # seconds in which there was nothing to do but to wait for weights
        # What surrounds the layers, with a place for each; read once.
        self._around = UpperLayers(pretrained, depth, dtype, own, stop=depth)
        self._around.requires_grad_(False).eval().to(device)
        self._places = _layers(self._around.model, pretrained)
        skeleton = pretrained.skeleton(own)
        self._without_weights = _layers(skeleton, pretrained)
        beside = {path: part(skeleton, path) for path in pretrained.family.first}
        self._beside_first = {
            path: self._filled(module, f"{path}.").to(device)
            for path, module in beside.items()
            if module is not None
        }

    def parts(self, depth: int) -> Generator[tuple[int, LowerLayers | UpperLayers]]:
        """The depth that each part leads to, and the part: the embeddings, then one layer after the other.

        A part may be used until the next one is asked for.

        Args:
            depth: the last one.
        """
        assert depth <= self.depth
        begin = time.monotonic()
        embeddings = LowerLayers(self.pretrained, [0], self.dtype, self.attention).to(self.device)
        self.waited += time.monotonic() - begin
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="layers") as thread:
            reading = thread.submit(self._read, 0) if self.ahead and depth else None
            yield 0, embeddings
            del embeddings
            for place in range(depth):
                layer = self._taken(place, reading)
                reading = None  # which would keep the layer
                if self.ahead and place + 1 < depth:
                    reading = thread.submit(self._read, place + 1)
                self._places[place] = layer
                del layer
                for path, module in self._beside_first.items():
                    owner, _, name = path.rpartition(".")
                    setattr(part(self._around.model, owner), name, None if place else module)
                try:
                    yield place + 1, self._around
                finally:
                    self._places[place] = PassThrough(
                        self._without_weights[place], self.pretrained.family.layer_outputs
                    )

    def _taken(self, place: int, reading: Future[nn.Module] | None) -> nn.Module:
        begin = time.monotonic()
        layer = self._read(place) if reading is None else reading.result()
        layer = layer.to(self.device)
        self.waited += time.monotonic() - begin
        return layer

    def _read(self, place: int) -> nn.Module:
        """One layer in the host's memory. Builds no skeleton, which would not be safe in a thread."""
        return self._filled(self._without_weights[place], f"{self.pretrained.family.layers}.{place}.")

    def _filled(self, module: nn.Module, within: str) -> nn.Module:
        """A copy of a part of the model, with its weights."""
        filled = deepcopy(module)
        self.pretrained.fill(filled, DTYPES[self.dtype], within)
        return filled.requires_grad_(False).eval()


def _layers(model: nn.Module, pretrained: Pretrained) -> nn.ModuleList:
    return layers_at(model, pretrained.family.layers)

"""A side network over the layers of a frozen language model."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.centred import Centred
from legorec.nn.scales import from_normed
from legorec.nn.sending import sent


class IISANItemEncoder(nn.Module):
    """Adapters beside a frozen language model, each adding one more layer (IISAN; Fu et al., 2024): the text
    tower of their intra-modal network.

    An item comes as one vector per layer, ``h_0`` to ``h_n``. Starting from ``c = h_0``, a gate with one
    learned number mixes in the next layer, and a block is applied to the mixture:
    ``c = SAN_i(g_i c + (1 - g_i) h_i)`` with ``g_i = sigmoid(s_i)`` and
    ``SAN_i(x) = LayerNorm(x + W2 relu(W1 x))``. A dense layer then gives the item vector. No gradient reaches
    the language model.

    Args:
        input_dim: width of the layers.
        depth: how many layers an item has.
        hidden_dim: width of the item vectors.
        adapter_dim: width inside a block (the authors' code: 64).
        global_dim: another width for the side network, by one projection without bias that all layers share.
        local_dim: another width for it, by a projection without bias for each layer. At most one of the two.
        centred: what the dense layer reads is standardised, by what it is before training (``nn.centred``).
    Raises:
        ValueError: ``global_dim`` and ``local_dim`` are both given, or ``depth`` is below 2.
    Gates start at 1/2 and blocks near the identity, as in the authors' code. There, ``h_0`` goes through a
    block of its own, ``s_i`` is divided by 0.1, and no layer norm follows. The norm is from Legommenders: it
    makes layers comparable whose values differ in size, as those of causal models do. Legommenders' blocks
    are twice as wide as the layers, which for a large model is no longer a small network.
    """

    reads: ClassVar[tuple[str, ...]] = ("layers",)

    def __init__(
        self,
        input_dim: int,
        depth: int,
        hidden_dim: int = 64,
        adapter_dim: int = 64,
        global_dim: int | None = None,
        local_dim: int | None = None,
        centred: bool = True,
    ) -> None:
        super().__init__()
        if global_dim is not None and local_dim is not None:
            raise ValueError(
                f"`global_dim` and `local_dim` exclude each other, got {global_dim} and {local_dim}; "
                "leave one of them null"
            )
        if depth < 2:
            raise ValueError(f"`depth` must be at least 2, or there is nothing to join, got {depth}")
        self.depth = depth
        self.output_dim = hidden_dim
        width = global_dim or local_dim or input_dim
        self.shared = nn.Linear(input_dim, width, bias=False) if global_dim else None
        self.own = nn.ModuleList(
            nn.Linear(input_dim, width, bias=False) for _ in range(depth if local_dim else 0)
        )
        self.gates = nn.Parameter(torch.zeros(depth - 1))
        self.blocks = nn.ModuleList(_AdapterBlock(width, adapter_dim) for _ in range(depth - 1))
        self.centring = Centred(width) if centred else None
        self.dense = from_normed(width, hidden_dim)

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a layer is zero.

        Raises:
            ValueError: an item has some layers, but not ``depth`` of them.
        """
        joined_NW = self.read(states)
        vectors_ND = self.dense(joined_NW if self.centring is None else self.centring(joined_NW))
        every_ND = vectors_ND.new_zeros(len(states.lengths), self.output_dim)
        (places,) = sent(vectors_ND.device, np.flatnonzero(states.by_item.lengths.numpy()))
        return every_ND.index_copy(0, places, vectors_ND)

    def read(self, states: TokenStates) -> Tensor:
        """(n, W) of the items that have layers; raises ValueError as ``forward``."""
        rows = states.by_item.lengths.numpy()
        if (rows[rows > 0] != self.depth).any():
            raise ValueError(
                f"an item must have {self.depth} layers (`depth`) or none, got {sorted(set(rows.tolist()))}"
            )
        values_TE = states.values.to(self.dense.weight.dtype)
        return self._joined(values_TE.view(-1, self.depth, values_TE.shape[1]))

    def _joined(self, layers_NLE: Tensor) -> Tensor:
        if self.shared is not None:
            layers_NLE = self.shared(layers_NLE)
        layers = layers_NLE.unbind(1)
        if self.own:
            layers = tuple(project(layer) for project, layer in zip(self.own, layers, strict=True))
        joined_NE = layers[0]
        for gate, block, layer_NE in zip(self.gates.sigmoid(), self.blocks, layers[1:], strict=True):
            joined_NE = block(gate * joined_NE + (1 - gate) * layer_NE)
        return joined_NE


class _AdapterBlock(nn.Module):
    """A bottleneck with a skip connection around it, then a norm."""

    def __init__(self, width: int, adapter_dim: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, adapter_dim)
        self.up = nn.Linear(adapter_dim, width)
        self.norm = nn.LayerNorm(width)
        for layer in (self.down, self.up):  # near the identity, so that the layers count from the start
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, values_NE: Tensor) -> Tensor:
        return self.norm(values_NE + self.up(self.down(values_NE).relu()))

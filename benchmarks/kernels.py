"""Packed layers beside torch's padded ones, forward and backward: ``python -m benchmarks.kernels``."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legorec.nn.attention import MultiHeadSelfAttention
from legorec.nn.conv import PackedConv1d
from legorec.nn.dropout import Dropout
from legorec.nn.segments import Segments

ROWS, MEAN_LENGTH, LONGEST, WIDTH, HEADS = 1356, 12, 24, 64, 8


def milliseconds(calls: dict[str, Callable[[], Tensor]], rounds: int = 20) -> dict[str, float]:
    """Median time of each call with its backward pass, the calls in turns."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 2):
        for name, call in calls.items():
            begin = time.perf_counter()
            call().sum().backward()
            if turn >= 2:
                spent[name].append(time.perf_counter() - begin)
    return {name: 1000 * median(times) for name, times in spent.items()}


def padded_attention(layer: MultiHeadSelfAttention, values: Tensor, lengths: Tensor) -> Tensor:
    """The same layer over padded rows by torch's own attention."""
    padded, mask = Segments(lengths).pad(layer.qkv(values))
    query, key, value = padded.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])


def padded_convolution(layer: nn.Conv1d, values: Tensor, lengths: Tensor) -> Tensor:
    """Torch's own convolution over padded rows."""
    padded, mask = Segments(lengths).pad(values)
    return layer(padded.transpose(1, 2)).transpose(1, 2) * mask[..., None]


def main() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(2023)
    drawn = np.random.default_rng(2023).normal(MEAN_LENGTH, 4, ROWS).round()
    lengths = torch.from_numpy(np.clip(drawn, 2, LONGEST).astype(np.int64))
    values = torch.randn(int(lengths.sum()), WIDTH, requires_grad=True)
    attention, convolution = MultiHeadSelfAttention(WIDTH, WIDTH, HEADS), PackedConv1d(WIDTH, WIDTH, 3)
    plain = nn.Conv1d(WIDTH, WIDTH, 3, padding="same")
    dropout, torch_dropout = Dropout(0.1), nn.Dropout(0.1)
    pairs: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {
        "self-attention": (
            lambda: attention.packed(values, Segments(lengths)),
            lambda: padded_attention(attention, values, lengths),
        ),
        "convolution": (
            lambda: convolution(values, Segments(lengths)),
            lambda: padded_convolution(plain, values, lengths),
        ),
        "dropout": (lambda: dropout(values), lambda: torch_dropout(values)),
    }
    print(f"{ROWS} rows, {len(values)} tokens of width {WIDTH}, 2 threads; forward and backward, ms")
    for name, (ours, theirs) in pairs.items():
        spent = milliseconds({"packed": ours, "padded": theirs})
        ratio = spent["padded"] / spent["packed"]
        print(f"{name:<15} {spent['packed']:6.1f}  torch {spent['padded']:6.1f}  ratio {ratio:.1f}")


if __name__ == "__main__":
    main()

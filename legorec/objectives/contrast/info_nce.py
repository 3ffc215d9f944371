"""InfoNCE over pairs of vectors: each is to be nearer to its partner than to the partners of the others."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from legorec.objectives.contrast.gathering import Gathering
from legorec.processes import ALONE, Processes

Similarity = Literal["cosine", "dot"]
Direction = Literal["a", "b", "both"]


def info_nce(
    a_BD: Tensor,
    b_BD: Tensor,
    *,
    temperature: float = 0.05,
    similarity: Similarity = "cosine",
    direction: Direction = "both",
    keys_B: Tensor | None = None,
    processes: Processes = ALONE,
) -> Tensor:
    """How unlikely each row's partner is among those of the batch (van den Oord et al., 2018, eq. 4).

    In direction ``a`` row i of ``a`` is given, and the softmax runs over ``b``; in direction ``b`` row i of
    ``b`` is given, and it runs over ``a``; ``both`` is the mean of the two (CLIP; Radford et al., 2021).

    Args:
        a_BD, b_BD: row i of the one belongs to row i of the other.
        temperature: what similarities are divided by.
        similarity: ``cosine``, or the inner product (``dot``).
        keys_B: (B,) int64, such as the item. Rows of one key are no negatives of each other: they leave the
            denominator, in which a row's own partner stays.
        processes: whose rows are negatives too. All must call it, also one that has none, with vectors (0, D)
            that need a gradient where those of the others do; its sum over all processes, and the gradients,
            are those of one process with all rows.
    Returns: (B,) the losses of this process's rows, in float32 at least; log N where all vectors are equal.
    Raises:
        ValueError: an argument that is none of these, or shapes that do not match.
    """
    _check(a_BD, b_BD, temperature, similarity, direction, keys_B)
    with torch.autocast(a_BD.device.type, enabled=False):
        a_BD, b_BD = (_prepared(each, similarity) for each in (a_BD, b_BD))
        gather = Gathering(len(a_BD), processes)
        whole_a_ND, whole_b_ND = gather(torch.cat([a_BD, b_BD], dim=1)).chunk(2, dim=1)
        own_B = torch.arange(gather.start, gather.start + len(a_BD), device=a_BD.device)
        masked_BN = None if keys_B is None else _same(keys_B, gather(keys_B), own_B)
        losses = []
        if direction != "b":
            losses.append(_one_way(a_BD, whole_b_ND, own_B, temperature, masked_BN))
        if direction != "a":
            losses.append(_one_way(b_BD, whole_a_ND, own_B, temperature, masked_BN))
        return losses[0] if len(losses) == 1 else (losses[0] + losses[1]) / 2


def _prepared(vectors_BD: Tensor, similarity: Similarity) -> Tensor:
    vectors_BD = vectors_BD.to(torch.promote_types(vectors_BD.dtype, torch.float32))
    return F.normalize(vectors_BD, dim=1) if similarity == "cosine" else vectors_BD


def _same(keys_B: Tensor, keys_N: Tensor, own_B: Tensor) -> Tensor:
    """(B, N) True for other rows of the same key."""
    same_BN = keys_B[:, None] == keys_N
    return same_BN.scatter(1, own_B[:, None], False)


def _one_way(
    given_BD: Tensor, sought_ND: Tensor, own_B: Tensor, temperature: float, masked_BN: Tensor | None
) -> Tensor:
    logits_BN = given_BD @ sought_ND.T / temperature
    if masked_BN is not None:
        logits_BN = logits_BN.masked_fill(masked_BN, -torch.inf)
    return F.cross_entropy(logits_BN, own_B, reduction="none")


def _check(
    a_BD: Tensor, b_BD: Tensor, temperature: float, similarity: str, direction: str, keys_B: Tensor | None
) -> None:
    if a_BD.dim() != 2 or a_BD.shape != b_BD.shape:
        raise ValueError(
            f"`a` and `b` must be pairs of vectors, (B, D) each, got {tuple(a_BD.shape)} and "
            f"{tuple(b_BD.shape)}"
        )
    if not temperature > 0:
        raise ValueError(f"`temperature` must be above 0, got {temperature}")
    for name, value, known in (
        ("similarity", similarity, get_args(Similarity)),
        ("direction", direction, get_args(Direction)),
    ):
        if value not in known:
            raise ValueError(f"`{name}` must be one of {', '.join(known)}, got '{value}'")
    if keys_B is not None and keys_B.shape != (len(a_BD),):
        raise ValueError(f"`keys` must be one for each row ({len(a_BD)},), got {tuple(keys_B.shape)}")

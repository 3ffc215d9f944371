"""The ranking model of the Behavior Sequence Transformer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from legorec.nn.attention import HALF, MultiHeadSelfAttention
from legorec.nn.dropout import Dropout
from legorec.nn.rows import Rows, mean, padded, recency, rows_of, spread, unpadded
from legorec.nn.scales import dense, from_normed, score
from legorec.nn.sequence import Positions
from legorec.nn.sizes import check_heads, check_positive
from legorec.nn.transformer import PostNorm


class BSTPredictor(nn.Module):
    """One transformer layer over clicks and candidate, then dense layers (BST; Chen et al., 2019, section 2).

    Each candidate is placed after the clicks on its own, and attention is in both directions: the clicks'
    states depend on the candidate. Dense layers with LeakyReLU, two or more, lead from there to the score.

    Args:
        input_dim: width of the item vectors.
        max_history: how many places clicks have; older clicks share the last one.
        heads: of the layer (paper: 8).
        ffn_factor: width inside the dense half of the layer, as a multiple of ``input_dim``.
        mlp_dims: widths of the dense layers that follow (paper: the default).
        dropout: on the sequence, on what each half of the layer adds, and after each dense layer.
    Raises:
        ValueError: ``heads`` does not divide ``input_dim``, or a width or count is below 1.
    The paper joins the states of a fixed number of places; here the dense layers see the candidate's state
    and the mean of the clicks' states, so that histories of any length fit. Places are counted from the
    latest click, where the paper uses the time since the click; the vector of a place is added, not joined.
    There is one layer: more of them were no better in the paper. Unlike in DIN, clicks see each other.
    """

    takes: ClassVar[tuple[str, ...]] = ("clicks",)

    def __init__(
        self,
        input_dim: int,
        max_history: int,
        heads: int = 8,
        ffn_factor: int = 4,
        mlp_dims: Sequence[int] = (1024, 512, 256),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_heads(heads, input_dim, "input_dim")
        check_positive(ffn_factor=ffn_factor)
        if not mlp_dims or min(mlp_dims) < 1:
            raise ValueError(f"`mlp_dims` must be one or more widths of at least 1, got {list(mlp_dims)}")
        self.positions = Positions(max_history + 1, input_dim)  # the first is the candidate's
        self.dropout = Dropout(dropout)
        self.attention = MultiHeadSelfAttention(input_dim, input_dim, heads)
        self.out = nn.Linear(input_dim, input_dim, bias=False)
        self.behind = PostNorm(input_dim, ffn_factor * input_dim, dropout, nn.LeakyReLU())
        self.mlp = nn.Sequential()
        layers = [from_normed(2 * input_dim, mlp_dims[0])]
        layers += [dense(before, after, rectified=True) for before, after in pairwise(mlp_dims)]
        for layer in layers:
            self.mlp.extend([layer, nn.LeakyReLU(), Dropout(dropout)])
        self.score = score(mlp_dims[-1])

    def forward(self, user_BHD: Tensor, candidates_BKD: Tensor, mask: Tensor) -> Tensor:
        """(B, K) from the clicks, oldest first, the candidates, and (B, H) True where a click exists."""
        return self._score(*rows_of(user_BHD, mask), candidates_BKD)

    def _score(self, clicks: Tensor, rows: Rows, candidates_BKD: Tensor) -> Tensor:
        places = recency(rows, clicks.device) + 1
        clicks = self.dropout(clicks + self.positions(places), rows)
        candidates_BKD = self.dropout(candidates_BKD + self.positions.table[0])
        of_clicks, of_candidates = self._mixed(clicks, rows, candidates_BKD)
        clicks_BKD = mean(self.behind(clicks.unsqueeze(-2), self.out(of_clicks), rows), rows)
        candidates_BKD = self.behind(candidates_BKD, self.out(of_candidates))
        return self.score(self.mlp(torch.cat([candidates_BKD, clicks_BKD], 2))).squeeze(2)

    def _mixed(self, clicks: Tensor, rows: Rows, candidates_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """The attention's output for each click, (T, K, D) or (B, L, K, D), and each candidate, (B, K, D).

        Attention among the clicks is computed once for all candidates. A candidate adds one more place to the
        softmax, whose weight is ``sigmoid(its logit - logsumexp of the others)``.
        """
        qkv_BLX, mask_BL = padded(self.attention.qkv(clicks), rows)
        query, key, value = self._by_head(qkv_BLX)
        asking, asked, given = self._by_head(self.attention.qkv(candidates_BKD))
        seen = mask_BL[:, None, None, :]
        among, toward, back = (
            wide(one @ other.transpose(2, 3)) for one, other in ((query, key), (query, asked), (asking, key))
        )
        among = among.masked_fill(~seen, torch.finfo(among.dtype).min)
        own = among.softmax(3).to(value.dtype) @ value
        gate = torch.sigmoid(toward - among.logsumexp(3, keepdim=True)).to(value.dtype)

        own = unpadded(own.transpose(1, 2), rows).unsqueeze(-3)
        gate = unpadded(gate.permute(0, 2, 3, 1), rows).unsqueeze(-1)
        of_clicks = own + gate * (spread(given.transpose(1, 2), rows) - own)

        itself = wide((asking * asked).sum(3, keepdim=True))
        logits = torch.cat([back.masked_fill(~seen, torch.finfo(back.dtype).min), itself], 3)
        weights = logits.softmax(3).to(value.dtype)
        of_candidates = weights[..., :-1] @ value + weights[..., -1:] * given
        return of_clicks.flatten(-2), of_candidates.transpose(1, 2).flatten(-2)

    def _by_head(self, qkv_BLX: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled queries, keys and values, (B, heads, L, D / heads) each."""
        split = qkv_BLX.unflatten(2, (3, self.attention.heads, -1)).permute(2, 0, 3, 1, 4)
        return split[0] * split.shape[-1] ** -0.5, split[1], split[2]


def wide(logits: Tensor) -> Tensor:
    """Logits in at least float32."""
    return logits.float() if logits.dtype in HALF else logits

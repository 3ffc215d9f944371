"""An item's tokens through transformer layers."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.sequence import TokenSequence
from legorec.nn.transformer import Transformer


class TransformerItemEncoder(nn.Module):
    """Transformer layers over an item's tokens, then their weighted mean (Vaswani et al., 2017, section 3).

    The fields form one sequence. Tokens are projected first if the widths differ, and get a learned
    vector for their place (as good as sinusoids, says section 3.5). Norms come after the sums; the dense
    layers have ReLU.

    Args:
        input_dim: width of the token states.
        hidden_dim: width of the layers and of the item vectors.
        layers: how many layers (paper: 6).
        heads: of the attention in each layer (paper: 8).
        ffn_factor: width inside the dense half of a layer, as a multiple of ``hidden_dim`` (paper: 4).
        max_length: how many tokens an item may have.
        dropout: on the tokens before the layers and on what each half of a layer adds.
        attention_dim: width of the query that weights the tokens.
    Raises:
        ValueError: ``heads`` does not divide ``hidden_dim``, a count is below 1, or, when called, an item
            has more than ``max_length`` tokens.
    Unlike in NRMS, a token knows its place, and dense layers follow the attention. Legommenders uses an
    untrained BERT, which has GELU and a norm before the layers, and projects after them.
    """

    def __init__(
        self,
        input_dim: int,
        max_tokens: int | None = None,
        hidden_dim: int = 64,
        layers: int = 3,
        heads: int = 8,
        ffn_factor: int = 4,
        max_length: int = 512,
        dropout: float = 0.1,
        attention_dim: int = 200,
    ) -> None:
        super().__init__()
        self.output_dim = hidden_dim
        self.tokens = TokenSequence(
            input_dim,
            hidden_dim,
            Transformer(hidden_dim, layers, heads, ffn_factor, dropout),
            max_length,
            max_tokens,
            dropout,
            attention_dim,
        )

    def forward(self, states: TokenStates) -> Tensor:
        """(N, D); an item without a token is zero."""
        return self.tokens(states.values, states.by_item)

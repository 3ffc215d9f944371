"""The tokens of a whole history through Fastformer layers."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.fastformer import Fastformer
from legorec.nn.sequence import TokenHistory


class FlattenFastformerUserEncoder(nn.Module):
    """Fastformer layers over the tokens of all clicked items as one sequence, then their weighted mean.

    The flattened history of Legommenders. Behind each item stands a learned separator; tokens are told apart
    by their place inside the item and by how many clicked items came later. Clicks without a token are left
    out, as if they had not been made.

    Args:
        token_dim: width of the token states.
        input_dim: width of the item vectors, and of the user vectors.
        max_history: how many clicks are told apart; those before share the last place.
        hidden_dim: width of the layers; tokens are projected in front where it differs from theirs.
        layers: how many stand one behind the other.
        heads: of the attention in each layer.
        ffn_factor: width inside the dense half of a layer, by ``hidden_dim``.
        max_length: the tokens an item may have; a history may have any number.
        dropout: on the sequence in front and on what each half of a layer adds.
        attention_dim: width of the query that weighs tokens and separators.
    Raises:
        ValueError: ``heads`` does not divide ``hidden_dim``, a count is below 1, or, when called, an item
            has more than ``max_length`` tokens.
    Unlike ``flatten_transformer``, the cost grows with the number of tokens and not with its square.
    Legommenders also puts a separator between fields and one vector in front of the history, and counts
    places from the first token.
    """

    def __init__(
        self,
        token_dim: int,
        input_dim: int,
        max_history: int,
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
        self.output_dim = input_dim
        self.tokens = TokenHistory(
            token_dim,
            hidden_dim,
            input_dim,
            Fastformer(hidden_dim, layers, heads, ffn_factor, dropout),
            max_history,
            max_length,
            max_tokens,
            dropout,
            attention_dim,
        )

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor, states: TokenStates) -> Tensor:
        """(B, D) of the clicks' token states, row b * H + h for click h of user b, empty where masked.

        ``clicks_BHD`` is not used. An empty history is zero.
        """
        return self.tokens(states.values, states.lengths.sum(1).view(mask_BH.shape))

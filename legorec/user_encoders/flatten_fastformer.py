"""The tokens of a whole history through Fastformer layers."""

from __future__ import annotations

from torch import Tensor, nn

from legorec.batch import TokenStates
from legorec.nn.fastformer import Fastformer
from legorec.nn.sequence import TokenHistory


class FlattenFastformerUserEncoder(nn.Module):
    """Fastformer layers over the tokens of all clicked items as one sequence, then their weighted mean.

    The flattened history of Legommenders. A learned separator follows each item. A token is marked by its
    place inside the item and by how many clicked items came later. Clicks on items without a token are
    ignored.

    Args:
        token_dim: width of the token states.
        input_dim: width of the item vectors, and of the user vectors.
        max_history: how many places clicks have; older clicks share the last one.
        hidden_dim: width of the layers; tokens are projected first if theirs differs.
        layers: how many layers.
        heads: of the attention in each layer.
        ffn_factor: width inside the dense half of a layer, as a multiple of ``hidden_dim``.
        max_length: how many tokens an item may have; a history may have any number.
        dropout: on the sequence before the layers and on what each half of a layer adds.
        attention_dim: width of the query that weights tokens and separators.
    Raises:
        ValueError: ``heads`` does not divide ``hidden_dim``, a count is below 1, or, when called, an item
            has more than ``max_length`` tokens.
    Unlike in ``flatten_transformer``, the cost grows with the number of tokens and not with its square.
    Legommenders also puts a separator between fields and one vector before the history, and counts places
    from the first token.
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
        """(B, D) from the clicks' token states; row b * H + h is click h of user b, empty where masked.

        ``clicks_BHD`` is not used. An empty history is zero.
        """
        return self.tokens(states.values, states.lengths.sum(1).view(mask_BH.shape))

"""What a brick may be able to do beside its ``forward``. The program asks for an ability, never for a name.

A brick has an ability if it has the methods and attributes that the protocol lists; it need not inherit
anything. Which brick can do what is told in docs/add-a-brick.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from legorec.batch import TokenBatch, TokenStates
from legorec.nn.centred import Centred


@runtime_checkable
class EmbedsNewItems(Protocol):
    """A source that can encode items that are in no store."""

    def embed(self, tokens: Any) -> TokenStates:
        """States of items from their tokens, see ``legorec.data.catalog.Tokens``."""


@runtime_checkable
class GivesUntrained(Protocol):
    """A source that can say what it knows of items without training, for the baseline ``cosine_states``."""

    def untrained(self, items: Tensor) -> Tensor:
        """(N, E) one vector for each of ``items`` (N,), rows of the catalogue on the host; 0 where it knows
        nothing."""


@runtime_checkable
class Prefetches(Protocol):
    """A source that can fetch what it needs of some items before it is asked for them."""

    def prefetch(self, items: Tensor) -> None:
        """Begin to fetch; ``items`` (N,) are rows of the catalogue on the host. Returns at once."""


@runtime_checkable
class LearnsItems(Protocol):
    """A source whose vectors are learned item by item: it knows nothing of an item that training never saw.

    As one part of several it does not count for such an item, see ``legorec.item_parts``.
    """

    learns_items: ClassVar[bool]


@runtime_checkable
class NotesSeenItems(Protocol):
    """A module that has to know which items there were in training."""

    def note_seen(self, seen_N: Tensor, clicks_N: Tensor) -> None:
        """Called before training.

        Args:
            seen_N: True for each item of the store that training will see.
            clicks_N: how many users clicked each in the training split, int64.
        """


@runtime_checkable
class StartsCentred(Protocol):
    """An item encoder that centres what a language model gives, measured before training."""

    centring: Centred | None

    def read(self, states: TokenStates) -> Tensor:
        """(T, E) what is centred, of some items."""


class RowsOf(NamedTuple):
    """Whose some rows of a weight are, one after the other."""

    kind: Literal["items", "users", "text", "category", "number", "codes"]
    size: int  # how many rows
    vocabulary: str = ""  # of a text (its tokenizer) or a category


@runtime_checkable
class HasRows(Protocol):
    """A module with weights whose rows each belong to an item, a user, a word or a category.

    In another store the same item has another row. Where training starts from the weights of a run
    (``exp.init_from``), these rows are matched by id, and all other weights by name and shape.
    """

    def row_owners(self) -> Mapping[str, Sequence[RowsOf]]:
        """Whose the rows of each such weight are, from the first to the last, by its name in the module."""


@runtime_checkable
class SavesAdapter(Protocol):
    """A module with adapters that are of use outside of legorec."""

    def save_adapter(self, folder: Path) -> None:
        """Write them into a folder of their own; nothing where there are none."""


@runtime_checkable
class ChecksTraining(Protocol):
    """A module that may be used as it is, and not be trained."""

    def check_training(self) -> None:
        """Called before training. Raises ValueError: it cannot be trained with these settings."""


@runtime_checkable
class RunsTogether(Protocol):
    """A model whose weights may be spread over processes, so that all take part in every pass of any."""

    def finish(self) -> Tensor | None:
        """Take part in what the others still run, see ``legorec.lm.spread``; a zero to add to the loss.

        Called by all processes, whether they have a share of the batch or not: after the forward pass of each
        batch, before its backward pass, and after each turn of a ranking pass.
        """


@runtime_checkable
class ScoresByProduct(Protocol):
    """A predictor whose score is the inner product of user and candidate vector and nothing else.

    Many users and items are then scored by one product of two matrices, and an index of nearest items serves.
    """

    is_inner_product: ClassVar[bool]


@runtime_checkable
class WeighsClicks(Protocol):
    """A user encoder that can say how much each click counts in each interest."""

    def click_weights(self, clicks_BHD: Tensor, mask_BH: Tensor) -> Tensor:
        """(B, H, M)."""


@runtime_checkable
class ScoresLists(Protocol):
    """A model of prompts that can read what those of one list begin with once."""

    longest_shared: int  # tokens of the longest prompt that it does that for

    def score_lists(self, batch: TokenBatch, lists: Any) -> Tensor:
        """(B,) what its ``forward`` gives for each row.

        Args:
            batch: on the host.
            lists: (B,) the list of each row, as an array; rows of one list stand together.
        """


class LanguageModel(Protocol):
    """A language model on disk, as ``legorec.lm.pretrained.Pretrained`` is."""

    name: str

    @property
    def num_layers(self) -> int: ...

    @property
    def width(self) -> int: ...

    def depth(self, layer: int) -> int: ...

    def digest(self) -> str: ...

    def tokenizer(self) -> Any: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def token_width(self) -> int: ...

    def token_rows(self, rows: Sequence[int]) -> Tensor: ...

    def skeleton(self) -> nn.Module: ...


@runtime_checkable
class LanguageSourceClass(Protocol):
    """The class of a ``LanguageSource``, which is asked before there is one.

    The items' text is cut with the model's tokenizer, and a cache is written without building the model.
    """

    def language_model(self, arguments: Mapping[str, Any]) -> Any:
        """The ``LanguageModel`` that a source with these constructor arguments reads; a class method."""

    def cache_plan(
        self, catalog: Any, pretrained: Any, layers: Sequence[int], arguments: Mapping[str, Any]
    ) -> Any:
        """What a run in mode ``cache`` writes for such a source, a ``CachePlan``; a class method.

        Args:
            layers: ``exp.cache.layers``, which a source may read or choose for itself.

        Raises:
            ValueError: there is nothing to cache with these arguments.
        """


@runtime_checkable
class LanguageSource(Protocol):
    """A source whose token states come from a language model.

    An item encoder that names ``pretrained`` and ``depth`` is offered them.
    """

    pooled: ClassVar[bool]  # an item has one row a layer, not one a token
    pretrained: Any  # the LanguageModel
    depth: int  # layers that the states have been through, or, if pooled, the rows of an item
    deepest: int  # layers that the states have been through
    lower: nn.Module | None  # the layers below, or None where their states are read from a cache
    memory: int  # bytes of cached states that are kept on an accelerator, at most
    bytes_cached: int  # of one cached value

    def cached_rows(self, lengths_N: Tensor) -> Tensor:
        """(N,) rows of each item in a cache, from its number of tokens."""

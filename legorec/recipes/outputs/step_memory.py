"""What a training step holds in memory, estimated from the shapes of a model and its batches."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from legorec.engine.optim import trainable
from legorec.lm import model_types
from legorec.lm.answering import CausalModel
from legorec.lm.model_types import PassThrough
from legorec.lm.tuning import TunedLayers
from legorec.recommender import Recommender

if TYPE_CHECKING:
    from legorec.data.clicks import ClickStream

BATCHES = 32  # of which the largest is taken
CHECKPOINTED = ("gradient_checkpointing", "activation_checkpointing")  # transformers' flag, renamed in 5


@dataclass(frozen=True)
class StepSize:
    """A batch by its sizes. ``tokens`` are of the largest page of items that is encoded at once."""

    items: int
    tokens: int  # of all parts of the items
    examples: int
    history: int  # padded
    candidates: int
    tokens_of: tuple[int, ...] = ()  # each part


def largest_step(stream: ClickStream, lengths_NP: Tensor, page_size: int = 0) -> StepSize:
    """The batch with the most tokens among the first ``BATCHES`` of a run, as training will draw them.

    Args:
        lengths_NP: tokens of every item in each part.
        page_size: items that are encoded at once; 0: all.
    """
    steps = []
    for number in range(min(BATCHES, stream.num_batches)):
        batch = stream.batch(number)
        pages = lengths_NP[batch.items].split(page_size or len(batch.items))
        of_parts = max((page.sum(0).tolist() for page in pages), key=sum)
        (examples, history), candidates = batch.history.shape, batch.candidates.shape[1]
        sizes = (len(batch.items), sum(of_parts), examples, history, candidates)
        steps.append(StepSize(*sizes, tokens_of=tuple(of_parts)))
    return max(steps, key=lambda step: (step.tokens, step.items))


def weight_bytes(model: nn.Module) -> int:
    """All parameters and buffers, trained or not, in their own dtypes."""
    return sum(value.nbytes for value in (*model.parameters(), *model.buffers()))


def gradient_bytes(model: nn.Module) -> int:
    """One gradient for each trainable parameter, in its dtype."""
    return sum(value.nbytes for value in trainable(model).values())


def optimizer_bytes(model: nn.Module) -> int:
    """AdamW's two moments of each trainable parameter, in its dtype, and a step count of four bytes."""
    return sum(2 * value.nbytes + 4 for value in trainable(model).values())


def activation_bytes(model: Recommender, step: StepSize, bf16: bool = False) -> int:
    """An estimate of what one step keeps for its backward pass.

    Every layer with a matrix (linear, convolution, adapter) keeps what goes in and what comes out, for each
    row that it sees::

        items       tokens x (E + sum over the layers of source and item encoder of (in + out))
        vectors     N x D
        parts       N x (2 P D + sum over the layers of the join of (in + out)), where there are P of them
        users       B x H x (D + sum over the layers of the user encoder of (in + out))
        candidates  B x K x (D + sum over the layers of the predictor of (in + out))

    ``tokens`` are those of the largest page where items are encoded in pages, of all ``N`` items of the batch
    otherwise, and each part of the items has its own; ``E`` is the width of the token states, ``B`` examples,
    ``H`` history, ``K`` candidates, ``D`` the item width; a predictor that reads the history has ``H`` rows
    for each candidate. A value takes the bytes of the layer's weights, under ``bf16`` autocast two at most.
    With gradient checkpointing a language model keeps what goes into each of its layers, and all of one of
    them; where nothing is trained in it or before it, nothing. Layers that are tuned in half precision also
    keep their matrices rounded to it.

    Norms and residual sums are not counted: the input that several layers share is, for each of them. Left
    out are padding, the weights of ``eager`` attention, workspace of kernels and the backward pass's own.
    """
    wide = 2 if bf16 else 4
    items = rounded = 0
    for part, tokens in zip(model.item_parts, step.tokens_of, strict=True):
        of_token, of_weights = _of_part(part.source, part.item_encoder, bf16)
        items, rounded = items + tokens * of_token, rounded + of_weights
    encoder: Any = model.item_encoder
    vector = encoder.output_dim * wide
    if (count := len(model.item_parts)) > 1:
        items += step.items * (2 * count * vector + _kept(encoder.join, bf16))
    of_click = vector + _kept(model.user_encoder, bf16)
    # A predictor that reads the history sees every click beside every candidate.
    beside = step.history if model.reads_history else 1
    of_candidate = vector + beside * _kept(model.predictor, bf16)
    return (
        rounded
        + items
        + step.items * vector
        + step.examples * (step.history * of_click + step.candidates * of_candidate)
    )


def _of_part(source: Any, encoder: Any, bf16: bool) -> tuple[int, int]:
    """Bytes for each token, and of matrices that are rounded once."""
    of_token, rounded, apart = source.dim * (2 if bf16 else 4), 0, [getattr(source, "lower", None)]
    for layers in (each for each in encoder.modules() if isinstance(each, TunedLayers)):
        apart.append(layers.upper)
        if trainable(layers) or trainable(source):
            half = bf16 or layers.rounds
            of_token += _of_language_model(layers, source.pretrained.family.layers, half)
            rounded += 2 * sum(each.numel() for each in layers.upper.parameters()) if layers.rounds else 0
    left_out = {id(each) for module in apart if module is not None for each in module.modules()}
    return of_token + _kept(source, bf16, left_out) + _kept(encoder, bf16, left_out), rounded


def _of_language_model(layers: TunedLayers, path: str, bf16: bool) -> int:
    """Bytes for each token."""
    whole: Any = layers.upper.model
    all_layers = model_types.part(whole, path)
    assert isinstance(all_layers, nn.ModuleList)
    left = [layer for layer in all_layers if not isinstance(layer, PassThrough)]
    if not left or not any(getattr(left[0], name, False) for name in CHECKPOINTED):
        return _kept(whole, bf16)
    wide = 2 if bf16 else max(each.itemsize for each in left[0].parameters())
    return len(left) * whole.config.hidden_size * wide + max(_kept(layer, bf16) for layer in left)


def _kept(module: nn.Module, bf16: bool, left_out: Set[int] = frozenset()) -> int:
    """Bytes for each row that a module sees; a table is looked up and keeps nothing."""
    total = 0
    for each in module.modules():
        weight = each._parameters.get("weight")
        if weight is None or weight.dim() < 2 or isinstance(each, nn.Embedding) or id(each) in left_out:
            continue
        if not weight.is_floating_point():  # rounded: its shape is not that of the layer, nor its dtype
            linear: Any = each
            total += (linear.in_features + linear.out_features) * (2 if bf16 else 4)
            continue
        wide = min(2, weight.itemsize) if bf16 else weight.itemsize
        total += (weight.shape[-1] + weight.shape[-2]) * wide
    return total


def prompt_bytes(model: CausalModel, tokens: int, learned: int, bf16: bool = False) -> int:
    """An estimate of what a step of a prompted model keeps, as ``activation_bytes`` of its tuned layers.

    Args:
        tokens: of the batch, without padding.
        learned: of these, those that the head is applied to; each keeps its logits and their logarithms.
    """
    layers = model.upper
    half = bf16 or layers.rounds
    states = model.base.width * (2 if bf16 else 4)
    rounded = 2 * sum(each.numel() for each in layers.upper.parameters()) if layers.rounds else 0
    of_token = states + _of_language_model(layers, layers.upper.path, half)
    return rounded + tokens * of_token + learned * 4 * (model.base.output_width + 2 * model.base.vocab_size)

"""The size of a prompted model and the memory that tuning it takes, from settings, a config and a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from legorec.engine.fit import Stream
from legorec.processes import ALONE
from legorec.recipes.outputs.figures import in_bytes, print_figures
from legorec.recipes.outputs.step_memory import (
    BATCHES,
    gradient_bytes,
    optimizer_bytes,
    prompt_bytes,
    weight_bytes,
)
from legorec.recipes.prompted import build_causal, prompt_of, prompt_stream
from legorec.recipes.size import count, memory_rows

if TYPE_CHECKING:
    from legorec.settings import Settings


def figures(settings: Settings) -> dict[str, Any]:
    """What ``size`` prints of a prompted model; no weight is read.

    Returns:
        ``parameters``: of the frozen part below, of the layers above with their adapters, of the head, and in
        ``total``, ``all`` and those ``trainable``. ``memory``: bytes of ``weights``, ``gradients`` and
        ``optimizer`` as they are, of ``activations`` as ``prompt_bytes`` estimates them. ``step``: rows,
        tokens and learned tokens of the batch that these are of.

    Raises:
        ValueError: something the user can mend.
    """
    data, prompt, pretrained = prompt_of(settings, ["train"])
    with torch.device("meta"):
        model = build_causal(settings, prompt, pretrained)
    step = largest_batch(prompt_stream(settings, data.training, prompt, ALONE))
    memory = {
        "weights": weight_bytes(model),
        "gradients": gradient_bytes(model),
        "optimizer": optimizer_bytes(model),
        "activations": prompt_bytes(
            model, step["tokens"], step["learned"], settings.exp.policy.precision == "bf16"
        ),
    }
    below = model.lower if model.table is None else model.table
    head = 0 if model.table is not None else model.get_buffer("head_VD").numel()
    parameters = {"embeddings and layers below": count(below), "layers": count(model.upper)}
    parameters["head"] = {"all": head, "trainable": 0}
    parameters["total"] = {
        key: sum(each[key] for each in parameters.values()) for key in ("all", "trainable")
    }
    return {
        "parameters": parameters,
        "memory": memory | {"total": sum(memory.values())},
        "step": step,
        "filters": data.filtered,
    }


def largest_batch(stream: Stream) -> dict[str, int]:
    """The batch with the most tokens among the first ``BATCHES`` of a run, as training will draw them."""
    found = []
    for number in stream.epoch(0)[:BATCHES]:
        batch = stream.batch(number)
        sizes = {"rows": len(batch.lengths), "tokens": len(batch.tokens), "learned": len(batch.learned)}
        found.append(sizes | {"longest": int(batch.lengths.max())})
    return max(found, key=lambda each: each["tokens"])


def show(settings: Settings, found: dict[str, Any]) -> None:
    """Print the figures as tables."""
    for line in found["filters"]:
        print(line)
    parameters, memory, step = (found[name] for name in ("parameters", "memory", "step"))
    name, total = settings.model.name, parameters["total"]
    print_figures(
        f"{name}: parameters",
        ("part", "all", "trainable"),
        [(part, f"{each['all']:,}", f"{each['trainable']:,}") for part, each in parameters.items()],
        f"{total['trainable']:,} of {total['all']:,} are trained ({total['trainable'] / total['all']:.4%}); "
        f"all of them would need {in_bytes(8 * total['all'])} of AdamW's moments in fp32",
    )
    print_figures(
        f"{name}: memory in training",
        ("", "bytes", ""),
        memory_rows(memory),
        f"a step of {step['rows']:,} prompts with {step['tokens']:,} tokens ({step['longest']:,} in the "
        f"longest), of which {step['learned']:,} are learned; the largest of the first {BATCHES} batches",
    )

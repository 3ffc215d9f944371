"""Print the prompt of one example: what stands in each segment, what was cut, and what is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from legorec.processes import ALONE, Processes
from legorec.prompts import Prompt
from legorec.recipes.inputs.store_data import Data
from legorec.recipes.outputs.prompt_text import ShownPrompt, ShownSegment, print_prompt_text
from legorec.recipes.prompted import layer_of, prompt_of
from legorec.settings.exp_layer import PromptShownSettings

if TYPE_CHECKING:
    from legorec.settings import Settings


def print_prompt(settings: Settings, processes: Processes = ALONE) -> dict[str, Any]:
    """Print what ``exp.prompt`` names, with the answer that its label asks for. Nothing is kept.

    Raises:
        ValueError: something the user can mend, such as an example that there is not.
    """
    asked = settings.exp.prompt or PromptShownSettings()
    with processes.agreeing():
        data, prompt, _ = prompt_of(settings, [asked.split])
        shown = shown_prompt(data, prompt, asked, layer_of(settings).prompt.loss_on)
    if processes.is_first:
        print_prompt_text(shown)
    return {}


def shown_prompt(data: Data, prompt: Prompt, asked: PromptShownSettings, loss_on: str) -> ShownPrompt:
    """The prompt of one candidate of one example.

    Raises:
        ValueError: there are not as many examples, or candidates.
    """
    impressions = data.impressions(asked.split)
    interactions = impressions.interactions
    row, column, place = asked.example, asked.candidate, data.place(asked.split)
    if row >= len(impressions):
        raise ValueError(f"`exp.prompt.example` must be below the {len(impressions):,} of {place}, got {row}")
    items = interactions.candidates[row]
    if column >= len(items):
        raise ValueError(
            f"`exp.prompt.candidate` must be below the {len(items)} of example {row} of {place}, got {column}"
        )
    batch, _ = impressions.batch(np.array([row]))
    made, clicks = prompt(batch), prompt.clicks_shown(batch)
    first = int(made.ends[column] + 1 - made.lengths[column])
    learned = np.isin(np.arange(first, first + int(made.lengths[column])), made.learned.numpy())
    ids = made.tokens.numpy()[first : first + len(learned)]
    decode = prompt.vocabulary.decode
    segments = []
    for name, text in prompt.text(made, column).items():
        start, stop = made.spans[name][column].tolist()
        tokens = [decode(ids[each : each + 1]) for each in range(start, stop)]
        count = tuple(clicks[name][column].tolist()) if name in clicks else None
        segments.append(ShownSegment(name, text, start, stop, tokens, learned[start:stop].tolist(), count))
    answers = prompt.answer_ids or ()
    label = f"{made.label[column]:g}" if interactions.labelled else "not known"
    user, item = data.store.users.ids[int(interactions.user[row])], data.store.items.ids[int(items[column])]
    of_list = f"candidate {column} of {len(items)} is item {item}, label {label}"
    return ShownPrompt(
        f"{place}, example {row}: user {user}, {of_list}",
        segments,
        prompt.max_length,
        loss_on,
        [(decode(np.array([each])), each) for each in answers],
    )

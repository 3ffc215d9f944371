"""Build the bricks of a model from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from legorec.build import build
from legorec.halving import NoMemoryError, first_line, lacks_memory
from legorec.recipes.inputs.build_items import build_items
from legorec.recipes.inputs.item_codes import read_codes
from legorec.recipes.inputs.store_data import Data
from legorec.recommender import Recommender

if TYPE_CHECKING:
    from legorec.settings import Settings


def build_model(settings: Settings, data: Data, device: torch.device) -> Recommender:
    """Build the bricks in order, each with the width of the one before; weights are drawn from the seed.

    Raises:
        NoMemoryError: there is not the memory for its weights.
    """
    try:
        return _built(settings, data, device)
    except (MemoryError, RuntimeError, NoMemoryError) as error:
        if not lacks_memory(error) and "overflow" not in str(error):
            raise
        raise NoMemoryError(
            f"out of memory in building the model ({first_line(error)}); give it smaller sizes, such as "
            "--hidden_size, or a device with more memory"
        ) from error


def _built(settings: Settings, data: Data, device: torch.device) -> Recommender:
    torch.manual_seed(settings.seed)
    model = settings.model
    for catalog in data.catalogs:
        catalog.to(device)
    offered: dict[str, Any] = {
        "catalog": data.catalog,
        "num_items": data.num_items,
        "num_users": len(data.store.users),
        "max_history": data.max_history,
    }
    if data.profiles is not None:
        offered["profiles"] = data.profiles.to(device)
    if settings.embed.codes is not None:
        offered["codes"] = read_codes(Path(settings.embed.codes.path), data)
    source, item_encoder, of_items = build_items(settings, data, offered)
    offered |= of_items
    user_encoder = build("user_encoder", model.user_encoder, offered)
    plugin = build("user_plugin", model.user_plugin, offered) if model.user_plugin else None
    predictor = build("predictor", model.predictor, offered)
    page_size = settings.exp.policy.item_page_size
    return Recommender(source, item_encoder, user_encoder, predictor, plugin, page_size).to(device)

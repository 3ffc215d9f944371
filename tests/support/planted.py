"""A world in which users like one kind of item and titles name the kind, for raw files of any format."""

from __future__ import annotations

import numpy as np

KINDS = ("chess", "opera", "soccer", "cooking")
NUM_ITEMS, NUM_USERS = 260, 240
TITLES = [f"{KINDS[item % len(KINDS)]} story {item}" for item in range(NUM_ITEMS)]


def suits(user: int, item: int) -> bool:
    """Whether an item is of the kind that a user likes."""
    return user % len(KINDS) == item % len(KINDS)


def items_of_users(count: int = 16, seed: int = 0) -> list[list[int]]:
    """What each user took, in order, no item twice: mostly what suits."""
    rng, taken = np.random.default_rng(seed), []
    for user in range(NUM_USERS):
        weight = np.array([30.0 if suits(user, item) else 1.0 for item in range(NUM_ITEMS)])
        taken.append(rng.choice(NUM_ITEMS, count, replace=False, p=weight / weight.sum()).tolist())
    return taken


def shown_to_users(count: int, seed: int = 0) -> list[tuple[int, list[int]]]:
    """Users in turn, and five distinct items for each; one of these suits, at any place."""
    rng, shown = np.random.default_rng(seed), []
    for place in range(count):
        user = place % NUM_USERS
        order = rng.permutation(NUM_ITEMS).tolist()
        one = [item for item in order if suits(user, item)][:1]
        others = [item for item in order if not suits(user, item)][:4]
        shown.append((user, rng.permutation(one + others).tolist()))
    return shown

"""How a model file suggests to be trained, and when that is not read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from legorec.compose.documents import Document

BLOCK = "suggested"  # of the model layer
RATE = f"${{model.{BLOCK}.lr"  # what an exp file refers to that reads the suggestion


def leave_out_suggestion(document: Document, given: Collection[str]) -> Any:
    """Take ``model.suggested`` out of the layers where a flag or the exp file names a learning rate itself.

    Rate, warm-up, schedule and epochs were found together. Beside another rate the rest of them would be
    nobody's choice, and a command that names its rate would no longer give what it gave before.

    Args:
        given: the keys on the command line, dotted or not.

    Returns: what was taken out, which is to be checked all the same; None where nothing was.
    """
    model, exp = document.tree.get("model"), document.tree.get("exp")
    policy = exp.get("policy") if isinstance(exp, dict) else None
    rate = policy.get("lr") if isinstance(policy, dict) else None
    read = isinstance(rate, str) and RATE in rate and not ({"lr", "exp.policy.lr"} & set(given))
    if read or not isinstance(model, dict) or BLOCK not in model:
        return None
    block, model[BLOCK] = model[BLOCK], None
    document.origins[f"model.{BLOCK}"] = "not read, as the rate is named elsewhere"
    return block

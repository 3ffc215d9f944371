"""Control tokens that a text spells, such as ``<s>`` or ``[SEP]``, as the text that they are there."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer

# Put before the name of a control token: characters that Unicode assigns to nothing: no text has them.
_HIDDEN = "\ufdd0legorec\ufdd0"


def for_text(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer with the same ids that finds no control token in a text, however it is spelled.

    Tokens that were added without being control tokens are found as before. The library's own switch
    (``encode_special_tokens``) is lost in copies, and leaves tokens that stand in the vocabulary too: a
    Unigram model finds ``<s>`` there. So their names are changed, in copies and pickles as well.
    """
    if not any(token.special for token in tokenizer.get_added_tokens_decoder().values()):
        return tokenizer
    whole = json.loads(tokenizer.to_str())
    hidden = {token["content"] for token in whole["added_tokens"] if token["special"]}
    if all(name.startswith(_HIDDEN) for name in hidden):
        return tokenizer
    for token in whole["added_tokens"]:
        if token["special"]:
            token |= {"content": _HIDDEN + token["content"], "normalized": False}
    _rename(whole["model"], hidden)
    whole["post_processor"] = None  # it adds control tokens by name, which no caller asks for
    renamed = Tokenizer.from_str(json.dumps(whole))
    assert renamed.get_vocab_size() == tokenizer.get_vocab_size(), "the ids are those of before"
    return renamed


def _rename(model: dict[str, Any], hidden: set[str]) -> None:
    """Change names in the vocabulary of a model, and what refers to them there."""

    def name(token: str) -> str:
        return _HIDDEN + token if token in hidden else token

    if isinstance(model["vocab"], dict):
        model["vocab"] = {name(token): number for token, number in model["vocab"].items()}
    else:  # Unigram, whose unknown token is known by its number
        model["vocab"] = [[name(token), score] for token, score in model["vocab"]]
    if model.get("unk_token") is not None:
        model["unk_token"] = name(model["unk_token"])
    if model.get("merges"):
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if hidden.isdisjoint([*pair, "".join(pair)])]

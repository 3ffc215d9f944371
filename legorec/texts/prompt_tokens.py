"""A request as the token ids that a local model reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from legorec.texts.checked import in_words
from legorec.texts.generator import TextRequest

CHATS = ("auto", "template", "plain")


class PromptError(ValueError):
    """A request that cannot be made a prompt of this model."""


class PromptTokens:
    """Renders and tokenizes requests.

    Args:
        tokenizer: of transformers.
        chat: ``template`` renders messages with the tokenizer's chat template; ``plain`` joins them by empty
            lines; ``auto`` takes the template where there is one.
        say_format: add to the last message in words what an answer must look like.

    Raises:
        ValueError: ``chat`` is none of these, or ``template`` where there is none.
    """

    def __init__(self, tokenizer: Any, chat: str = "auto", say_format: bool = False) -> None:
        if chat not in CHATS:
            raise ValueError(f"`chat` must be one of {', '.join(CHATS)}, got {chat!r}")
        there = bool(tokenizer.chat_template)
        if chat == "template" and not there:
            raise ValueError(
                "`chat` must be auto or plain, got template: the model's tokenizer has no chat template"
            )
        self._tokenizer, self._say_format = tokenizer, say_format
        self.templated = there and chat != "plain"

    def text(self, request: TextRequest) -> str:
        """The whole prompt.

        Raises:
            PromptError: the chat template refuses the messages.
        """
        messages = [{"role": each.role, "content": each.content} for each in request.messages]
        if self._say_format and request.format is not None:
            messages[-1]["content"] += f"\n\n{in_words(request.format)}"
        if not self.templated:
            return "\n\n".join(message["content"] for message in messages)
        try:
            return str(
                self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            )
        except Exception as error:  # a template raises whatever its author wrote
            line = " ".join(str(error).split())[:200]
            raise PromptError(f"the model's chat template refuses the messages: {line}") from error

    def ids(self, request: TextRequest) -> list[int]:
        """The token ids; a template writes its special tokens itself.

        Raises:
            PromptError: the chat template refuses the messages, or there is no token.
        """
        ids = self._tokenizer(self.text(request), add_special_tokens=not self.templated)["input_ids"]
        while not self.templated and ids and ids[-1] == self._tokenizer.eos_token_id != ids[0]:
            ids = ids[:-1]  # a tokenizer that closes each text; the prompt goes on
        if not ids:
            raise PromptError("the prompt holds no token")
        return list(ids)


def end_ids(tokenizer: Any, names: Iterable[str]) -> frozenset[int]:
    """The ids of the tokens that end a text: the tokenizer's own, or those that are named.

    Raises:
        ValueError: a name is no token, or there is none at all.
    """
    names = list(names)
    if not names:
        if tokenizer.eos_token_id is None:
            raise ValueError("`end_tokens` must be named: the model's tokenizer does not say how a text ends")
        return frozenset({int(tokenizer.eos_token_id)})
    vocabulary = tokenizer.get_vocab()
    for name in names:
        if name not in vocabulary:
            raise ValueError(f"`end_tokens` must be tokens of the model, got {name!r}")
    return frozenset(int(vocabulary[name]) for name in names)

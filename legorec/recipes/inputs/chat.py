"""Prompts as one turn of a chat, in the words of a checkpoint's own template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from legorec.prompts import AnswerSegment, Segment, TextSegment
from legorec.texts.local_model import load_tokenizer

USER, MODEL = "chat_user", "chat_model"  # the segments before and after what the user says
_MARK = "\ufdd2"  # that Unicode assigns to nothing: no template has it


def chat_turn(folder: Path, name: str) -> tuple[str, str]:
    """What the chat template of a checkpoint writes before a user's turn, and after it up to the answer.

    Args:
        name: of the checkpoint, for messages.

    Raises:
        ValueError: its tokenizer has no such template, or one that cannot be filled or alters the turn.
    """
    tokenizer = load_tokenizer(folder)
    if not tokenizer.chat_template:
        raise ValueError(
            f"`prompt.chat` (--chat): the tokenizer of {name} has no chat template; leave it out, and spell "
            "what stands around the prompt as segments"
        )
    turn = [{"role": "user", "content": _MARK}]
    try:
        text = str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program of its own
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"`prompt.chat`: the chat template of {name} cannot be filled: {why}") from error
    before, mark, after = text.partition(_MARK)
    if not mark or _MARK in after:
        raise ValueError(f"`prompt.chat`: the chat template of {name} does not write a turn as it is, once")
    return before, after


def as_chat(segments: Sequence[Segment], turn: tuple[str, str]) -> list[Segment]:
    """The segments as a user's turn, with the answer after it."""
    before, after = TextSegment(USER, turn[0]), TextSegment(MODEL, turn[1])
    said = [each for each in segments if not isinstance(each, AnswerSegment)]
    return [before, *said, after, *(each for each in segments if isinstance(each, AnswerSegment))]

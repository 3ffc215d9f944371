"""What a prompt must be, checked when it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from legorec.prompts.segments import AnswerSegment, HistorySegment, ItemSegment, ResponseSegment, Segment


def check_segments(segments: Sequence[Segment], mark_names: Sequence[str]) -> None:
    """Raises ValueError: a name twice, no candidate, an answer that is not last, or an unknown mark."""
    names = [part.name for part in segments]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"`prompt.segments`: two of them are called '{min(twice)}'")
    if not any(isinstance(part, ItemSegment | ResponseSegment) for part in segments):
        raise ValueError("`prompt.segments` must hold the candidate: a segment with `item`")
    for part in segments[:-1]:
        if isinstance(part, AnswerSegment | ResponseSegment):
            raise ValueError(f"`prompt.segments`: the answer '{part.name}' must be the last of them")
    for part in segments:
        for mark in part.marks if isinstance(part, HistorySegment) else ():
            if mark not in mark_names:
                raise ValueError(
                    f"`prompt.segments.{part.name}`: the store's clicks have no mark '{mark}'; there are: "
                    f"{', '.join(mark_names) or 'none'}"
                )


def check_answers(
    answer: AnswerSegment, positive: np.ndarray, negative: np.ndarray, decode: Callable[[np.ndarray], str]
) -> int:
    """Check that the answers are told apart by the first token that shows something.

    Args:
        positive, negative: their tokens.
        decode: tokens -> text.

    Returns: the number of tokens before it, which both have: some tokenizers have one for a blank.

    Raises:
        ValueError: they are not.
    """
    place, shared = f"`prompt.segments.{answer.name}`", min(len(positive), len(negative))
    for text, tokens in ((answer.positive, positive), (answer.negative, negative)):
        if not len(tokens):
            raise ValueError(f"{place}: {text!r} has no token")
    alike = positive[:shared] == negative[:shared]
    before = shared if alike.all() else int(alike.argmin())
    said = decode(positive[:before]).strip()
    if said or before == shared:
        raise ValueError(
            f"{place}: {answer.positive!r} and {answer.negative!r} begin with the same token ({said!r}), by "
            "which they are told apart; take others"
        )
    return before


def check_room(fixed: int, longest: int, max_length: int) -> None:
    """Check that what is never cut fits.

    Args:
        fixed: tokens of the prompt's own texts.
        longest: of the longest candidate.

    Raises:
        ValueError: it does not.
    """
    if fixed + longest > max_length:
        raise ValueError(
            f"`prompt.max_length` must be at least {fixed + longest}: the texts of the prompt take {fixed} "
            f"tokens and the longest candidate {longest}, got {max_length}; a template may cut a field, as "
            "in {title:20}"
        )

import re
import sys

import pytest

from legorec.texts import AnswerFormat
from legorec.texts.automata import Automata, pattern_of

LETTERS = {place: bytes([place]) for place in range(32, 127)}
END = 0


def every_text(automata, form, longest=12):
    """All texts that the automaton lets through, token by token."""
    found, ways = set(), [""]
    while ways:
        way = ways.pop()
        guide = automata.guide(form)
        over = False
        for letter in way:
            over = guide.advance(ord(letter))
        allowed = set(guide.allowed().nonzero()[0].tolist())
        if END in allowed or over:
            found.add(way)
        if not over and len(way) < longest:
            ways += [way + chr(token) for token in allowed - {END}]
    return found


def test_the_texts_of_a_closed_list_are_let_through_and_no_others():
    choices = ("yes", "yes!", "no (1.5*)", "a|b")
    found = every_text(Automata(LETTERS, END, 130), AnswerFormat(choices=choices))
    assert found == {blank + choice for blank in ("", " ") for choice in choices}


def test_more_scores_than_tokens_are_never_allowed():
    guide = Automata(LETTERS, END, 1000).guide(AnswerFormat(choices=("yes",)))
    assert guide.allowed().shape == (1000,) and not guide.allowed()[127:].any()


def test_a_choice_that_no_token_spells_is_refused():
    with pytest.raises(ValueError, match="no automaton can be made"):
        Automata(LETTERS, END, 130).guide(AnswerFormat(choices=("caf\u00e9",)))


def test_a_schema_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no automaton can be made of the answer's schema"):
        pattern_of(AnswerFormat(schema={"type": "nothing"}))


def test_signs_of_a_choice_stand_for_themselves():
    signs = "".join(map(chr, range(33, 127)))
    assert re.fullmatch(pattern_of(AnswerFormat(choices=(signs,))), signs)


def test_without_outlines_core_the_message_has_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "outlines_core", None)
    with pytest.raises(ValueError, match=r"pip install 'legorec\[texts\]', or set `structured: false`"):
        Automata(LETTERS, END, 130)

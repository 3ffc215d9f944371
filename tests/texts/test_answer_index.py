"""Keys -> places: as a dictionary has it, in sixteen bytes each."""

import random

from legorec.texts import answer_index
from legorec.texts.answer_index import AnswerIndex


def test_it_finds_what_a_dictionary_finds(monkeypatch):
    monkeypatch.setattr(answer_index, "FEW", 16)
    draw, index, known = random.Random(1), AnswerIndex(), {}
    for place in range(2000):
        key = f"key {draw.randrange(700)}"
        index.add(key, place)
        known[key] = place
        probe = f"key {draw.randrange(1000)}"
        assert index.get(probe) == known.get(probe)
    assert {key: index.get(key) for key in known} == known and len(index) == len(known)
    assert index._names.nbytes + index._places.nbytes == 16 * len(known) and not index._recent

"""A store that is written again from its own content is the same; clicks are put where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from legorec.data.layout import StoreError
from legorec.data.ragged import Ragged
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.data.writing.rewritten import Content, Pieces, add_impressions, choices_of
from legorec.data.writing.writer import StoreWriter
from tests.support.prompted import marked_store
from tests.support.small_store import write


def rewritten(store: Store, out: Path) -> Store:
    settings = {key: value for key, value in store.manifest["made_with"].items() if key != "tokenizers"}
    limit = settings.pop("max_missing")
    with StoreWriter(out, settings, [*choices_of(store).values()], limit) as writer:
        for table, add in ((store.items, writer.items), (store.users, writer.users)):
            content = Content.of(store, table)
            add(content.frame, content.columns)
        add_impressions(writer, store, Pieces.of(store))
    return Store.open(out, verify="full")


def test_a_store_written_again_is_the_same(tmp_path: Path) -> None:
    store = write(tmp_path / "store")
    assert rewritten(store, tmp_path / "again").digest == store.digest


def test_tokens_of_a_folder_are_kept(tmp_path: Path) -> None:
    store = write(tmp_path / "store")
    (tmp_path / "bert").mkdir()
    store.tokenizer("words").save(str(tmp_path / "bert" / "tokenizer.json"))
    add_tokenization(store.path, "title", TokenizerChoice("bert", tmp_path / "bert"))
    there = Store.open(store.path)
    again = rewritten(there, tmp_path / "again")
    assert sorted(again.items.field_names) == sorted(there.items.field_names)
    assert again.items.field("title@bert").rows == there.items.field("title@bert").rows
    assert again.manifest["made_with"] == there.manifest["made_with"]


def test_pieces_hold_the_histories(tmp_path: Path) -> None:
    store = write(tmp_path / "store")
    pieces = Pieces.of(store)
    for span, (start, stop) in enumerate(store.spans):
        piece = pieces.clicks[int(pieces.span_piece[span])]
        found = piece[pieces.span_start[span] : pieces.span_stop[span]]
        assert np.array_equal(found, store.histories[start:stop])


@pytest.mark.parametrize(
    ("place", "spans", "clicks"),
    [
        (1, [[0, 9], [0, 9, 1], [1], []], [0, 9, 1]),  # a span that begins after them has them not
        (2, [[0], [0, 1, 9], [1, 9], []], [0, 1, 9]),
        (0, [[9, 0], [9, 0, 1], [1], [9]], [9, 0, 1]),
        (-1, [[0], [0, 1], [1], []], [0, 1]),
    ],
)
def test_clicks_are_put_into_the_spans_that_hold_their_place(
    place: int, spans: list[list[int]], clicks: list[int]
) -> None:
    two = Pieces(
        np.array([0, 1]),
        Ragged.from_lists([[0, 1], [5]]),
        np.array([0, 0, 0, 0, 1]),
        np.array([0, 0, 1, 0, 0]),
        np.array([1, 2, 2, 0, 1]),
    )
    made = two.with_clicks(np.array([place, -1]), Ragged.from_lists([[9], []]))
    found = [
        made.clicks[piece][start:stop].tolist()
        for piece, start, stop in zip(made.span_piece, made.span_start, made.span_stop, strict=True)
    ]
    assert found == [*spans, [5]]
    assert [each.tolist() for each in made.clicks] == [clicks, [5]]


def test_marks_of_clicks_are_not_lost_in_silence(tmp_path):
    store = marked_store(tmp_path / "marked")
    with pytest.raises(StoreError, match="its clicks are marked .disliked, liked."):
        add_impressions(None, store, None)

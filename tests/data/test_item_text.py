"""The text of an item: each segment tokenized apart, within its budget, stored or new."""

from __future__ import annotations

import pytest

from legorec.data.item_text import ItemText, stored_field, tokenization_of
from legorec.data.store import Store, StoreError
from legorec.data.text import TokenizerChoice, encode
from tests.support.small_store import write


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write(tmp_path_factory.mktemp("data") / "small")


def test_segments_are_filled_in_one_by_one(store: Store) -> None:
    tokenizer = store.tokenizer("chars")
    title = [row.tolist() for row in store.items.field("title@chars").rows]
    topic, literal = encode(tokenizer, ["news", "sport", ""]), encode(tokenizer, ["or: "])[0].tolist()
    topics = [topic[place].tolist() for place in (0, 2, 1, 0, 2)]
    found = ItemText("{title:4}or: {category:3}{title}", tokenizer, "chars").from_store(store)
    expected = [text[:4] + literal + name[:3] + text for text, name in zip(title, topics, strict=True)]
    assert [row.tolist() for row in found] == expected
    assert literal and max(map(len, title)) > 4 and max(map(len, topics)) > 3


TEMPLATES = ["{title}", "{title:4} in {category}", "{genres:2}{price}", "{title}{title:1}"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_item_has_the_tokens_of_a_stored_one(store: Store, template: str) -> None:
    found = ItemText(template, store.tokenizer("chars"), "chars")
    categories, genres = store.items.field("category"), store.items.field("genres")
    names = {field.name: store.vocabulary(field.vocabulary) for field in (categories, genres)}
    items = []
    for row, title in enumerate(store.items.text("title")):
        price = ", ".join(f"{value:g}" for value in store.items.field("price").rows[row])
        items.append({
            "title": title,
            "category": [names["category"][value] for value in categories.rows[row]],
            "genres": [names["genres"][value] for value in genres.rows[row]],
            "price": price,
        })  # fmt: skip
    assert found.of(items) == found.from_store(store)


def test_what_is_left_out_of_a_new_item_is_empty(store: Store) -> None:
    found = ItemText("{title}{price}", store.tokenizer("chars"), "chars")
    assert found.field_names == ("title", "price")
    assert found.of([{}, {"title": "a"}]).lengths.tolist() == [0, 1]


def test_what_stands_in_the_place_of_an_empty_field(store: Store) -> None:
    tokenizer = store.tokenizer("chars")
    found = ItemText("{title|nil}-{price:1|x}", tokenizer, "chars")
    assert found.field_names == ("title", "price")
    rows = found.of([{}, {"title": "a"}, {"price": "3", "title": "b"}])
    wanted = encode(tokenizer, ["nil-x", "a-x", "b-3"])
    assert [row.tolist() for row in rows] == [row.tolist() for row in wanted]


def test_fields_that_are_not_there_are_told_with_the_command(store: Store) -> None:
    for name in ("title", "category"):
        assert stored_field(store, name, "words").name.partition("@")[0] == name
    with pytest.raises(
        StoreError, match=r"'title' has no tokens of 'bert'; add them with: .*--tokenizer bert="
    ):
        stored_field(store, "title", "bert")
    with pytest.raises(StoreError, match="titel"):
        ItemText("{titel}", store.tokenizer("chars"), "chars").from_store(store)


def test_a_tokenization_is_known_by_what_it_does(store: Store) -> None:
    chars, words = store.tokenizer("chars"), store.tokenizer("words")
    other = TokenizerChoice("words").build(iter(["quite other words"]))
    for tokenizer, wanted in ((other, "words"), (chars, "words"), (words, "chars")):
        with pytest.raises(StoreError, match=f"its tokenization '{wanted}' is not that of weights/x"):
            tokenization_of(store, tokenizer, "weights/x", wanted)
    with pytest.raises(
        StoreError, match=r"none of its tokenizations \(chars, words\) is that of .*x=weights/x"
    ):
        tokenization_of(store, other, "weights/x")
    with pytest.raises(StoreError, match=r"none of its .*--tokenizer bert=weights/x"):
        tokenization_of(store, other, "weights/x", "bert")

"""A text of the user in a prompt: who has which, what is cut, and what stands there for nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from legorec.data.ragged import Ragged
from legorec.data.store import Store
from legorec.prompts import PromptVocabulary, UserSegment
from tests.support.prompted import SEGMENTS, click_stream, marked_store, prompt_over

NUM_USERS = 12


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return marked_store(tmp_path_factory.mktemp("marked") / "store", num_users=NUM_USERS)


def summaries(store: Store) -> Ragged:
    """A number of films for each user; none for the first."""
    (film,) = PromptVocabulary(store.tokenizer("words")).encode("film")
    return Ragged.from_lists([[film] * row for row in range(NUM_USERS)])


def asked(store: Store, segment: UserSegment, **settings: object):
    return prompt_over(store, (*SEGMENTS[:1], segment, *SEGMENTS[1:]), **settings)


def test_every_row_has_the_text_of_its_user(store: Store) -> None:
    segment = UserSegment("summary", "says", budget=4, empty="NULL")
    prompt, batch = asked(store, segment, users={"says": summaries(store)}), click_stream(store).batch(0)
    made = prompt(batch)
    seen = set()
    for row, user in enumerate(batch.user.tolist()):
        shown = prompt.text(made, row)["summary"]
        assert shown == (" ".join(["film"] * min(user, 4)) or "null")
        seen.add(shown)
        start, stop = made.spans["summary"][row].tolist()
        assert stop - start == max(1, min(user, 4))
    assert "null" in seen and len(seen) == 5


def test_of_nobody_anything_is_known(store: Store) -> None:
    prompt, batch = asked(store, UserSegment("summary", None, empty="NULL")), click_stream(store).batch(0)
    made = prompt(batch)
    assert {prompt.text(made, row)["summary"] for row in range(len(made.lengths))} == {"null"}


def test_where_room_lacks_the_oldest_clicks_go_and_never_the_summary(store: Store) -> None:
    batch, users = click_stream(store).batch(0), {"says": summaries(store)}
    segment = UserSegment("summary", "says", empty="NULL")
    whole = asked(store, segment, users=users, max_length=500)(batch)
    longest = int(whole.lengths.max())
    tight = asked(store, segment, users=users, max_length=longest - 10)(batch)
    widths = [np.diff(each.spans["summary"].numpy(), axis=1) for each in (whole, tight)]
    assert np.array_equal(*widths) and int(tight.lengths.max()) <= longest - 10
    with pytest.raises(ValueError, match="`prompt.max_length` must be at least"):
        asked(store, segment, users=users, max_length=30)


def test_the_retokenized_text_of_users(store: Store, tmp_path: Path) -> None:
    """A store whose users have a text gets another tokenization of it, like one of the items."""
    from legorec.data.text import TokenizerChoice
    from legorec.data.tokenizations import add_tokenization
    from legorec.data.writing.columns import Column
    from legorec.data.writing.writer import StoreWriter
    from tests.support.small_store import COLUMNS, ITEMS, TRAIN, WORDS

    with StoreWriter(tmp_path / "store", {"processor": "small"}, [WORDS]) as writer:
        writer.items(ITEMS, COLUMNS)
        frame = TRAIN["user"].unique(maintain_order=True).to_frame("id")
        writer.users(frame.with_columns(says=frame["id"] + " likes it"), [Column("says", "text")])
        writer.impressions("train", TRAIN)
    add_tokenization(tmp_path / "store", "says", TokenizerChoice("chars"))
    users = Store.open(tmp_path / "store", verify="full").users
    assert users.field("says@words").rows.lengths.tolist() == [3, 3]
    assert users.field("says@chars").rows.lengths.tolist() == [8, 8]

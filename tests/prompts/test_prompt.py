"""Laws of prompts: segments partition a row, what is cut, what is learned, and who is asked."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from legorec.data.histories import Histories
from legorec.data.item_text import ItemText
from legorec.data.store import Store
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.prompts import (
    AnswerSegment,
    HistorySegment,
    Prompt,
    PromptVocabulary,
    ResponseSegment,
    TextSegment,
)
from legorec.prompts.checks import check_answers
from tests.support.causal import byte_level
from tests.support.prompted import SEGMENTS, TITLES, click_stream, marked_store, prompt_over


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return marked_store(tmp_path_factory.mktemp("marked") / "store")


@pytest.fixture(scope="module")
def batch(store):
    return click_stream(store).batch(0)


def words(text):
    return " ".join(re.findall(r"\w+|[^\w\s]", text.lower()))


def spelled(store, batch, example, segments=SEGMENTS):
    """The prompt of one example, written from the raw data; single words, as the tokenizer has them."""
    items = batch.items.numpy()
    clicks = items[batch.history.numpy()[example]][batch.history_mask.numpy()[example]]
    start, stop = store.spans[int(batch.span[example])]
    marks = store.marks[start:stop]
    quoted = [f'"{TITLES[item]}"' for item in clicks]
    parts = {
        "liked": ", ".join(text for text, mark in zip(quoted, marks, strict=True) if mark) or "none",
        "disliked": ", ".join(text for text, mark in zip(quoted, marks, strict=True) if not mark) or "none",
        "target": f'"{TITLES[items[int(batch.candidates[example, 0])]]}"',
        "answer": "Yes ." if batch.labels[example, 0] else "No .",
    }
    return {part.name: words(parts.get(part.name, getattr(part, "text", ""))) for part in segments}


def test_a_row_is_what_one_would_write_by_hand(store, batch):
    prompt = prompt_over(store)
    made = prompt(batch)
    assert len(made.lengths) == len(batch.labels)
    for row in range(len(made.lengths)):
        assert prompt.text(made, row) == spelled(store, batch, row)


def test_spans_partition_each_row(store, batch):
    made = prompt_over(store)(batch)
    before = np.zeros(len(made.lengths), dtype=np.int64)
    for part in SEGMENTS:
        start, stop = made.spans[part.name].numpy().T
        assert (start == before).all() and (stop >= start).all()
        before = stop
    assert (before == made.lengths.numpy()).all()


def test_the_text_of_a_row_is_that_of_its_segments_joined(store, batch):
    """With a tokenizer of bytes, which loses nothing: blanks and line breaks too."""
    tokenizer = byte_level()
    vocabulary = PromptVocabulary(tokenizer, grows=False)
    items = ItemText('"{name}"', tokenizer, "bytes").of([{"name": title} for title in TITLES])
    segments = (replace(SEGMENTS[0], text="### What?\n\n  Liked: "), *SEGMENTS[1:])
    segments = tuple(
        replace(each, template='"{name}"') if hasattr(each, "template") else each for each in segments
    )
    histories = Histories(store.histories, store.spans)
    marks = {"marks": store.marks, "mark_names": store.mark_names}
    prompt = Prompt(segments, vocabulary, {'"{name}"': items}, histories, **marks)
    made = prompt(batch)
    for row, ids in enumerate(made.tokens.split(made.lengths.tolist())):
        text = prompt.text(made, row)
        assert vocabulary.decode(ids.numpy()) == "".join(text.values())
        assert text["instruction"] == "### What?\n\n  Liked: "
        target = TITLES[int(batch.items[batch.candidates[row, 0]])]
        assert text["target"] == f'"{target}"'


def test_more_items_leave_the_prompt_as_it_is(store, batch):
    """And they stand after those of the store, as if they had been there from the start."""
    prompt = prompt_over(store)
    tokens = prompt._pool.values.copy()
    template, size = '"{title}"', len(TITLES)
    text = ItemText(template, store.tokenizer("words"), "words", prompt.vocabulary.encode)
    more = prompt.with_more({template: text.of([{"title": TITLES[5]}])})
    other = replace(batch, items=torch.where(batch.items == 5, size, batch.items))
    assert torch.equal(more(other).tokens, prompt(batch).tokens) and 5 in batch.items
    assert np.array_equal(prompt._pool.values, tokens)


def test_titles_are_one_token_each_and_so_are_the_texts_between_them(tmp_path, batch):
    """Of a tokenizer that is made from the data and splits nothing."""
    path = tmp_path / "store"
    marked_store(path)
    add_tokenization(path, "title", TokenizerChoice("titles"))
    store = Store.open(path)
    segments = tuple(
        replace(part, template="{title}", separator="", empty="")
        if isinstance(part, HistorySegment)
        else part
        for part in SEGMENTS
    )
    prompt = prompt_over(store, segments, tokens="titles")
    made = prompt(batch)
    sizes = {name: (span[:, 1] - span[:, 0]) for name, span in made.spans.items()}
    clicks = sizes["liked"] + sizes["disliked"]
    assert (clicks == batch.history_mask.sum(1)).all() and int(clicks.max()) > 1
    assert (made.lengths == clicks + 3 + 5).all(), "quotes around the candidate, and five texts"


def test_words_of_the_prompt_alone_have_tokens_of_their_own(store):
    vocabulary = prompt_over(store).vocabulary
    ids = vocabulary.encode("Yes No film")
    assert len(set(ids.tolist())) == 3 and ids[2] == store.tokenizer("words").token_to_id("film")
    assert vocabulary.size > vocabulary.stored and ids.max() < vocabulary.size


@pytest.mark.parametrize("loss_on", ["answer", "all"])
def test_what_is_learned(store, batch, loss_on):
    made = prompt_over(store, loss_on=loss_on)(batch)
    ends = made.ends.numpy()
    starts = ends + 1 - made.lengths.numpy()
    if loss_on == "all":
        expected = np.setdiff1d(np.arange(len(made.tokens)), starts)
    else:
        begins, stops = made.spans["answer"].numpy().T
        expected = np.concatenate(
            [np.arange(starts[row] + begins[row], starts[row] + stops[row]) for row in range(len(starts))]
        )
    assert np.array_equal(made.learned.numpy(), expected)


def test_without_the_answer_a_row_ends_at_the_cue_and_teaches_nothing(store, batch):
    prompt = prompt_over(store)
    asked, told = prompt(batch, answered=False), prompt(batch)
    assert "answer" not in asked.spans and not len(asked.learned)
    for row in range(len(asked.lengths)):
        own, whole = prompt.text(asked, row), prompt.text(told, row)
        assert own == {name: text for name, text in whole.items() if name != "answer"}


def test_a_response_is_what_is_said(store, batch):
    """As with CALRec, whose model says the next item."""
    segments = (*SEGMENTS[:5], ResponseSegment("target", '"{title}"'))
    prompt, plain = prompt_over(store, segments), prompt_over(store)
    assert (prompt.said, plain.said, prompt_over(store, SEGMENTS[:6]).said) == ("target", "answer", None)
    made = prompt(batch)
    start, stop = made.spans["target"].T
    begins = made.lengths.cumsum(0) - made.lengths
    wanted = [range(int(b + s), int(b + e)) for b, s, e in zip(begins, start, stop, strict=True)]
    assert made.learned.tolist() == [place for each in wanted for place in each]
    items = batch.items[batch.candidates[batch.candidate_mask]]
    assert torch.equal(made.item, items)
    texts = prompt.items_of("target")
    rows = made.tokens.split(made.lengths.tolist())
    for row, item, first in zip(rows, items.tolist(), start.tolist(), strict=True):
        assert row[first:].tolist() == texts[item].tolist()
    asked = prompt(batch, answered=False)
    assert torch.equal(asked.lengths, start) and not len(asked.learned) and "target" not in asked.spans
    assert all(
        torch.equal(one, row[: len(one)])
        for one, row in zip(asked.tokens.split(start.tolist()), rows, strict=True)
    )


def test_a_short_budget_drops_the_oldest_clicks_and_nothing_else(store, batch):
    whole = prompt_over(store, max_length=500)
    texts = [whole.text(whole(batch), row) for row in range(len(batch.labels))]
    least = int((whole(batch).lengths - sum(whole(batch).spans[n][:, 1] - whole(batch).spans[n][:, 0]
                                            for n in ("liked", "disliked"))).max()) + 2  # fmt: skip
    kept_before = None
    for room in range(least + 6, int(whole(batch).lengths.max()) + 1):
        prompt = prompt_over(store, max_length=room)
        made = prompt(batch)
        assert int(made.lengths.max()) <= room
        kept = []
        for row, text in enumerate(texts):
            cut = prompt.text(made, row)
            for name in ("instruction", "between", "question", "target", "cue", "answer"):
                assert cut[name] == text[name]
            for name in ("liked", "disliked"):
                assert cut[name] == "none" or text[name].endswith(cut[name]), "the newest stay, in order"
            kept.append(sum(cut[name].count("film") for name in ("liked", "disliked")))
        assert kept_before is None or all(a <= b for a, b in zip(kept_before, kept, strict=True))
        kept_before = kept
    assert kept_before is not None


def test_a_label_does_not_change_what_is_kept(store, batch):
    """Answers of different lengths leave the same room."""
    segments = (*SEGMENTS[:-1], AnswerSegment("answer", "Yes indeed , certainly .", "No ."))
    prompt = prompt_over(store, segments, max_length=60)
    other = replace(batch, labels=1 - batch.labels)
    for name in ("liked", "disliked"):
        own, turned = (prompt(each) for each in (batch, other))
        assert np.array_equal(
            own.spans[name][:, 1] - own.spans[name][:, 0], turned.spans[name][:, 1] - turned.spans[name][:, 0]
        )


def test_a_row_does_not_depend_on_its_batch(store, batch):
    prompt = prompt_over(store)
    whole = prompt(batch)
    stream = click_stream(store, batch_size=5)
    found = {}
    for number in range(stream.num_batches):
        part = prompt(stream.batch(number))
        for row in range(len(part.lengths)):
            found[int(part.group[row])] = prompt.text(part, row)
    for row in range(len(whole.lengths)):
        assert found[int(whole.group[row])] == prompt.text(whole, row)


def test_at_most_the_last_items(store, batch):
    segments = (HistorySegment("recent", '"{title}"', last=2), *SEGMENTS[4:])
    prompt = prompt_over(store, segments)
    made = prompt(batch)
    for row in range(len(made.lengths)):
        items = batch.items.numpy()[batch.history.numpy()[row]][batch.history_mask.numpy()[row]]
        assert prompt.text(made, row)["recent"] == words(
            ", ".join(f'"{TITLES[item]}"' for item in items[-2:])
        )


def test_a_blank_that_both_answers_begin_with_is_asked_for_and_skipped():
    """As with tokenizers that have a token for the blank before a word that they do not hold."""
    blank, yes, no, full = 5, 7, 9, 11

    def decode(ids):
        return "".join({blank: " ", yes: "Yes", no: "No", full: "."}[each] for each in ids.tolist())

    answer, ids = AnswerSegment("answer", "Yes.", "No."), np.array
    assert check_answers(answer, ids([blank, yes, full]), ids([blank, no, full]), decode) == 1
    assert check_answers(answer, ids([yes, full]), ids([no]), decode) == 0
    for positive, negative in (([yes, no], [yes, full]), ([blank, yes], [blank]), ([yes], [yes])):
        with pytest.raises(ValueError, match="begin with the same token"):
            check_answers(answer, ids(positive), ids(negative), decode)


def test_the_blank_of_the_answer_stands_where_the_model_is_asked(store, batch):
    prompt = prompt_over(store)
    told = prompt(batch)
    prompt._blank = 1  # as if the first token of both showed nothing
    asked = prompt(batch, answered=False)
    assert (asked.spans["answer"][:, 1] - asked.spans["answer"][:, 0] == 1).all() and not len(asked.learned)
    assert (asked.lengths == told.lengths - 1).all(), "answers of two tokens"
    for row in range(len(asked.lengths)):
        first, whole = (int(each.ends[row] + 1 - each.lengths[row]) for each in (asked, told))
        size = int(told.spans["answer"][row, 0])
        assert torch.equal(asked.tokens[first : first + size], told.tokens[whole : whole + size])


@pytest.mark.parametrize(
    ("segments", "settings", "message"),
    [
        ((SEGMENTS[0], *SEGMENTS), {}, "two of them are called 'instruction'"),
        ((SEGMENTS[0], SEGMENTS[-1]), {}, "must hold the candidate"),
        ((SEGMENTS[-1], *SEGMENTS[:-1]), {}, "the answer 'answer' must be the last"),
        ((HistorySegment("x", "{title}", marks=("loved",)), *SEGMENTS[4:]), {}, "no mark 'loved'"),
        ((*SEGMENTS[:-1], AnswerSegment("answer", "Yes .", "Yes no")), {}, "begin with the same token"),
        ((*SEGMENTS[:-1], AnswerSegment("answer", " ", "No")), {}, "' ' has no token"),
        (SEGMENTS, {"max_length": 12}, r"`prompt.max_length` must be at least \d+: .* got 12"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(store, segments, settings, message):
    with pytest.raises(ValueError, match=message):
        prompt_over(store, segments, **settings)


def test_marks_need_one_sequence_a_user(tmp_path):
    import polars as pl

    from legorec.data.ragged import Ragged
    from legorec.data.store import StoreError
    from legorec.data.writing.writer import StoreWriter

    with pytest.raises(StoreError, match="marks need one sequence of clicks per user"):  # noqa: PT012
        with StoreWriter(tmp_path / "store", {"processor": "marked"}) as writer:
            writer.items(pl.DataFrame({"id": ["a", "b"]}))
            writer.users(pl.DataFrame({"id": ["u"]}))
            marks = Ragged.from_lists([[1]], np.uint8)
            writer.sequences(Ragged.from_lists([[0]]), (marks, ("no", "yes")))
            frame = {"user": ["u"], "history": [["b"]], "candidates": [["a"]], "labels": [[1]]}
            writer.impressions("train", pl.DataFrame(frame))


def test_text_segments_may_be_empty(store, batch):
    prompt = prompt_over(store, (TextSegment("nothing", ""), *SEGMENTS))
    assert prompt.text(prompt(batch), 0)["nothing"] == ""

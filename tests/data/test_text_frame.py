"""What stands around a text: each tokenizer's own special tokens once, then the instruction."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from legorec.data.item_text import ItemText
from legorec.data.text_frame import TextFrame, special_tokens_around

NAMES = ["[UNK]", "[CLS]", "[SEP]", "passage:", "hello", "world", "."]
IDS = {name: number for number, name in enumerate(NAMES)}
CLS, SEP = ("[CLS]", 1), ("[SEP]", 2)
PROCESSORS: dict[str, Any] = {
    "none": (None, [], []),
    "bytes": (processors.ByteLevel(), [], []),
    "bert": (processors.BertProcessing(SEP, CLS), [1], [2]),
    "roberta": (processors.RobertaProcessing(SEP, CLS), [1], [2]),
    "both": (processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[CLS, SEP]), [1], [2]),
    "end": (processors.TemplateProcessing(single="$A [SEP]", special_tokens=[SEP]), [], [2]),
    "beginning": (processors.TemplateProcessing(single="[CLS] $A", special_tokens=[CLS]), [1], []),
    "sequence": (
        processors.Sequence(
            [
                processors.ByteLevel(),
                processors.TemplateProcessing(single="$A [SEP]", special_tokens=[SEP]),
            ]
        ),
        [],
        [2],
    ),
}


def tokenizer(kind: str) -> Tokenizer:
    made = Tokenizer(models.WordLevel(IDS, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["[CLS]", "[SEP]"])
    if PROCESSORS[kind][0] is not None:
        made.post_processor = PROCESSORS[kind][0]
    return made


def filled(kind: str, template: str, **more: Any) -> list[str]:
    """The tokens of an item whose title is 'hello world'."""
    own = tokenizer(kind)
    frame = TextFrame.of(own, template, **more)
    rows = frame.around(ItemText(template, own, "t").of([{"title": "hello world"}, {"title": ""}]))
    assert len(rows) == 2 and len(rows[1]) == len(rows[0]) - 2
    return [NAMES[number] for number in rows[0]]


@pytest.mark.parametrize("kind", PROCESSORS)
def test_the_special_tokens_are_those_that_the_tokenizer_adds(kind: str) -> None:
    _, first, last = PROCESSORS[kind]
    assert special_tokens_around(tokenizer(kind)) == (first, last)
    ids = tokenizer(kind).encode("hello world").ids
    assert [IDS[name] for name in filled(kind, "{title}")] == ids


@pytest.mark.parametrize("template", ["{title}", "[CLS] {title}", "{title} [SEP]", "[CLS] {title} [SEP]"])
def test_they_stand_there_once_and_the_prefix_after_the_first(template: str) -> None:
    assert filled("both", template) == ["[CLS]", "hello", "world", "[SEP]"]
    whole = ["[CLS]", "passage:", "hello", "world", "[SEP]"]
    assert filled("both", template, prefix="passage: ") == whole


def test_a_template_may_keep_them_to_itself() -> None:
    assert filled("both", "{title} .", special_tokens="template") == ["hello", "world", "."]
    spelled = filled("both", "[CLS] {title} .", prefix="passage:", special_tokens="template")
    assert spelled == ["[CLS]", "passage:", "hello", "world", "."]


def test_what_is_done_is_said() -> None:
    said = TextFrame.of(tokenizer("both"), "[CLS] {title}").said
    assert said == "[CLS] before the text (in the template), [SEP] after the text (added)"
    said = TextFrame.of(tokenizer("end"), "{title}", special_tokens="template").said
    assert said == "[SEP] after the text (left out)"
    assert TextFrame.of(tokenizer("none"), "{title}").said == "the tokenizer adds none"

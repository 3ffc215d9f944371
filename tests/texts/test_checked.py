import pytest

from legorec.texts import AnswerFormat
from legorec.texts.checked import AnswerError, answer_value, in_words

BOOK = {
    "type": "object",
    "properties": {"title": {"type": "string", "minLength": 1}, "year": {"type": "integer"}},
    "required": ["title"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("text", ["yes", " yes\n"])
def test_a_choice_is_one_of_the_list(text):
    assert answer_value(text, AnswerFormat(choices=("yes", "no"))) == "yes"


@pytest.mark.parametrize("text", ["", "Yes", "yes.", "yes no", "y" * 100])
def test_all_else_is_none(text):
    with pytest.raises(AnswerError, match="is none of the 2 choices") as caught:
        answer_value(text, AnswerFormat(choices=("yes", "no")))
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    "text", ['{"title": "a"}', ' {"title":"a"} ', '```json\n{"title": "a"}\n```', '```\n{"title": "a"}```\n']
)
def test_json_that_fits_is_its_value(text):
    assert answer_value(text, AnswerFormat(schema=BOOK)) == {"title": "a"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no JSON"),
        ('{"title": "a"', "is no JSON"),
        ('Sure! {"title": "a"}', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("{}", "title: Field required"),
        ('{"title": ""}', "title: String should have at least 1"),
        ('{"title": 3}', "title: .*string"),
        ('{"title": "a", "year": "1990"}', "year: .*integer"),
        ('{"title": "a", "pages": 3}', "pages: Extra inputs are not permitted"),
        ("[]", "the answer: .*object"),
    ],
)
def test_what_does_not_fit_says_where(text, reason):
    with pytest.raises(AnswerError, match=reason) as caught:
        answer_value(text, AnswerFormat(schema=BOOK))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_in_words_both_forms_are_said():
    assert in_words(AnswerFormat(choices=("yes", "no"))).endswith("\n- yes\n- no")
    assert '"title"' in in_words(AnswerFormat(schema=BOOK))

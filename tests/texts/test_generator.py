import pytest

from legorec.texts import AnswerFormat, GenerationParameters


@pytest.mark.parametrize("given", [{}, {"schema": {"type": "object"}, "choices": ("yes", "no")}])
def test_an_answers_format_is_one_of_the_two(given):
    with pytest.raises(ValueError, match="give one of the two"):
        AnswerFormat(**given)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("max_tokens", 0, "at least 1"),
        ("temperature", -0.1, "at least 0"),
        ("temperature", float("nan"), "at least 0"),
        ("top_p", 0, "above 0 and at most 1"),
        ("top_k", -1, "at least 0"),
        ("repetition_penalty", 0, "above 0"),
        ("num_texts", 0, "at least 1"),
        ("stop", ("",), "not empty"),
        ("num_texts", 2, "all would be the same text"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused_by_name(name, value, rule):
    with pytest.raises(ValueError, match=f"`{name}`.*{rule}"):
        GenerationParameters(**{"max_tokens": 8, name: value})

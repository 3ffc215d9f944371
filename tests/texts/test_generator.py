import pytest

from legorec.texts import AnswerFormat


@pytest.mark.parametrize("given", [{}, {"schema": {"type": "object"}, "choices": ("yes", "no")}])
def test_an_answers_format_is_one_of_the_two(given):
    with pytest.raises(ValueError, match="give one of the two"):
        AnswerFormat(**given)

"""Which impressions of the store are used, as data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from legorec.settings.values import Count, FieldName, Strict, Text

Split = Literal["train", "dev", "test"]
Values = Annotated[list[Text], Field(min_length=1)]


class FilterSettings(Strict):
    """One rule for the impressions of some splits: their history, their users, or values of a field.

    A rule about a field of the items is one about candidates; an impression without any is left out.
    """

    splits: Annotated[list[Split], Field(min_length=1)] = ["train", "dev", "test"]
    min_history: Count | None = None  # clicks before the impression, all that are stored
    max_history: Count | None = None
    users: Text | None = None  # a file of raw ids
    user_field: FieldName | None = None
    item_field: FieldName | None = None
    only: Values | None = None  # some of these values
    without: Values | None = None  # none of these values
    at_least: float | None = None  # of numbers
    at_most: float | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> FilterSettings:
        bounded = self.min_history is not None or self.max_history is not None
        said = ["min_history or max_history"] * bounded
        said += [name for name in ("users", "user_field", "item_field") if getattr(self, name) is not None]
        if len(said) != 1:
            raise ValueError(
                "a filter is about one thing: `min_history` and `max_history`, `users`, `user_field` or "
                f"`item_field`; got {' and '.join(said) or 'none'}"
            )
        ranged = self.at_least is not None or self.at_most is not None
        ways = [self.only is not None, self.without is not None, ranged]
        wanted = said[0].endswith("_field")
        if sum(ways) != wanted:
            raise ValueError(
                f"`{said[0]}` needs one of `only`, `without`, and `at_least` or `at_most`"
                if wanted
                else "`only`, `without`, `at_least` and `at_most` go with `user_field` or `item_field` alone"
            )
        for least, most in (("min_history", "max_history"), ("at_least", "at_most")):
            low, high = getattr(self, least), getattr(self, most)
            if low is not None and high is not None and low > high:
                raise ValueError(f"`{least}` must be at most `{most}` ({high:g}), got {low:g}")
        return self

    def said(self) -> str:
        """The rule in words."""
        keys = [key for key in type(self).model_fields if key != "splits" and getattr(self, key) is not None]
        values = (getattr(self, key) for key in keys)
        shown = (_shown(value) for value in values)
        pairs = zip(keys, shown, strict=True)
        return " ".join(f"{key} {value}" for key, value in pairs)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)

"""A scheme of generated data: which prompts are made from a store, and how their answers are read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from legorec.settings.values import Count, Flag, Positive, SafeName, Strict, Template, Text
from legorec.template import Slot, parse_template

# The slots of a user's prompt that are no fields: the lines of the clicks, and what was answered before.
HISTORY, SUMMARY, SUMMARIES = "history", "summary", "summaries"


def _slots(template: str) -> set[str]:
    return {each.field for each in parse_template(template) if isinstance(each, Slot)}


def _filled(template: str) -> str:
    if "{" in template:
        parse_template(template)
    return template


Prompt = Annotated[str, AfterValidator(_filled)]  # ``{title:20}`` is a field and at most 20 of its words
Choices = Annotated[list[Text], Field(min_length=1)]
AnswerFieldName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]


class AnswerFieldSettings(Strict):
    """One field that is read from an answer: a text, or a list of words or phrases.

    Args:
        label: what it is called in the answer: ``[label]`` in a labelled one, a key in JSON; null: its name.
        choices: a closed list; anything else in an answer is left out and counted.
        at_least: of a list, how many there must be.
        at_most: of a list, how many are kept, the first ones.
        max_words: a longer phrase of a list is left out and counted.
        required: an answer without it is refused; else the field stays empty.
        otherwise: the item's field that stands in where there is no answer; null leaves it empty.
    """

    kind: Literal["text", "list"] = "text"
    label: Text | None = None
    choices: Choices | None = None
    at_least: Positive = 1
    at_most: Positive | None = None
    max_words: Positive | None = None
    required: Flag = True
    otherwise: AnswerFieldName | None = None

    @model_validator(mode="after")
    def _lists_alone(self) -> AnswerFieldSettings:
        if self.kind == "text" and (self.at_least, self.at_most, self.max_words) != (1, None, None):
            raise ValueError("`at_least`, `at_most` and `max_words` go with `kind: list` alone")
        if self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"`at_least` must be at most `at_most` ({self.at_most}), got {self.at_least}")
        if self.choices is not None and len({each.casefold() for each in self.choices}) < len(self.choices):
            raise ValueError("`choices` must differ in more than capitals")
        return self


class AnswerSettings(Strict):
    """How an answer is written, and the fields that are read from it.

    ``labelled``: ``[title] ... [topics] ...``; ``json``: an object; ``choice``: nothing but one of the
    ``choices`` of the only field; ``text``: nothing but the text of the only field, for models that follow
    no form.
    """

    form: Literal["labelled", "json", "choice", "text"]
    fields: Annotated[dict[AnswerFieldName, AnswerFieldSettings], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_choice(self) -> AnswerSettings:
        (first, *others) = self.fields.values()
        if self.form == "choice" and (others or first.choices is None):
            raise ValueError("an answer of the form `choice` has one field, with `choices`")
        if self.form == "text" and (others or first.kind != "text" or first.choices is not None):
            raise ValueError("an answer of the form `text` has one field, a text without `choices`")
        labels = [(field.label or name).casefold() for name, field in self.fields.items()]
        if len(set(labels)) < len(labels):
            raise ValueError("the labels of two fields differ in capitals at most")
        return self


class BlockSettings(Strict):
    """Summaries of a user's clicks block by block (LLM-TRSR; Zheng et al., 2024, section 3.2).

    ``hierarchical`` asks about each block alone, with the scheme's ``user``, and then, with ``merge``, for
    one summary of the ``{summaries}``: ceil(n / size) + 1 prompts, the last one also where there is one
    block. ``recurrent`` begins with the same prompt of the oldest block and goes on with ``update``, which
    holds the ``{summary}`` so far and the ``{history}`` of the next block: ceil(n / size) prompts.

    Args:
        size: clicks of a block; the last block may have fewer.
        line: of each of the ``{summaries}``, with ``{summary}`` and ``{number}`` from 1.
    """

    combine: Literal["hierarchical", "recurrent"]
    size: Positive = 5
    merge: Template | None = None
    update: Template | None = None
    line: Template = "{number}. {summary}"

    @model_validator(mode="after")
    def _slots_are_there(self) -> BlockSettings:
        needed = {"merge": {SUMMARIES}, "update": {SUMMARY, HISTORY}}
        for name, slots in needed.items():
            found = set() if getattr(self, name) is None else _slots(getattr(self, name))
            if found and (found & {HISTORY, SUMMARY, SUMMARIES}) != slots:
                named = " and ".join(f"{{{each}}}" for each in sorted(slots, reverse=True))
                raise ValueError(f"`{name}` must hold {named}, and no other of these slots")
        used = "merge" if self.combine == "hierarchical" else "update"
        if self.then == "":
            raise ValueError(f"`combine: {self.combine}` needs the prompt `{used}`")
        if not {SUMMARY} <= _slots(self.line) <= {SUMMARY, "number"}:
            raise ValueError("`line` holds {summary} and perhaps {number}, nothing else")
        return self

    @property
    def then(self) -> str:
        """The prompt that holds earlier answers."""
        return (self.merge if self.combine == "hierarchical" else self.update) or ""


class SchemeSettings(Strict):
    """A scheme as data: prompts over the items or the users of a store, and what their answers become.

    A slot ``{title:20}`` stands for a field and at most 20 of its words. A prompt of the items holds fields
    of the items; one of the users holds ``{history}``, the lines of the clicks, and fields of the users, such
    as the profile of an earlier scheme. ``system`` may hold the ``choices`` of the answer's fields.

    Args:
        of: whose prompts these are.
        makes: ``fields``, new fields of the same items or users; ``items``, new items for the user.
        click: the line of each click of a user: fields of the item, and ``{number}`` from 1.
        history: of the user's training histories the last or the first; or, where users may be in dev or
            test alone, the one before the earliest impression of the user in any split. What is clicked
            in an impression of dev or test is in none of them.
        clicks: how many of its clicks are shown, the last ones; null shows all.
        least: users with fewer clicks in that history get no prompt.
        most: nor do users with more.
        limit: of how many items or users prompts are made, the first ones of the store; null: all.
        blocks: the clicks are shown in blocks, each in a prompt of its own.
    """

    name: SafeName
    of: Literal["items", "users"]
    makes: Literal["fields", "items"] = "fields"
    system: Prompt = ""
    user: Template
    click: Template | None = None
    history: Literal["last", "first", "earliest"] = "last"
    clicks: Positive | None = None
    least: Count = 1
    most: Positive | None = None
    limit: Positive | None = None
    blocks: BlockSettings | None = None
    answer: AnswerSettings

    @model_validator(mode="after")
    def _whose(self) -> SchemeSettings:
        own, in_system = _slots(self.user), _slots(self.system) if "{" in self.system else set()
        listed = {name for name, field in self.answer.fields.items() if field.choices is not None}
        if wrong := in_system - listed:
            raise ValueError(
                f"`system` may hold the choices of the answer's fields ({', '.join(sorted(listed)) or 'none'}"
                f" has any), not {{{min(wrong)}}}"
            )
        if self.of == "items":
            fields = type(self).model_fields
            owned = ("makes", "click", "history", "clicks", "least", "most", "blocks")
            if changed := [name for name in owned if getattr(self, name) != fields[name].default]:
                raise ValueError(f"`{changed[0]}` goes with `of: users` alone")
        elif (self.click is not None) != (HISTORY in own):
            raise ValueError("`click`, the line of each click, and the slot {history} of `user` go together")
        if self.most is not None and self.least > self.most:
            raise ValueError(f"`least` must be at most `most` ({self.most}), got {self.least}")
        self._check_fields()
        return self

    def _check_fields(self) -> None:
        (first, *others) = self.answer.fields.values()
        if self.blocks is not None and (
            self.makes == "items" or self.click is None or others or first.kind == "list" or first.choices
        ):
            raise ValueError("`blocks` need the slot {history}, and an answer of one field, which is a text")
        for name, field in self.answer.fields.items():
            if field.otherwise is not None and (self.of == "users" or field.kind != "text" or field.choices):
                raise ValueError(f"`otherwise` goes with texts of the items alone; `{name}` is none")

"""The answers of logs, by the item or user that they are for, as the fields that a scheme reads from them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from legorec.data.raw.lines import InputError, unpacked
from legorec.files.digest import digest_file
from legorec.files.json_text import parse_json
from legorec.texts.log_lines import read_answers
from legorec.texts.parsing import Value, parse_answer
from legorec.texts.scheme import Scheme
from legorec.texts.schemes import template_of

Fields = dict[str, Value]
ONCE_KEYS = ("interest", "news", "book", "movie")  # beside ``uid`` in logs of ONCE


@dataclass(frozen=True)
class Said:
    """The raw texts for one item or user, from a line of a log."""

    id: str
    texts: Sequence[str]
    template: str | None = None  # None: a log that does not say
    generator: Mapping[str, Any] = field(default_factory=dict)
    failed: str | None = None


@dataclass
class Answers:
    """What logs say, as fields.

    Args:
        fields: by raw id; several where there are several texts, or several logs, for one.
        problems: ids without an answer that is of use, by reason.
        left_out: parts of lists that were left out, by reason.
        logs: digest and format of each log.
        generators: their identities, each once.
        replaced: answers after which another of the same log was taken.
        others: lines of other templates, by their name.
    """

    fields: dict[str, list[Fields]] = field(default_factory=dict)
    problems: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    logs: list[dict[str, str]] = field(default_factory=list)
    generators: list[dict[str, Any]] = field(default_factory=list)
    lines: int = 0
    replaced: int = 0
    others: Counter[str] = field(default_factory=Counter)

    @property
    def counts(self) -> dict[str, int]:
        """What came of the lines, for a report and for the manifest."""
        counts = {"lines": self.lines, "answers": len(self.fields), "replaced by a later one": self.replaced}
        counts |= {f"no answer of use: {what}": count for what, count in sorted(self.problems.items())}
        counts |= {f"left out: {what}": count for what, count in sorted(self.left_out.items())}
        counts |= {f"of another template, {what}": count for what, count in sorted(self.others.items())}
        return {what: count for what, count in counts.items() if count}


def answers_of(
    scheme: Scheme,
    paths: Sequence[Path],
    template: str | None = None,
    say: Callable[[str], None] = print,
) -> Answers:
    """The answers of some logs; within a log the last one of an id that is of use counts.

    Args:
        template: whose answers are taken from a log that names templates; None: the scheme's own.
    Raises:
        InputError: a log is missing or malformed, the same is named twice, or it holds no answer of the
            template.
    """
    wanted, found = template or template_of(scheme), Answers()
    for path in paths:
        fact = {"digest": digest_file(path) if path.is_file() else "", "format": log_format(path)}
        if fact in found.logs:
            raise InputError(f"{path}: a log of the same content is named twice")
        found.logs.append(fact)
        _read(scheme, path, wanted, found, say)
    return found


def _read(scheme: Scheme, path: Path, wanted: str, found: Answers, say: Callable[[str], None]) -> None:
    good: dict[str, list[Fields]] = {}
    bad: dict[str, str] = {}
    left_out: dict[str, Counter[str]] = {}
    taken = 0
    for said in read_log(path, say):
        found.lines += 1
        if said.template is not None and said.template != wanted:
            found.others[said.template or "without a name"] += 1
            continue
        taken += 1
        parsed = [parse_answer(scheme.answer, text) for text in said.texts]
        useful = [each.fields for each in parsed if each.problem is None]
        if not useful:
            # A failure without a text may follow the answer that was of no use.
            why = next((each.problem for each in parsed if each.problem), None)
            bad[said.id] = why or bad.get(said.id) or f"the request failed ({said.failed})"
            continue
        found.replaced += said.id in good
        good[said.id] = useful if scheme.makes == "items" else useful[:1]
        left_out[said.id] = sum((each.left_out for each in parsed), Counter())
        if said.generator and said.generator not in found.generators:
            found.generators.append(dict(said.generator))
    if not taken and found.lines:
        names = ", ".join(f"{name} ({count:,})" for name, count in found.others.most_common(5))
        raise InputError(
            f"{path}: it holds no answer to the prompts of '{wanted}', but of {names}; take the scheme that "
            "these were made with, or name the template with --template"
        )
    found.problems.update(why for raw, why in bad.items() if raw not in good)
    for raw, fields in good.items():
        found.fields.setdefault(raw, []).extend(fields)
        found.left_out.update(left_out[raw])
    if scheme.makes == "fields":
        found.fields.update({raw: fields[-1:] for raw, fields in found.fields.items()})


def log_format(path: Path) -> str:
    """``legorec``, or one of ONCE's: ``once-items`` (id, tab, text) or ``once-users`` (JSON with ``uid``).

    Raises:
        InputError: the first line is of none of these.
    """
    for _, text in unpacked(path):
        for line in text.split("\n"):
            if line.strip():
                return _format_of(line, path)
    raise InputError(f"{path}: it holds no answer")


def _format_of(line: str, path: Path) -> str:
    if line.startswith('{"key":'):  # also where it is torn, which reading it says
        return "legorec"
    tree = _tree(line)
    if isinstance(tree, dict) and "uid" in tree and any(key in tree for key in ONCE_KEYS):
        return "once-users"
    if "\t" in line:
        return "once-items"
    raise InputError(
        f"{path}: not a log of answers; a line is a record of a generate run, or as ONCE has it: an id, a "
        f'tab and the answer, or {{"uid": ..., "{ONCE_KEYS[0]}": ...}}'
    )


def _tree(line: str) -> Any:
    try:
        return parse_json(line)
    except (ValueError, RecursionError):
        return None


def read_log(path: Path, say: Callable[[str], None] = print) -> Iterator[Said]:
    """Every answer of a log, in its order, one at a time.

    Args:
        say: called with a line about a last line that was not written to its end, which is left out.
    Raises:
        ValueError: a line is malformed.
    """
    form = log_format(path)
    if form == "legorec":
        return _records(path, say)
    return (_once_items if form == "once-items" else _once_users)(path)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for first, text in unpacked(path):
        yield from enumerate(text.split("\n"), first)


def _records(path: Path, say: Callable[[str], None]) -> Iterator[Said]:
    for record in read_answers(path, say):
        texts = [each.text for each in record.texts]
        yield Said(record.id, texts, record.template, record.generator, record.failed)


def _once_items(path: Path) -> Iterator[Said]:
    """Lines of an id, a tab and the answer; a line without a tab goes on with the answer before it."""
    raw, parts = "", [""]
    for number, line in _lines(path):
        start, tab, rest = line.rstrip("\r").partition("\t")
        if tab and start.strip():
            if raw:
                yield Said(raw, ["\n".join(parts)])
            raw, parts = start.strip(), [rest]
        elif raw:
            parts.append(line)
        elif line.strip():
            raise InputError(f"{path}:{number}: an answer without an id before it")
    if raw:
        yield Said(raw, ["\n".join(parts)])


def _once_users(path: Path) -> Iterator[Said]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        tree = _tree(line)
        key = next((each for each in ONCE_KEYS if isinstance(tree, dict) and each in tree), None)
        if key is None or not isinstance(tree.get("uid"), int | str):
            keys = ", ".join(ONCE_KEYS)
            raise InputError(f"{path}:{number}: an object with `uid` and one of {keys} is wanted")
        value = tree[key]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield Said(str(tree["uid"]), [text])


def once_lines(scheme: Scheme, said: Iterable[Said]) -> Iterator[str]:
    """Answers as a log of ONCE has them: the first text of each, without those that failed.

    Line breaks of an item's answer become spaces: such a log has one line for each.
    """
    key = "interest" if scheme.makes == "fields" else "book"
    for each in said:
        if each.failed is not None or not each.texts:
            continue
        text = each.texts[0]
        if scheme.of == "items":
            yield f"{each.id}\t{' '.join(text.split())}"
        else:
            yield json.dumps({"uid": each.id, key: text}, ensure_ascii=False)

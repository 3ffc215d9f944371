"""What a brick's docstring says: its sentences, whom it cites, and what each argument is."""

from __future__ import annotations

import re

# An author and a year, as in "Wu et al., 2019" and "Kang & McAuley, 2018".
CITATION = re.compile(r"[A-Z][\w'-]+(?: et al\.| & [A-Z][\w'-]+)?, (?:19|20)\d\d")
# Whose a brick is where no paper is.
UPSTREAM = "Legommenders"
_SECTION = re.compile(r"(Args|Raises|Returns):")
# Not behind a dot with a space before it, which stands in a formula: `w . MLP`.
_BETWEEN = re.compile(r"(?<=[^\s.][.!?])\s+(?=[A-Z`])")


def sentences(docstring: str) -> list[str]:
    """The sentences outside of the lists of arguments and errors, each on one line.

    A blank line or a list ends a sentence too.
    """
    paragraphs: list[list[str]] = [[]]
    for line in docstring.splitlines():
        if not line.strip() or line.startswith(" ") or _SECTION.match(line):
            paragraphs.append([])
        else:
            paragraphs[-1].append(line.strip())
    return [each for lines in paragraphs if lines for each in _BETWEEN.split(" ".join(lines))]


def summary(docstring: str) -> str:
    """What it computes, and where that is from: the first sentence, and the one that tells the source."""
    found = sentences(docstring)
    if not found or is_sourced(found[0]):
        return found[0] if found else ""
    cited = [each for each in found if CITATION.search(each)]
    return " ".join([found[0], *[*cited, *filter(is_sourced, found)][:1]])


def is_sourced(text: str) -> bool:
    """Whether it cites a paper, or says which part of ``UPSTREAM`` this is."""
    return bool(CITATION.search(text)) or f"of {UPSTREAM}" in text


def arguments(docstring: str) -> dict[str, str]:
    """What the section ``Args`` says of each argument; ``experts, rank: ...`` says it of both."""
    found: dict[str, str] = {}
    names: list[str] = []
    section = ""
    for line in docstring.splitlines():
        if line and not line.startswith(" "):
            section = line.strip()
        elif section != "Args:" or not line.strip():
            continue
        elif entry := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2].strip())
        else:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found

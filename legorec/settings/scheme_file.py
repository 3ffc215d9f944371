"""A scheme from a YAML file, as the run that made the prompts read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from legorec.compose import Composition, Problem, SettingsError
from legorec.compose.documents import missing_file, read_document
from legorec.compose.references import References
from legorec.compose.scalars import cast
from legorec.settings.checks import checked
from legorec.settings.scheme import SchemeSettings

# Where a scheme stands: in the saved settings of a run, in an ``exp`` layer, or alone in a file.
PLACES = ("exp.generate.scheme", "generate.scheme", "")


def read_scheme(path: Path, keys: dict[str, Any] | None = None) -> SchemeSettings:
    """The scheme of an ``exp`` layer, of the settings that a run saved, or of a file that holds nothing else.

    Args:
        keys: what references of the file read, as ``--key value`` of the command line gave it.
    Raises:
        SettingsError: with everything that is wrong.
    """
    problems: list[Problem] = []
    if not path.is_file():
        raise SettingsError([Problem("command line", "--scheme", missing_file(str(path)))])
    document = read_document(str(path), problems)
    if problems:
        raise SettingsError(problems)
    place, tree = _found(document.tree)
    # What the rest of the file refers to is given to the run alone.
    composition = Composition(
        layers={"scheme": tree}, origins=_moved(document.origins, place), problems=problems
    )
    given = {name: cast(each) if isinstance(each, str) else each for name, each in (keys or {}).items()}
    references = References({**given, "scheme": tree}, composition.where, problems)
    resolved = references.resolve()["scheme"]
    composition.layers = {"scheme": resolved}
    found = checked(SchemeSettings, resolved, "scheme", composition)
    if problems or found is None:
        raise SettingsError(problems)
    return found


def _found(tree: Any) -> tuple[str, Any]:
    """Where in a file the scheme is, and the scheme."""
    for place in PLACES:
        inner = tree
        for key in filter(None, place.split(".")):
            inner = inner.get(key) if isinstance(inner, dict) else None
        if inner is not None:
            return place, inner
    return "", tree


def _moved(origins: dict[str, str], place: str) -> dict[str, str]:
    """The origins of a block, as those of a block ``scheme``."""
    start = f"{place}." if place else ""
    kept = {key.removeprefix(start): origin for key, origin in origins.items() if key.startswith(start)}
    return {f"scheme.{key}": origin for key, origin in kept.items()}

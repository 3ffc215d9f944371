"""Files that are not as a manifest says are refused by name, in the words of whose files they are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from legorec.files.digest import digest_file
from legorec.files.manifest import (
    Fact,
    Refusal,
    canonical,
    check_digests,
    check_sizes,
    fact_of,
    is_plain,
    leads_out,
    read_sealed,
    save_json,
    seal,
)


class ShelfError(ValueError):
    """Of the files of these tests."""


REFUSAL = Refusal("a shelf", ShelfError, "fill it again", if_missing="look for it")


def check(facts: dict[Path, Fact]) -> None:
    check_sizes(facts, REFUSAL)
    check_digests(facts, {path: digest_file(path) for path in facts}, REFUSAL)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.unlink(), "book: the file is missing; look for it"),
        (lambda path: os.truncate(path, 3), "book: it has 3 bytes, the manifest says 5; fill it again"),
        (lambda path: path.write_bytes(b"other"), "book: its content was altered .*; fill it again"),
        (linked, "book: a symbolic link; the files of a shelf must be files; fill it again"),
    ],
)
def test_a_file_that_is_not_as_noted(tmp_path: Path, damage: Callable[[Path], object], told: str) -> None:
    path = tmp_path / "book"
    path.write_bytes(b"12345")
    facts: dict[Path, Fact] = {path: fact_of(path)}
    check(facts)
    damage(path)
    with pytest.raises(ShelfError, match=told):
        check(facts)


def test_every_flipped_bit_of_a_sealed_file_is_refused(tmp_path: Path) -> None:
    path, content = tmp_path / "manifest.json", seal({"format": "shelf", "version": 1, "books": {"é": 2}})
    save_json(path, content)
    assert read_sealed(path, "shelf", REFUSAL, 1) == content
    whole = path.read_bytes()
    for place in range(len(whole) - 1):  # the last one is the line's end
        flipped = bytearray(whole)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(ShelfError, match="manifest.json: "):
            read_sealed(path, "shelf", REFUSAL, 1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", r"not readable \(.*; fill it again"),
        ("[]", "`format` must be 'shelf'; this is not a shelf"),
        ('{"format": "table"}', "`format` must be 'shelf'; this is not a shelf"),
        ('{"format": "shelf", "version": 2}', "version 2 is unknown, this program reads 1; fill it again"),
        ('{"format": "shelf", "version": 1}', r"it was altered \(its digest differs\); fill it again"),
    ],
)
def test_what_is_not_a_manifest_of_this_kind(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content)
    with pytest.raises(ShelfError, match=f"manifest.json: .*{told}"):
        read_sealed(path, "shelf", REFUSAL, 1)


def test_equal_values_have_equal_bytes_and_seals() -> None:
    one, other = {"a": 1, "b": [1, "é"]}, {"b": [1, "é"], "a": 1}
    assert canonical(one) == canonical(other) and seal(one) == seal(other) == seal(seal(one))
    assert json.loads(canonical(one)) == one


@pytest.mark.parametrize("name", ["a", "a.b", "..a"])
def test_names_within_a_folder(name: str) -> None:
    assert is_plain(name) and not leads_out(name) and not leads_out(f"b/{name}")


@pytest.mark.parametrize("name", ["..", "../a", "/a", "b/../../a"])
def test_r12_names_that_lead_out(name: str) -> None:
    assert leads_out(name) and not is_plain(name)
    assert not is_plain("") and not is_plain("b/a")

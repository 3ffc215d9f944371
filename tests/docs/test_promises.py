"""docs/promises.md lists every promise with the test files that hold it, and no others."""

import ast
import re
from collections import defaultdict

from tests.support.runs import ROOT

NUMBERS = re.compile(r"^test((?:_r\d+)+)_")


def held_in() -> dict[int, set[str]]:
    """The files, without their ending, that have a test named after each number."""
    found = defaultdict(set)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and (match := NUMBERS.match(node.name)):
                for number in re.findall(r"\d+", match[1]):
                    found[int(number)].add(file.relative_to(ROOT / "tests").with_suffix("").as_posix())
    return found


def test_every_promise_is_held_by_the_tests_that_the_page_names():
    rows = re.findall(r"^\| R(\d+) \| .+? \| (.+?) \|", (ROOT / "docs/promises.md").read_text(), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 24))
    assert {int(number): set(re.findall(r"`(.+?)`", files)) for number, files in rows} == held_in()

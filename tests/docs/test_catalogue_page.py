"""``docs/catalogue.md`` is what its command prints, and the docstrings that it is made of say enough."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.catalogue import MODELS, models, page
from legorec import registry
from legorec.compose.documents import read_document
from legorec.registry.__main__ import main
from legorec.registry.docstrings import CITATION, arguments, is_sourced, sentences, summary
from legorec.registry.listing import details, listing

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "catalogue.md"
COMMAND = "python docs/catalogue.py"
EVERY_BRICK = [(kind, name) for kind in registry.KINDS for name in registry.names(kind)]
# Looking up, handing on, a loss that everyone has: nobody's method.
NO_METHOD = {
    ("source", "ids"),
    ("source", "vectors"),
    ("item_encoder", "mlp"),
    ("item_encoder", "single"),
    ("join", "concat"),
    ("join", "sum"),
    ("user_encoder", "history"),
    ("objective", "pointwise"),
}


@pytest.fixture(scope="module")
def text() -> str:
    return page()


def test_the_committed_page_is_what_the_command_prints(text: str) -> None:
    if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        pytest.fail(f"docs/catalogue.md is not what the bricks say; run `{COMMAND}`", pytrace=False)


@pytest.mark.parametrize("argv", [["legorec.registry"], ["legorec.registry", "item_encoder", "bert"]])
def test_bricks_are_listed_without_torch(argv: list[str]) -> None:
    code = (
        f"import runpy, sys\nsys.argv = {argv}\n"
        "try: runpy.run_module('legorec.registry', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as done: assert done.code == 0\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    shown = details(registry.find(*argv[1:])) if argv[1:] else listing()
    assert done.stdout == shown


def test_every_brick_is_listed() -> None:
    listed = listing()
    for kind, name in EVERY_BRICK:
        section = listed.partition(f"## {kind.replace('_', ' ').capitalize()}s\n")[2].partition("\n## ")[0]
        assert re.search(rf"^\| {name} +\| ", section, re.MULTILINE), (kind, name)


def test_every_brick_is_on_it(text: str) -> None:
    headings = re.findall(r"^### (\w+) (\w+)$", text, flags=re.MULTILINE)
    assert len(headings) > 40 and headings == EVERY_BRICK


def test_every_named_model_is_on_it_with_its_bricks(text: str) -> None:
    files = sorted(MODELS.glob("*.yaml"))
    assert len(files) > 20
    found = models()
    for path in files:
        tree = read_document(str(path), []).tree
        if "family" in tree:  # of another one, without bricks
            assert path.stem not in found
            continue
        bricks = {kind: tree[kind]["name"] for kind in registry.KINDS if tree.get(kind) and kind != "join"}
        assert bricks.items() <= found[path.stem].items()
        joined = {"source", "item_encoder", "join"} if tree.get("parts") else set()
        assert set(found[path.stem]) - set(bricks) == joined
        assert re.search(rf"^\| `{re.escape(path.stem)}` +\|.* {bricks['predictor']} ", text, re.MULTILINE)


def test_every_argument_is_on_it() -> None:
    for kind, name in EVERY_BRICK:
        brick, shown = registry.find(kind, name), details(registry.find(kind, name))
        for each in brick.settable:
            assert f"- `{each.name}:" in shown or f"- `{each.name}` (a block)" in shown, (name, each.name)
        for offered in brick.offered:
            assert f"\n- `{offered}`" in shown, (name, offered)
        for extra in registry.extras(brick):
            assert f"`{extra}`" in shown.partition("asks for")[2], (name, extra)


def test_links_lead_somewhere(text: str) -> None:
    anchors = {each.lower().replace(" ", "-") for each in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 80
    for link in links:
        assert link[1:] in anchors if link.startswith("#") else (PAGE.parent / link).is_file(), link


def test_lines_outside_of_tables_fit_a_terminal(text: str) -> None:
    free = [line for line in text.splitlines() if not line.startswith(("|", "["))]
    assert max(map(len, free)) <= 120
    assert not [line for line in free if re.match(r" *([+*>=]|\d+[.)]) |  +- ", line)]


def test_a_brick_as_it_is_shown() -> None:
    shown = details(registry.find("predictor", "category_miner"))
    assert shown.startswith(
        "### predictor category_miner\n"
        "[`legorec.predictors.category_miner.CategoryMINERPredictor`]"
        "(../legorec/predictors/category_miner.py)\n\n"
    )
    assert "(Li et al., 2022)" in shown
    assert "- `field: str | null = null`: the field of the categories; None: the first of" in shown
    assert "- `aggregation: weighted | max | mean = weighted`: how the scores" in shown
    assert "The program gives\n- `catalog`: the items;" in shown
    assert "Takes interests. User encoders that fit: `miner`.\n" in shown
    assert "- `lora.r: int = 32`: rank of the update." in details(registry.find("item_encoder", "bert"))
    assert "- `checkpoint: str` (required): folder" in details(registry.find("source", "states"))
    assert "Sources that fit: `codes`, `states`, `table`." in details(registry.find("item_encoder", "nrms"))


def test_one_brick_is_printed_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["user_encoder", "nrms"]) == 0
    assert capsys.readouterr().out == details(registry.find("user_encoder", "nrms"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["user_encoder", "nmrs"], "no user_encoder 'nmrs'; there are .*; did you mean 'nrms'?"),
        (["nrms"], r"give nothing, or KIND NAME as in `item_encoder nrms`, got \['nrms'\]"),
    ],
)
def test_what_cannot_be_shown_is_told(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    assert re.match(f"error: {message}", capsys.readouterr().err)


# What the docstrings must say for the page to be of use.


@pytest.mark.parametrize(("kind", "name"), EVERY_BRICK)
def test_the_first_sentence_says_what_is_computed(kind: str, name: str) -> None:
    brick = registry.find(kind, name)
    lines = brick.docstring.splitlines()
    assert lines and lines[0].strip(), f"{brick.class_name} has no docstring"
    first = sentences(brick.docstring)[0]
    assert first.endswith("."), f"the first sentence of {brick.class_name} must end in a full stop: {first!r}"
    words = len(re.findall(r"\w+", first))
    assert 5 <= words <= 45, f"{brick.class_name} must say in one sentence what it computes, got {first!r}"


@pytest.mark.parametrize(("kind", "name"), EVERY_BRICK)
def test_a_method_names_its_paper(kind: str, name: str) -> None:
    """Or which part of upstream it is; what is nobody's method is listed above, and claims no paper."""
    brick = registry.find(kind, name)
    told = any(map(is_sourced, sentences(brick.docstring)))
    if (kind, name) in NO_METHOD:
        assert not told, f"{brick.class_name} names a source: take it out of NO_METHOD"
    else:
        assert told, f"{brick.class_name} must cite as in (Wu et al., 2019), or be in NO_METHOD"


@pytest.mark.parametrize(("kind", "name"), EVERY_BRICK)
def test_arguments_that_are_described_are_there(kind: str, name: str) -> None:
    brick = registry.find(kind, name)
    assert set(arguments(brick.docstring)) <= {each.name for each in brick.parameters}


@pytest.mark.parametrize(("kind", "name"), EVERY_BRICK)
def test_every_argument_that_can_be_set_is_described(kind: str, name: str) -> None:
    """Those inside of a block too."""
    brick = registry.find(kind, name)
    shown = details(brick).partition("\nThe program gives\n")[0]
    silent = re.findall(r"^- `([\w.]+)[^`]*`(?: \((?:required|a block)\))?:?$", shown, re.MULTILINE)
    assert not silent, f"{brick.class_name} must say under `Args:` what {', '.join(silent)} is"


def test_bricks_of_no_method_are_there() -> None:
    assert set(EVERY_BRICK) >= NO_METHOD


# How docstrings are read.

DOCSTRING = """A sum ``w . MLP(x)`` of parts (FM; Rendle &
Who, 2010, eq. 1). It is e.g. linear.

Unlike Wu et al. (2019), ``W`` is left out. Then: 1. first.

Args:
    dim: width of it,
        on two lines.
    experts, rank: of the mixture: four of 32.
Raises:
    ValueError: ``dim`` is below 1.
Behind the lists.
    """


def test_sentences() -> None:
    assert sentences(DOCSTRING) == [
        "A sum ``w . MLP(x)`` of parts (FM; Rendle & Who, 2010, eq. 1).",
        "It is e.g. linear.",
        "Unlike Wu et al. (2019), ``W`` is left out.",
        "Then: 1. first.",
        "Behind the lists.",
    ]
    assert sentences("") == []


def test_arguments() -> None:
    of_both = "of the mixture: four of 32."
    assert arguments(DOCSTRING) == {"dim": "width of it, on two lines.", "experts": of_both, "rank": of_both}
    assert arguments("No list.") == {}


SUMMARIES = [
    ("Sum of it (Ha et al., 2015). More (Ho & Hu, 2016).", "Sum of it (Ha et al., 2015)."),
    ("Sum. It is big. As in X (Ha et al., 2015). End.", "Sum. As in X (Ha et al., 2015)."),
    ("Sum. The ``Ada`` of Legommenders. X (Ha, 2015).", "Sum. X (Ha, 2015)."),
    ("Sum. The ``Ada`` of Legommenders. Big.", "Sum. The ``Ada`` of Legommenders."),
    ("Sum of all. Big.", "Sum of all."),
    ("", ""),
]


@pytest.mark.parametrize(("docstring", "expected"), SUMMARIES)
def test_summary(docstring: str, expected: str) -> None:
    assert summary(docstring) == expected


@pytest.mark.parametrize(
    "text", ["Wu et al., 2019a", "Kang & McAuley, 2018", "Hinton, 2002", "He et al., 2017"]
)
def test_citations(text: str) -> None:
    assert CITATION.search(text)
    assert not CITATION.search("in 2019, as Wu et al. say")


def test_a_model_of_several_parts_has_the_bricks_of_each() -> None:
    found = models()["joined-bert-naml"]
    assert found["source"] == "states + table + ids" and found["item_encoder"] == "bert + naml + single"
    assert found["join"] == "sum"

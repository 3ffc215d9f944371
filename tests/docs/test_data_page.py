"""Every command of ``docs/data.md`` as typed, from raw files to a run that learned what is planted."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from legorec.data.store import Store
from legorec.settings import read_command_line
from legorec.settings.schema import DataSettings
from legorec.template import Slot, parse_template
from tests.docs.test_configs import command, files
from tests.docs.test_readme import commands
from tests.support import planted_files as raw
from tests.support.raw_files import ROOT
from tests.support.runs import finish, reads_heads

_, *PARTS = re.split(
    r"^## (.*)$", (ROOT / "docs" / "data.md").read_text(encoding="utf-8"), flags=re.MULTILINE
)
SECTIONS = {
    name: commands(text) for name, text in zip(PARTS[::2], PARTS[1::2], strict=True) if commands(text)
}
# Who writes the raw files of a section, in which layouts, and the sections whose stores it needs.
RAW: dict[str, tuple[Any, list[Any], list[str]]] = {
    "Your own data": (raw.write_tables, [None], []),
    "Fields": (raw.write_bert, [None], ["Your own data"]),
    "MIND": (raw.write_mind, [None], []),
    "MovieLens": (raw.write_movielens, ["100K", "1M", "RecBole"], []),
    "Data that grow": (lambda _: None, [None], ["MovieLens"]),
    "TALLRec": (raw.write_ratings, [None], []),
    "Instructions": (raw.write_instructions, [None], ["TALLRec"]),
    "Steam": (raw.write_steam, [None], []),
    "Several data sets": (lambda _: None, [None], ["TALLRec", "Steam"]),
    "Generated data": (lambda _: None, [None], []),
    "Goodreads": (raw.write_goodreads, [None], []),
    "Amazon reviews": (raw.write_reviews, [2014, 2018, 2023], []),
    "CALRec": (raw.write_purchases, [None], []),
    "EB-NeRD": (raw.write_ebnerd, [None], []),
    "RecBench": (raw.write_recbench, [None], []),
    "Tables of vectors": (raw.write_vectors, [None], ["Fields", "MIND", "MovieLens"]),
    "Semantic codes": (lambda _: None, [None], ["Tables of vectors"]),
    "UniTok depots": (raw.write_depots, [3, 4], []),
}
QUICK = "Your own data"
# What a language model wrote is merged on pages of its own, which test_genre_page and test_trsr_page run.
GENRE = [
    line for page in ("genre", "trsr") for line in commands((ROOT / "docs" / f"{page}.md").read_text("utf-8"))
]
CASES = [
    pytest.param(
        name, layout, id=f"{name} {layout or ''}".strip(), marks=[] if name == QUICK else pytest.mark.slow
    )
    for name, (_, layouts, _) in RAW.items()
    for layout in layouts
]


def test_every_processor_and_every_section_is_run() -> None:
    """A script that prints the counts of a store has written one."""
    scripts = {path.name for path in (ROOT / "process").glob("*.py") if "print_counts" in path.read_text()}
    run = {Path(line[1]).name for section in SECTIONS.values() for line in section}
    assert scripts and scripts <= run | {Path(line[1]).name for line in GENRE}
    assert set(SECTIONS) == set(RAW)


def data_layers() -> list[DataSettings]:
    """Every file of ``config/data``, as settings."""
    return [read_command_line(command(ROOT, data=path)).data for path in files("data")]


def test_every_data_layer_reads_a_store_that_a_command_writes() -> None:
    lines = [line for section in [*SECTIONS.values(), GENRE] for line in section if "--out" in line]
    assert {layer.store for layer in data_layers()} <= {line[line.index("--out") + 1] for line in lines}


@pytest.mark.parametrize(("section", "layout"), CASES)
def test_commands_run_as_typed(
    section: str, layout: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "config", "config")
    prepare(section, layout)
    trained = process_and_train(SECTIONS[section])
    stores = {str(path.parent): Store.open(path.parent) for path in Path("data").glob("*/manifest.json")}
    for store in stores.values():
        dropped = store.manifest["dropped"]["ids"]
        assert not [place for split in dropped.values() for place in split.values() if place["missing"]]
    for layer in data_layers():
        if layer.store in stores:
            assert not lacking(layer, stores[layer.store]), layer.name
    assert len(trained) == sum(line[1] == "worker.py" for line in SECTIONS[section])
    for metrics in trained:
        baselines = [metrics["baselines"][name]["metrics"]["gauc"] for name in ("random", "popularity")]
        assert metrics["test"]["metrics"]["gauc"] > max(0.6, *(0.05 + each for each in baselines))


def prepare(section: str, layout: Any) -> None:
    """The raw files of a section, and what others leave that it needs."""
    write, _, needed = RAW[section]
    for name in needed:
        prepare(name, RAW[name][1][0])
        process_and_train([line for line in SECTIONS[name] if line[1] != "worker.py"])
    write(layout)


def lacking(layer: DataSettings, store: Store) -> set[str]:
    """The fields that a data layer reads and a store has not; a text's may be of any tokenization."""
    there = store.items.field_names
    if layer.text is None:
        return set(layer.fields) - set(there)
    slots = [each.field for each in parse_template(layer.text.template) if isinstance(each, Slot)]
    return set(slots) - {name.partition("@")[0] for name in there}


def process_and_train(lines: list[list[str]]) -> list[dict[str, Any]]:
    """Run command lines; the metrics of those that train, one epoch of a small model."""
    found = []
    for place, (_, script, *arguments) in enumerate(lines):
        if script != "worker.py":
            importlib.import_module(f"process.{Path(script).stem}").main(arguments)
            continue
        model = arguments[arguments.index("--model") + 1]
        small = {"epoch": 1, "batch_size": 64, "lr": 1e-2, "hidden_size": 16, "embed_hidden_size": 16}
        small |= {"heads": 4} if reads_heads(model) else {}
        small |= {"device": "cpu", "runs": f"runs/{place}"}
        more = [part for name, value in small.items() for part in (f"--{name}", str(value))]
        found.append(json.loads((finish([*arguments, *more]) / "metrics.json").read_text()))
    return found

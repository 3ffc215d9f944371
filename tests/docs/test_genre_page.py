"""Every command of ``docs/genre.md`` as typed, from raw files to ONCE, with a server that answers."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path

import pytest

import worker
from legorec.data.store import Store
from legorec.settings import read_command_line
from tests.docs.test_readme import commands
from tests.support import planted_files as raw
from tests.support.raw_files import ROOT
from tests.support.text_server import Asked, Reply, TextServer

PAGE = (ROOT / "docs" / "genre.md").read_text(encoding="utf-8")
_, *PARTS = re.split(r"^## (.*)$", PAGE, flags=re.MULTILINE)
SECTIONS = {name: text for name, text in zip(PARTS[::2], PARTS[1::2], strict=True) if "\npython " in text}
RAW = {
    "MovieLens, from raw data to ONCE": (raw.write_movielens, "100K"),
    "Goodreads": (raw.write_tables, None),
    "MIND": (raw.write_mind, None),
}
LANGUAGE_MODEL = "weights/llama-7b"
SMALL = {"epoch": 1, "epoch_batch": 3, "batch_size": 64, "lr": 1e-2, "hidden_size": 16}


def lines_of(section: str, url: str = "http://127.0.0.1:8000/v1") -> list[list[str]]:
    return commands(SECTIONS[section].replace("http://127.0.0.1:8000/v1", url))


def answer(asked: Asked) -> Reply:
    """What a language model might say: nothing of use to about one prompt in seven."""
    system, prompt = (each["content"] for each in asked.body["messages"])
    last = prompt.strip().split("\n")[-1].strip("[]()0123456789 ")
    made = {"title": last, "abstract": "It was so.", "description": "It is so.", "category": "sports"}
    says = {
        "[newtitle]": f"[newtitle] More about {last}",
        "[description]": f"[description] All about {last}.",
        "[topics]": "[topics] sports, gossip\n[region] Ohio",
        '"interests"': json.dumps({"interests": ["old stories", last[:20]]}),
        '"title"': "Here it is:\n" + json.dumps(made | {"genres": ["Drama"], "year": 1999}),
    }
    wanted = next(text for key, text in says.items() if key in system)
    return Reply(texts=("I cannot say." if len(prompt) % 7 == 0 else wanted,))


def test_every_section_has_its_raw_files() -> None:
    assert set(SECTIONS) == set(RAW)


def test_every_scheme_and_every_merged_store_is_on_the_page() -> None:
    lines = [line for section in SECTIONS for line in lines_of(section)]
    named = {part for line in lines for part in line}
    schemes = {f"config/exp/{path.name}" for path in (ROOT / "config/exp").glob("generate-*.yaml")}
    assert len(schemes) == 12 and schemes <= named
    stores = {line[line.index("--out") + 1] for line in lines if "--out" in line}
    layers = [
        path for path in (ROOT / "config/data").glob("*.yaml") if re.search(r"-(cs|up|cg|chain)\b", path.stem)
    ]
    assert len(layers) == 24
    written = {re.search(r"^store: (.*)$", path.read_text(), re.MULTILINE)[1] for path in layers}  # type: ignore[index]
    assert {each.replace("${version:small}", "small") for each in written} <= stores


def test_worker_commands_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = [line for section in SECTIONS for line in lines_of(section) if line[1] == "worker.py"]
    modes = [read_command_line(line[2:]).exp.mode for line in found]
    assert (modes.count("generate"), modes.count("train_test"), modes.count("cache")) == (12, 8, 2)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("section", SECTIONS)
def test_commands_run_as_typed(section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    shutil.copytree(ROOT / "config", "config")
    write, layout = RAW[section]
    write(layout)
    raw.write_checkpoint(Path(LANGUAGE_MODEL), "llama")
    trained = 0
    with TextServer(answer) as server:
        for place, (_, script, *arguments) in enumerate(lines_of(section, server.url)):
            if script != "worker.py":
                importlib.import_module(f"process.{Path(script).stem}").main(arguments)
                continue
            mode, named = read_command_line(arguments).exp.mode, arguments[arguments.index("--exp") + 1]
            if mode == "generate" and "--most" not in arguments and named.endswith(("cg.yaml", "chain.yaml")):
                arguments += ["--most", "20"]  # the users of the planted files have more clicks than five
            if mode == "train_test":
                arguments += [part for name, value in SMALL.items() for part in (f"--{name}", str(value))]
                arguments += ["--runs", f"runs/{place}"]
                arguments += ["--embed_hidden_size", "16"] if "lego" in "".join(arguments) else []
                trained += 1
            assert worker.main([*arguments, "--device", "cpu"]) == 0
        asked = len(server.asked)
    assert asked > 100 and trained
    stores = [Store.open(path.parent) for path in Path("data").glob("*/manifest.json")]
    merged = [store for store in stores if "generations" in store.manifest]
    assert len(merged) == 4 and len(stores) == 5
    for store in merged:
        (record,) = store.manifest["generations"]
        assert record["counts"]["answers"] > 1
        assert (store.items.num_real < len(store.items)) == (record["scheme"]["makes"] == "items")
    assert len(list(Path("runs").rglob("metrics.json"))) == trained

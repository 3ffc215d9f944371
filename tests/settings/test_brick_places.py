"""The item side of a model layer: one source with its item encoder, or several parts with a join."""

from __future__ import annotations

from pathlib import Path

import pytest

from legorec.settings import Settings, SettingsError, read_command_line
from legorec.settings.brick_places import brick_places
from tests.support.config_files import arguments, write_files

WORDS = "words: {source: {name: table}, item_encoder: {name: naml}}"
IDS = "ids: {source: {name: ids}, item_encoder: {name: single}, lr: 0.01, dropout: 0.3}"
REST = """user_encoder: {name: naml}
predictor: {name: dot}
objective: {name: sampled_softmax}
"""
JOINED = f"name: J\nparts:\n  {WORDS}\n  {IDS}\njoin: {{name: sum}}\n{REST}"


def read(folder: Path, model: str = JOINED, *more: str) -> Settings:
    write_files(folder)
    (folder / "model.yaml").write_text(model)
    return read_command_line([*arguments(folder), *more])


def test_parts_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    model = read(tmp_path).model
    assert list(model.item_parts) == ["ids", "words"] and model.source is None
    assert (model.item_parts["ids"].lr, model.item_parts["ids"].dropout) == (0.01, 0.3)
    assert (model.item_parts["words"].lr, model.item_parts["words"].dropout) == (None, 0.0)
    assert list(model.bricks()) == [
        "parts.ids.source", "parts.words.source", "parts.ids.item_encoder", "parts.words.item_encoder",
        "join", "user_encoder", "predictor", "objective",
    ]  # fmt: skip


def test_they_are_saved_and_read_again(tmp_path: Path) -> None:
    settings = read(tmp_path, JOINED, "--model.parts.words.source.embed_dim", "32")
    assert settings.model.item_parts["words"].source.arguments["embed_dim"] == 32
    (tmp_path / "run").mkdir()
    settings.save(tmp_path / "run" / "settings.yaml")
    again = read_command_line(["--settings", str(tmp_path / "run" / "settings.yaml")])
    assert again.model == settings.model and again.digest() == settings.digest()


def test_an_ordinary_model_keeps_its_digest(tmp_path: Path) -> None:
    """What came with parts is at its default there."""
    write_files(tmp_path)
    tree = read_command_line(arguments(tmp_path)).dump()["model"]
    assert tree["parts"] == {} and tree["join"] is None
    assert [place for place, _ in brick_places(tree)][:3] == ["source", "item_encoder", "join"]


TEXT = "fields: {title@words: {}}\ntext: {template: '{title:9}'}"
STATES = "text: {source: {name: states, checkpoint: x}, item_encoder: {name: bert}}"

# the model layer, the place, what is said of it
REFUSED = {
    "no join": (JOINED.replace("join: {name: sum}\n", ""), "model.join", "is needed to make one vector"),
    "a join alone": (
        f"name: J\nsource: {{name: ids}}\nitem_encoder: {{name: single}}\njoin: {{name: sum}}\n{REST}",
        "model.join", "is read where items have several `parts`",
    ),
    "both": (
        JOINED + "source: {name: ids}\n", "model.source", "stands beside `parts`, each of which",
    ),
    "neither": (f"name: J\n{REST}", "model.source", "is required: a block, or `parts`"),
    "half a part": (
        JOINED.replace("source: {name: ids}, ", ""), "model.parts.ids.source", "is required",
    ),
    "a misspelt brick": (
        JOINED.replace("{name: table}", "{name: tabel}"), "model.parts.words.source.name",
        "did you mean 'table'?",
    ),
    "a misspelt join": (JOINED.replace("{name: sum}", "{name: smu}"), "model.join.name", "mean 'sum'?"),
    "a misspelt setting": (
        JOINED.replace("{name: table}", "{name: table, embed_dmi: 3}"), "model.parts.words.source.embed_dmi",
        "did you mean 'embed_dim'?",
    ),
    "a misspelt key of a part": (
        JOINED.replace("dropout: 0.3", "droput: 0.3"), "model.parts.ids.droput", "did you mean 'dropout'?",
    ),
    "no share": (
        JOINED.replace("dropout: 0.3", "dropout: 1.0"), "model.parts.ids.dropout", "must be below 1, got 1.0",
    ),
    "a name": (JOINED.replace("ids:", "My-Ids:"), "model.parts.My-Ids", "a part is named in lower-case"),
    "what does not fit": (
        JOINED.replace("{name: naml}}", "{name: single}}", 1), "model.parts.words.item_encoder.name",
        "'single' reads vector, but the source 'table' gives tokens",
    ),
    "a width": (
        JOINED.replace("{name: table}", "{name: table, embed_dim: 0}"), "model.parts.words.source.embed_dim",
        "must be at least 1, got 0",
    ),
    "a reader of tokens": (
        JOINED.replace("user_encoder: {name: naml}", "user_encoder: {name: flatten_transformer}"),
        "model.user_encoder.name", "reads the tokens of items, and items of several parts have none",
    ),
    "two language models": (
        JOINED.replace(IDS, f"{STATES}\n  more{STATES}"), "model.parts.text.source.name",
        "is a second language model beside parts.moretext.source",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "place", "message"), REFUSED.values(), ids=list(REFUSED))
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, model: str, place: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(tmp_path, model)
    told = [each for each in error.value.problems if each.place == place]
    assert len(told) == 1, error.value
    assert message in told[0].message and "model.yaml" in told[0].origin, told


@pytest.mark.parametrize(
    ("parts", "place", "message"),
    [
        (IDS, "data.text", "is for a source of a language model, and this model has none"),
        (STATES, "data.fields", "is for sources that are no language model, and this model has none"),
    ],
)
def test_a_reading_that_nobody_reads_is_told(tmp_path: Path, parts: str, place: str, message: str) -> None:
    write_files(tmp_path)
    data = (tmp_path / "data.yaml").read_text()
    (tmp_path / "model.yaml").write_text(JOINED.replace(f"{WORDS}\n  {IDS}", parts))
    (tmp_path / "data.yaml").write_text(data + "text: {template: '[CLS] {title:9}'}\n")
    with pytest.raises(SettingsError) as error:
        read_command_line(arguments(tmp_path))
    assert any(each.place == place and message in each.message for each in error.value.problems), error.value

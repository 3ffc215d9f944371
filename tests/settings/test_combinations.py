"""Settings whose bricks do not fit are refused when they are read, with file, line and what would fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from legorec.settings import SettingsError, read_command_line
from tests.support.config_files import FILES, arguments, write_files
from tests.support.foreign_bricks import filled, put_on_path


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch)


ENCODER = "name: nrms\n  heads: 8\npredictor: {name: dot}"  # lines 10 to 12 of the model
OBJECTIVE = "name: sampled_softmax\n  num_negatives: 4\n"  # lines 14 and 15
FLATTEN = {"model.yaml": (ENCODER, "name: flatten_transformer\npredictor: {name: dot}")}

# the files that are changed, with what is written there and what instead; file and line, place, message
REFUSED: dict[str, tuple[dict[str, tuple[str, str]], str, str, str]] = {
    "source and item encoder": (
        {"model.yaml": ("name: table", "name: ids")}, "model.yaml:6", "model.item_encoder.name",
        "'nrms' reads tokens or states, but the source 'ids' gives vector; item encoders that fit: "
        "{item_encoder vector}; sources that fit: {source tokens states}",
    ),
    "user encoder and predictor": (
        {"model.yaml": ("{name: dot}", "{name: bst}")}, "model.yaml:12", "model.predictor.name",
        "'bst' takes clicks, but the user encoder 'nrms' gives vector; predictors that fit: "
        "{predictor vector}; user encoders that fit: {user_encoder clicks}",
    ),
    "user encoder and user plugin": (
        {
            "model.yaml": (ENCODER, "name: history\nuser_plugin: {name: profile}\npredictor: {name: din}"),
            "data.yaml": ("splits:", "user_fields: {gender: }\nsplits:"),
        },
        "model.yaml:11", "model.user_plugin.name",
        "'profile' takes vector or interests, but the user encoder 'history' gives clicks; user plugins that "
        "fit: none; user encoders that fit: {user_encoder vector interests}",
    ),
    "weights of clicks that nobody tells": (
        {"model.yaml": (ENCODER, "name: fits_lab.Interests\npredictor: {name: category_miner}")},
        "model.yaml:11", "model.predictor.name",
        "'category_miner' needs the weights of the clicks, which the user encoder 'fits_lab.Interests' does "
        "not tell; user encoders that fit: miner",
    ),
    "an extra of a user encoder": (
        {"model.yaml": (ENCODER, "name: fits_lab.Late\npredictor: {name: dot}")},
        "model.yaml:10", "model.user_encoder.name",
        "Late.forward asks for `weather`; offered are user, click_items, states",
    ),
    "an extra of a predictor": (
        {"model.yaml": ("{name: dot}", "{name: fits_lab.Weather}")}, "model.yaml:12", "model.predictor.name",
        "Weather.forward asks for `weather`; offered are mask, clicks, click_items, click_weights, "
        "candidate_items, candidate_mask",
    ),
    "an extra of a source": (
        {"model.yaml": ("name: table\n  embed_dim: ${embed_hidden_size:64}$", "name: fits_lab.GreedySource")},
        "model.yaml:3", "model.source.name", "GreedySource.forward asks for `moment`; offered are nothing",
    ),
    "disagreement of one vector": (
        {"model.yaml": (OBJECTIVE, OBJECTIVE + "  disagreement: 0.8\n")},
        "model.yaml:16", "model.objective.disagreement",
        "must be 0 with the user encoder 'nrms', which gives vector and not interests, got 0.8",
    ),
    "disagreement of clicks": (
        {
            "model.yaml": (
                f"{ENCODER}\nobjective:\n  {OBJECTIVE}",
                "name: history\npredictor: {name: din}\nobjective: {name: pointwise, disagreement: 0.5}\n",
            )
        },
        "model.yaml:12", "model.objective.disagreement",
        "must be 0 with the user encoder 'history', which gives clicks and not interests, got 0.5",
    ),
    "pages of items with an encoder of tokens": (
        FLATTEN | {"parts/policy.yaml": ("  epoch: 50", "  epoch: 50\n  item_page_size: 64")},
        "parts/policy.yaml:3", "exp.policy.item_page_size",
        "must be 0 with the user encoder 'flatten_transformer', which reads the tokens of the whole batch, "
        "got 64",
    ),
    "a width of 0": (
        {"model.yaml": ("${hidden_size:64}$", "0")}, "model.yaml:7", "model.item_encoder.hidden_dim",
        "must be at least 1, got 0",
    ),
    "a width below 0": (
        {"model.yaml": ("${embed_hidden_size:64}$", "-3")}, "model.yaml:4", "model.source.embed_dim",
        "must be at least 1, got -3",
    ),
}  # fmt: skip


def problems_of(folder: Path, files: dict[str, tuple[str, str]], *more: str) -> list[tuple[str, str, str]]:
    rewrite(folder, files)
    with pytest.raises(SettingsError) as caught:
        read_command_line(arguments(folder, *more))
    return [(each.origin, each.place, each.message) for each in caught.value.problems]


def rewrite(folder: Path, files: dict[str, tuple[str, str]]) -> None:
    """The right files, some of them changed."""
    write_files(folder)
    for name, (old, new) in files.items():
        assert FILES[name].count(old) == 1, old
        (folder / name).write_text(FILES[name].replace(old, new))


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_do_not_fit_are_refused_with_their_line(tmp_path: Path, case: str) -> None:
    files, origin, place, message = REFUSED[case]
    told = problems_of(tmp_path, files)
    assert told == [(f"{tmp_path}/{origin}", place, filled(message))]


def test_every_misfit_is_told_at_once(tmp_path: Path) -> None:
    right = FILES["model.yaml"]
    changed = right.replace("name: table", "name: ids").replace("{name: dot}", "{name: din}")
    told = problems_of(tmp_path, {"model.yaml": (right, changed + "  disagreement: 0.1\n")})
    assert [place for _, place, _ in told] == [
        "model.item_encoder.name", "model.predictor.name", "model.objective.disagreement"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "place"),
    [
        (["--model.user_encoder.name", "nrsm"], "model.user_encoder.name"),
        (["--model.source.name", "tabel"], "model.source.name"),
        (["--model.predictor.nme", "din"], "model.predictor.nme"),
        (["--model.user_plugin.name", "profil"], "model.user_plugin.name"),
    ],
)
def test_a_brick_that_was_told_of_is_not_judged_by_its_fit(
    tmp_path: Path, flags: list[str], place: str
) -> None:
    told = problems_of(tmp_path, {}, *flags, "--model.objective.disagreement", "0")
    assert [each[1] for each in told] == [place], told


def test_what_the_flags_change_is_told_of_the_command_line(tmp_path: Path) -> None:
    told = problems_of(tmp_path, {}, "--model.predictor.name", "din")
    assert [each[:2] for each in told] == [("command line --model.predictor.name", "model.predictor.name")]
    told = problems_of(tmp_path, FLATTEN, "--exp.policy.item_page_size", "8")
    assert [each[:2] for each in told] == [
        ("command line --exp.policy.item_page_size", "exp.policy.item_page_size")
    ]


@pytest.mark.parametrize(
    "files",
    [
        FLATTEN,
        {"parts/policy.yaml": ("  epoch: 50", "  epoch: 50\n  item_page_size: 64")},
        {"model.yaml": (OBJECTIVE, OBJECTIVE + "  disagreement: 0.0\n")},
        {
            "model.yaml": (
                f"{ENCODER}\nobjective:\n  {OBJECTIVE}",
                "name: miner\npredictor: {name: miner}\nobjective: {name: pointwise, disagreement: 0.5}\n",
            )
        },
        {"model.yaml": ("predictor: {name: dot}", "user_plugin: null\npredictor: {name: dot}")},
        {"model.yaml": ("{name: dot}", "{name: fits_lab.Any}")},
    ],
    ids=["flatten", "pages", "no disagreement", "disagreement", "no plugin", "from elsewhere"],
)
def test_what_fits_is_taken(tmp_path: Path, files: dict[str, tuple[str, str]]) -> None:
    rewrite(tmp_path, files)
    assert read_command_line(arguments(tmp_path)).model.name == "NRMS"


def test_an_argument_that_no_file_reads_is_found_in_its_bricks(tmp_path: Path) -> None:
    write_files(tmp_path)
    with pytest.raises(SettingsError, match=r"bricks of this model that have it: --model\.item_encoder\.att"):
        read_command_line(arguments(tmp_path, "--attention_dim", "8"))


def test_a_brick_put_in_place_of_another_is_told_with_the_settings_left_over(tmp_path: Path) -> None:
    write_files(tmp_path)
    with pytest.raises(SettingsError) as caught:
        read_command_line(arguments(tmp_path, "--model.user_encoder.name", "history"))
    left, fit = caught.value.problems
    assert left.place == "model.user_encoder.heads"
    assert left.message.endswith("give --model.user_encoder '{name: history}'")
    assert "'dot' takes vector, but the user encoder 'history' gives clicks" in fit.message

"""What may not be put together is refused in the same words by the settings and by the constructor."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor, nn

from legorec import registry
from legorec.objectives.pointwise import PointwiseObjective
from legorec.objectives.sampled_softmax import SampledSoftmaxObjective
from legorec.predictors.dot import DotPredictor
from legorec.recommender import Recommender
from legorec.settings import SettingsError, read_command_line
from tests.support import small
from tests.support.config_files import FILES, arguments, write_files
from tests.support.foreign_bricks import put_on_path

ENCODER = "name: nrms\n  heads: 8\npredictor"


class Late(nn.Module):
    """Asks for more than there is, as ``fits_lab.Late`` does."""

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor, weather: Tensor) -> Tensor:
        return weather


class Reader(nn.Module):
    """Reads token states, as ``fits_lab.Clicks`` does."""

    def forward(self, clicks_BHD: Tensor, mask_BH: Tensor, user: Tensor, states: Tensor) -> Tensor:
        return states


def told(folder: Path, monkeypatch: pytest.MonkeyPatch, encoder: str, *flags: str) -> dict[str, str]:
    """What the settings say of a model with this user encoder, by place."""
    put_on_path(folder, monkeypatch)
    write_files(folder)
    text = FILES["model.yaml"].replace(ENCODER, f"name: {encoder}\npredictor")
    (folder / "model.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_command_line(arguments(folder, *flags))
    return {each.place: each.message for each in caught.value.problems}


def refused(encoder: nn.Module, page_size: int = 0) -> str:
    """What the constructor says."""
    plain = small.recommender()
    with pytest.raises(ValueError) as caught:
        Recommender(plain.source, plain.item_encoder, encoder, DotPredictor(), None, page_size)
    return str(caught.value)


def test_extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = told(tmp_path, monkeypatch, "fits_lab.Late")
    assert early == {"model.user_encoder.name": refused(Late())}
    assert refused(Late()) == "Late.forward asks for `weather`; offered are user, click_items, states"


def test_pages_of_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = told(tmp_path, monkeypatch, "fits_lab.Clicks", "--exp.policy.item_page_size", "8")
    late = refused(Reader(), page_size=8)
    said = "the user encoder 'fits_lab.Clicks'"
    assert f"`item_page_size` {early['exp.policy.item_page_size'].replace(said, 'Reader')}" == late
    assert late.endswith("with Reader, which reads the tokens of the whole batch, got 8")


@pytest.mark.parametrize("objective", [PointwiseObjective, SampledSoftmaxObjective])
def test_disagreement(objective: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = told(tmp_path, monkeypatch, "nrms", "--model.objective.disagreement", "0.5")
    with pytest.raises(ValueError) as late:
        objective(num_negatives=3, disagreement=0.5)(small.recommender(), small.stream().batch(0))
    said = early["model.objective.disagreement"].replace("the user encoder 'nrms'", "NRMSUserEncoder")
    assert str(late.value) == f"`disagreement` {said}"
    assert said == "must be 0 with NRMSUserEncoder, which gives vector and not interests, got 0.5"


def test_rules_that_hold_say_nothing() -> None:
    inputs = {"clicks_BHD": True, "mask_BH": True, "user": True, "temperature": False}
    assert registry.asks_too_much("user_encoder", "Any", inputs) == ""
    assert registry.asked("user_encoder", inputs) == ("user",)
    assert registry.reads_whole_batch("any", ("user",), 8) == registry.reads_whole_batch(
        "any", ("states",), 0
    )
    assert registry.needs_interests("any", "vector", 0.0) == registry.needs_interests("any", "interests", 0.5)
    assert registry.reads_whole_batch("any", ("states",), 8) and registry.needs_interests(
        "any", "vector", 0.5
    )

"""A graph scores as the model does, on any number of clicks, candidates and users, or is not kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from legorec.nn.graphs import is_taken
from legorec.predictors.din import DINPredictor
from legorec.predictors.dot import DotPredictor
from legorec.program import main
from legorec.recipes.graph import Scoring, save_graph
from legorec.recommender import Recommender
from legorec.user_encoders.gru import GRUUserEncoder
from legorec.user_encoders.history import HistoryUserEncoder
from legorec.user_encoders.naml import NAMLUserEncoder
from legorec.user_encoders.nrms import NRMSUserEncoder

WIDTH = 16
MODELS = {
    "nrms": lambda: (NRMSUserEncoder(WIDTH, heads=4), DotPredictor()),
    "naml": lambda: (NAMLUserEncoder(WIDTH), DotPredictor()),
    "din": lambda: (HistoryUserEncoder(WIDTH), DINPredictor(WIDTH)),
}


def model_of(user_encoder: nn.Module, predictor: nn.Module) -> Recommender:
    torch.manual_seed(3)
    return Recommender(nn.Identity(), nn.Identity(), user_encoder, predictor).eval()


def scored(model: Recommender, clicks: Tensor, mask: Tensor, candidates: Tensor) -> Tensor:
    with torch.inference_mode():
        return Scoring(model)(clicks, mask, candidates)


def other_batch() -> tuple[Tensor, Tensor, Tensor]:
    """Larger than any that was tried when the file was written, and one user without a click."""
    clicks, candidates = torch.randn(9, 31, WIDTH), torch.randn(9, 40, WIDTH)
    return clicks, torch.arange(31) < torch.arange(9)[:, None] * 3, candidates


@pytest.mark.parametrize(
    "name", ["din", *(pytest.param(each, marks=pytest.mark.slow) for each in ("nrms", "naml"))]
)
def test_a_program_of_torch_scores_as_the_model(tmp_path: Path, name: str) -> None:
    model = model_of(*MODELS[name]())
    save_graph(model, tmp_path / "user.pt2", WIDTH)
    given = other_batch()
    with torch.no_grad():
        found = torch.export.load(tmp_path / "user.pt2").module()(*given)
    torch.testing.assert_close(found, scored(model, *given), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_onnx_scores_as_the_model(tmp_path: Path, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = model_of(*MODELS[name]())
    save_graph(model, tmp_path / "user.onnx", WIDTH)
    assert [each.name for each in tmp_path.iterdir()] == ["user.onnx"]  # weights inside
    session = onnxruntime.InferenceSession(str(tmp_path / "user.onnx"))
    given = other_batch()
    fed = {name: each.numpy() for name, each in zip(("clicks", "mask", "candidates"), given, strict=True)}
    found = torch.from_numpy(session.run(None, fed)[0])
    torch.testing.assert_close(found, scored(model, *given), rtol=1e-5, atol=1e-5)


class TurnedOver(nn.Module):
    """A predictor that turns its scores over where there are many candidates, which a graph does not see."""

    def forward(self, user_BD: Tensor, candidates_BKD: Tensor) -> Tensor:
        scores = (candidates_BKD @ user_BD.unsqueeze(2)).squeeze(2)
        return -scores if not is_taken() and candidates_BKD.shape[1] > 10 else scores


@pytest.mark.parametrize(
    ("parts", "name", "said"),
    [
        (lambda: (GRUUserEncoder(WIDTH), DotPredictor()), "a.pt2", "any number of clicks"),
        (lambda: (NAMLUserEncoder(WIDTH), TurnedOver()), "a.pt2", "the graph is wrong by"),
        (lambda: (NAMLUserEncoder(WIDTH), DotPredictor()), "a.pt", "ends in .pt2 or .onnx"),
    ],
)
def test_what_cannot_be_a_graph_leaves_no_file(tmp_path, parts, name, said):
    with pytest.raises(ValueError, match=said) as refused:
        save_graph(model_of(*parts()), tmp_path / name, WIDTH)
    assert len(str(refused.value).splitlines()) == 1 and not list(tmp_path.iterdir())


def test_the_command_writes_the_graph_of_a_run(done, tmp_path, capsys):
    out = tmp_path / "user.pt2"
    assert main(["graph", str(done), "--out", str(out)]) == 0
    assert "clicks, mask, candidates -> scores, with item vectors of width 16" in capsys.readouterr().out
    assert out.is_file() and main(["graph", str(done), "--out", str(tmp_path / "user.txt")]) == 2

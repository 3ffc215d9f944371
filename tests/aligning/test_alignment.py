"""Texts come to the vectors of their items, by each of the losses, and the vectors stay."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from legorec.aligning.alignment import AlignedText, AlignmentObjective
from legorec.lm.whole import WholeModel
from tests.support.texts import batch_of, text_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_model(tmp_path_factory.mktemp("tiny")).folder


def made(folder: Path, **more) -> AlignedText:
    from legorec.lm.pretrained import find_pretrained

    torch.manual_seed(0)
    fields = torch.randn(12, 24)
    return AlignedText(WholeModel(find_pretrained(str(folder))), fields, **more).eval()


def test_the_loss_is_the_symmetric_sum_of_the_paper(folder: Path) -> None:
    model, batch = made(folder), batch_of([4, 6, 5, 9])
    scores = model.texts(batch) @ model.fields[:4].T
    there, back = (F.cross_entropy(each, torch.arange(4), reduction="sum") for each in (scores, scores.T))
    loss = AlignmentObjective()(model, batch).total
    assert torch.allclose(loss, there + back, rtol=1e-5)


def test_equal_vectors_cost_twice_log_n(folder: Path) -> None:
    model, batch = made(folder), batch_of([5] * 6)
    model.fields.fill_(0.5)
    same = replace(batch, tokens=batch.tokens[:5].repeat(6))
    assert AlignmentObjective()(model, same).total.item() == pytest.approx(6 * 2 * math.log(6), rel=1e-5)


def test_other_losses_are_their_formulas(folder: Path) -> None:
    model, batch = made(folder), batch_of([4, 6, 5])
    texts, fields = model.texts(batch), model.fields[:3]
    mse = AlignmentObjective("mse")(model, batch).total
    assert torch.allclose(mse, (texts - fields).square().mean(1).sum())
    bpr, expected = AlignmentObjective("bpr")(model, batch).total, 0.0
    for own in range(3):
        others = [other for other in range(3) if other != own]
        gaps = torch.stack([texts[own] @ (fields[own] - fields[other]) for other in others])
        expected = expected - F.logsigmoid(gaps).mean()
    assert torch.allclose(bpr, torch.as_tensor(expected), rtol=1e-5)


def test_weights_multiply_the_losses_of_their_items(folder: Path) -> None:
    model, batch = made(folder), batch_of([4, 6, 5])
    weights = torch.zeros(12)
    weights[1] = 3.0
    alone = AlignmentObjective("mse", weights=weights)(model, batch).total
    assert torch.allclose(alone, 3 * (model.texts(batch)[1] - model.fields[1]).square().mean())


@pytest.mark.parametrize("kind", ["info_nce", "mse", "bpr"])
def test_a_few_steps_bring_texts_to_their_fields(folder: Path, kind: str) -> None:
    model, batch, objective = made(folder), batch_of([5] * 8), AlignmentObjective(kind)  # type: ignore[arg-type]
    before, fields = objective(model, batch).total.item(), model.fields.clone()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(20):
        optimizer.zero_grad()
        objective(model, batch).total.backward()
        optimizer.step()
    assert objective(model, batch).total.item() < 0.8 * before
    assert torch.equal(model.fields, fields)
    assert "fields" not in model.state_dict()


def test_a_model_that_reads_from_left_to_right_gives_its_last_token(tmp_path: Path) -> None:
    model = AlignedText(WholeModel(text_model(tmp_path, "llama")), torch.zeros(12, 24)).eval()
    batch = batch_of([4, 6])
    states = model.language(batch.tokens, batch.lengths)
    assert torch.allclose(model.texts(batch), model.norm(torch.relu(model.project(states[[3, 9]]))))


def test_fields_may_be_projected(folder: Path) -> None:
    model, batch = made(folder, projects_fields=True), batch_of([4, 6])
    assert torch.allclose(model.vectors(batch), model.of_fields(model.fields[:2]))

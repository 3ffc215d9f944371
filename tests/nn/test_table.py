"""A given table: its rows, what learns, and what memory it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from legorec.nn.table import GivenTable

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("frozen", [True, False])
def test_rows_come_out_wide_and_a_frozen_table_stays_narrow(dtype: torch.dtype, frozen: bool) -> None:
    table = GivenTable(torch.from_numpy(ROWS).to(dtype), frozen, dim=3, projected=False)
    found = table(torch.tensor([[3, 0], [1, 1]]))
    assert found.dtype == (dtype if frozen and dtype == torch.float64 else torch.float32)
    assert torch.equal(found.float(), torch.from_numpy(ROWS)[torch.tensor([[3, 0], [1, 1]])])
    assert table.weight.dtype == (dtype if frozen else torch.float32)
    assert table.weight.requires_grad is not frozen


def test_a_frozen_table_is_the_memory_that_was_given_and_a_tuned_one_is_not() -> None:
    given = torch.from_numpy(ROWS.copy())
    frozen, tuned = (GivenTable(given, each, dim=3, projected=False) for each in (True, False))
    assert frozen.weight.data_ptr() == given.data_ptr() != tuned.weight.data_ptr()
    mapped = ROWS.copy()
    mapped.flags.writeable = False  # as a mapped file is: what torch would warn of is copied
    assert torch.equal(GivenTable(mapped, True, dim=3, projected=False).weight, given)


def test_the_projection_learns_whatever_the_table_does() -> None:
    table = GivenTable(ROWS, frozen=True, dim=2, projected=True)
    found = table(torch.tensor([2, 0]))
    torch.testing.assert_close(found, table.project(torch.from_numpy(ROWS[[2, 0]])))
    found.sum().backward()
    assert table.project.weight.grad is not None and table.weight.grad is None
    assert [name for name, each in table.named_parameters() if each.requires_grad] == [
        "project.weight",
        "project.bias",
    ]


def test_the_table_alone_is_pretrained() -> None:
    table = GivenTable(ROWS, frozen=False, dim=2, projected=True)
    assert [name for name, each in table.named_modules() if getattr(each, "pretrained", False)] == ["rows"]

"""Compiled bricks give the gradients of plain ones, so the table of times compares equals."""

import pytest

from benchmarks import compiled


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DCN", "a layer of LLaMA"])
def test_a_compiled_brick_gives_the_same(name, capsys):
    (row,) = compiled.main(["--small", "--rounds", "1", "--only", name])
    assert row[0] == name and row[4] < 1e-5
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"| {name} | ")

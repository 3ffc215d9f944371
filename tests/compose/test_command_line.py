"""Pairs of the command line: what is none is told, and dotted keys replace single values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from legorec.compose import compose
from legorec.compose.command_line import OLD_FLAGS
from tests.support.config_files import arguments, write_files

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--lr"], "--lr: needs a value"),
        (["--resume", "--lr", "1"], "--resume: needs a value"),
        (["lr", "3"], "lr: is not a `--key value` pair"),
        (["-lr", "3"], "-lr: is not a `--key value` pair; write `--lr`"),
        (["--", "3"], "--: is not a `--key value` pair"),
        (["--lr", "1", "--lr=2"], "--lr: is given twice"),
        (["--exq.policy.lr", "1"], "--exq.policy.lr: a dotted key is one of --data.*, --embed.*"),
        (["--exp..lr", "1"], "--exp..lr: a dotted key has a name between its dots"),
        (["--exp.name.x", "1"], "--exp.name.x: there is no `x` in `exp.name` to set"),
        (["--exp.metrics.7", "1"], "--exp.metrics.7: there is no `7` in `exp.metrics` to set"),
        (["--exp.metrics", "[gauc"], "is not valid YAML"),
        (["--lr", "!!python/object:os.system {}"], ""),
        (
            ["--lr", "[!!python/name:os.system x]"],
            "the YAML tag 'tag:yaml.org,2002:python/name:os.system' is refused",
        ),
        (["--settings", "x.yaml"], "--settings: cannot go together with --data, --embed, --model, --exp"),
    ],
)
def test_a_command_line_that_is_not_pairs_is_told(tmp_path: Path, argv: list[str], message: str) -> None:
    write_files(tmp_path)
    told = [str(each) for each in compose(arguments(tmp_path, *argv)).problems]
    assert any(message in each for each in told) or not message
    assert all(each.startswith("command line") for each in told)


def test_dotted_keys_replace_single_values(tmp_path: Path) -> None:
    write_files(tmp_path)
    more = [
        "--exp.metrics.0=auc",
        "--exp.policy.lr",
        "1e-5",
        "--data.fields",
        "{year: {}}",
        "--model.name",
        "x",
    ]
    composition = compose(arguments(tmp_path, *more, "--exp.evaluation.batch_size", "-4"))
    assert composition.problems == []
    assert composition.layers["exp"]["metrics"] == ["auc", "ndcg@10"]
    assert composition.layers["exp"]["policy"]["lr"] == 1e-5
    assert composition.layers["exp"]["name"] == "tt-x"
    assert composition.layers["data"]["fields"] == {"year": {}}
    assert composition.layers["exp"]["evaluation"]["batch_size"] == -4
    assert composition.origins["exp.policy.lr"] == "command line --exp.policy.lr"
    assert "data.fields.title@words" not in composition.origins


def test_flags_of_legommenders_first_version_are_refused_with_their_new_names(tmp_path: Path) -> None:
    """Whoever types a command of then is told how it is written now."""
    write_files(tmp_path)
    for flag, now in OLD_FLAGS.items():
        composition = compose([*arguments(tmp_path), f"--{flag}", "1"])
        (said,) = [str(problem) for problem in composition.problems]
        assert f"--{flag}: nothing reads it" in said and said.endswith(now)
    named = " ".join(OLD_FLAGS.values())
    assert set(re.findall(r"--(\w+)", named)) == {
        "device", "load", "item_page_size", "exp", "resume", "acc_batch", "warmup",
    }  # fmt: skip
    assert all((ROOT / file).is_file() for file in re.findall(r"config/\S+?\.yaml", named))

"""Training begins and goes on only where it can, and leaves no folder of a checkpoint behind."""

from __future__ import annotations

from tests.support.runs import arguments, contents, finish, refused


def test_a_checkpoint_whose_removal_was_cut_short_goes_with_the_next_run(store, tmp_path):
    """A kill in the last pruning of all: nothing is saved after it, and so nothing pruned."""
    argv = arguments(store, tmp_path, epoch=1)
    run = finish(argv)
    before = contents(run)
    (run / "metrics.json").unlink()
    for name in ("batch-0000000001", "batch-0000000002.old-123", "batch-0000000003.tmp-123"):
        (run / "checkpoints" / name).mkdir()
        (run / "checkpoints" / name / "weights.safetensors").write_bytes(b"left")
    assert finish([*argv, "--resume", "true"]) == run
    after = contents(run)
    assert after.keys() == before.keys() and after["metrics.json"] == before["metrics.json"]


def test_a_warm_up_beyond_all_steps_is_refused_with_the_numbers(store, tmp_path, capsys):
    argv = arguments(store, tmp_path, epoch=2)
    refused(
        [*argv, "--warmup", "17"], capsys,
        "`exp.policy.warmup` must be at most the 16 steps of this run (`epoch` 2), got 17",
    )  # fmt: skip
    assert not list(tmp_path.iterdir())
    finish([*argv, "--warmup", "16"])


def test_a_model_beyond_memory_is_one_line(store, tmp_path, capsys):
    for name in ("hidden_size", "embed_hidden_size"):
        argv = arguments(store, tmp_path, **{name: 10**14})
        refused(argv, capsys, "out of memory in building the model (", "smaller sizes, such as --hidden_size")
    assert not list(tmp_path.iterdir())

"""JSON that is nested deeper than can be read is refused like any other that cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import worker
from legorec.engine import checkpoint
from legorec.files.json_text import parse_json
from tests.support.runs import arguments, refused

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("text", [DEEP, DEEP.encode(), '{"a":' * 100_000 + "1" + "}" * 100_000, "{", "'"])
def test_what_cannot_be_read_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="nested too deeply|Expecting|line 1"):
        parse_json(text)
    assert parse_json("[[1]]") == [[1]]


@pytest.mark.slow
def test_deep_manifests_and_configs_are_one_line(store, copy, tmp_path, capsys):
    folder = tmp_path / "store"
    shutil.copytree(store, folder)
    (folder / "manifest.json").write_text(DEEP)
    refused(arguments(folder, tmp_path / "runs"), capsys, str(folder / "manifest.json"), "nested too deeply")
    for path in checkpoint.complete(copy / "checkpoints"):
        (path / "manifest.json").write_text(DEEP)
    given = arguments(store, tmp_path / "runs", exp="test", load=copy)
    refused(given, capsys, "manifest.json was altered", "nested too deeply")
    config = tmp_path / "deep.yaml"
    config.write_text(DEEP[90_000:-90_000])
    argv = arguments(store, tmp_path / "runs")
    argv[argv.index("--data") + 1] = str(config)
    refused(argv, capsys, str(config))
    assert worker.main([*arguments(store, tmp_path / "runs"), "--data.fields", DEEP[90_000:-90_000]]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_remembered_digests_that_are_deep_are_forgotten(tmp_path, monkeypatch):
    from legorec.files import digest

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    memory = tmp_path / "legorec" / "digests.json"
    memory.parent.mkdir()
    memory.write_text(DEEP)
    path = Path(tmp_path / "file")
    path.write_bytes(b"1")
    assert digest.digest_files([path])[path] == digest.digest_file(path)

"""Fetching out of wheels: all files or none, known by their digests; a model's folder whole or not at all."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tokenizers import pre_tokenizers

from legorec.data.raw import wheels
from legorec.data.raw.command import run
from legorec.data.raw.wheels import Wheel
from process import fetch_ml100k, fetch_model
from tests.support.raw_files import ROOT, refusal

Publish = Callable[[Wheel, dict[str, bytes]], Wheel]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Put files into a wheel that pip finds from then on; returns the description that knows them."""

    def put(wheel: Wheel, files: dict[str, bytes]) -> Wheel:
        source = tmp_path / "published.whl"
        with zipfile.ZipFile(source, "w") as archive:
            for name, content in files.items():
                archive.writestr(f"{wheel.folder}/{name}", content)
            archive.writestr("package/__init__.py", "raise RuntimeError('a wheel is never imported')")

        def download(pin: str, folder: Path) -> Path:
            assert pin == wheel.pin
            return source

        monkeypatch.setattr(wheels, "download", download)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        return replace(wheel, files=digests)

    return put


def publish_model(
    publish: Publish, monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes]
) -> None:
    model = fetch_model.MODELS[name]
    monkeypatch.setitem(fetch_model.MODELS, name, replace(model, wheel=publish(model.wheel, files)))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def no_download(pin: str, folder: Path) -> Path:
    raise AssertionError("nothing may be downloaded")


RATINGS = {f"ml-100k.{part}": part.encode() * 1000 for part in ("inter", "item", "user")}
BERT = {name: name.encode() for name in fetch_model.MODELS["minilm"].wheel.files}


@pytest.fixture(params=["ml100k", "minilm"])
def script(
    request: pytest.FixtureRequest, publish: Publish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Callable[..., None], list[Any], dict[str, bytes]]:
    """Each script with its arguments and the files of its wheel."""
    out = ["--out", str(tmp_path / "new" / "out")]
    if request.param == "ml100k":
        monkeypatch.setattr(fetch_ml100k, "WHEEL", publish(fetch_ml100k.WHEEL, RATINGS))
        return fetch_ml100k.main, out, RATINGS
    publish_model(publish, monkeypatch, "minilm", BERT)
    return fetch_model.main, ["minilm", *out], BERT


def test_files_come_whole_and_once(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, arguments, files = script
    main(arguments)
    assert "Fetching" in capsys.readouterr().out
    written = contents(tmp_path / "new")
    assert {f"out/{name}": content for name, content in files.items()}.items() <= written.items()
    assert set(written) - {f"out/{name}" for name in files} <= {"out/source.json"}
    monkeypatch.setattr(wheels, "download", no_download)
    main(arguments)
    assert f"is already in {tmp_path}/new/out" in capsys.readouterr().out
    assert contents(tmp_path / "new") == written


def test_another_content_is_refused(
    script: Any, publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main, arguments, files = script
    wheel = fetch_ml100k.WHEEL if main is fetch_ml100k.main else fetch_model.MODELS["minilm"].wheel
    last = list(files)[-1]
    publish(wheel, files | {last: b"other"})
    assert f"{last} must have the SHA256 {wheel.files[last][:12]}.., got" in refusal(main, arguments, capsys)
    publish(wheel, {name: files[name] for name in files if name != last})
    assert f"not the known wheel (\"There is no item named '{wheel.folder}/{last}'" in refusal(
        main, arguments, capsys
    )
    (tmp_path / "published.whl").write_bytes(b"no archive")
    assert f"{wheel.pin}: not the known wheel (File is not a zip file)" in refusal(main, arguments, capsys)
    assert contents(tmp_path / "new") == {}


def test_out_of_reach(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, arguments, _ = script
    monkeypatch.setattr(wheels, "download", lambda pin, folder: None)
    with pytest.raises(SystemExit) as ended:
        run(main, arguments)
    assert ended.value.code == 3 and "wheel is out of reach, so" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_an_interruption_leaves_nothing(script: Any, monkeypatch: Any, tmp_path: Path) -> None:
    main, arguments, files = script
    extract, seen = wheels._extract, []

    def interrupted(archive: zipfile.ZipFile, member: str, path: Path) -> str:
        seen.append(extract(archive, member, path))
        if len(seen) == len(files):
            raise KeyboardInterrupt
        return seen[-1]

    monkeypatch.setattr(wheels, "_extract", interrupted)
    with pytest.raises(SystemExit) as ended:
        run(main, arguments)
    assert ended.value.code == 130 and contents(tmp_path / "new") == {}


def test_an_altered_data_set_is_fetched_again(publish: Publish, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(fetch_ml100k, "WHEEL", publish(fetch_ml100k.WHEEL, RATINGS))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ml-100k.item").write_text("half")
    (tmp_path / "out" / "notes").write_text("mine")
    fetch_ml100k.main(["--out", str(tmp_path / "out")])
    assert contents(tmp_path / "out") == RATINGS | {"notes": b"mine"}


@pytest.mark.parametrize("record", [None, b"{", b"[]", b'{"files": {}}', b'{"files": 1}'])
def test_a_folder_that_is_taken_stays(
    record: bytes | None, monkeypatch: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wheels, "download", no_download)
    (tmp_path / "config.json").write_text("{}")
    if record is not None:
        (tmp_path / "source.json").write_bytes(record)
    before = contents(tmp_path)
    said = refusal(fetch_model.main, ["minilm", "--out", tmp_path], capsys)
    assert f"{tmp_path} must be new or empty, or hold all-MiniLM-L6-v2 as it was fetched" in said
    assert contents(tmp_path) == before


def test_an_altered_model_is_noticed(
    publish: Publish, monkeypatch: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_model(publish, monkeypatch, "minilm", BERT)
    (tmp_path / "empty").mkdir()
    arguments = ["minilm", "--out", str(tmp_path / "empty")]
    fetch_model.main(arguments)
    (tmp_path / "empty" / "vocab.txt").write_text("altered")
    assert "as it was fetched; it is left as it is" in refusal(fetch_model.main, arguments, capsys)


def test_what_the_conversion_needs(monkeypatch: Any, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(wheels, "download", no_download)
    monkeypatch.setattr(fetch_model, "find_spec", lambda name: None)
    said = refusal(fetch_model.main, ["smollm2", "--out", tmp_path / "out"], capsys)
    assert said.endswith(
        "needs transformers and gguf to be converted; pip install -c constraints.txt -e '.[demo]'"
    )


def test_glove_by_rows(publish: Publish, monkeypatch: Any, tmp_path: Path) -> None:
    words = ["the", ",", "caf\u00e9", "\u4e2d"]
    vectors = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    np.save(tmp_path / "vectors.npy", vectors)
    pl.DataFrame({"index": words}).write_parquet(tmp_path / "index.parquet")
    files = {
        "glove_6B_50d_emb.npy": (tmp_path / "vectors.npy").read_bytes(),
        "glove_6B_index.parquet": (tmp_path / "index.parquet").read_bytes(),
    }
    publish_model(publish, monkeypatch, "glove", files)
    out = tmp_path / "out"
    fetch_model.main(["glove", "--out", str(out)])
    assert {path.name for path in out.iterdir()} == {
        "glove.6B.50d.npy", "glove.6B.50d.words.txt", "source.json"
    }  # fmt: skip
    rows = np.load(out / "glove.6B.50d.npy", mmap_mode="r")
    assert rows.flags.c_contiguous and np.array_equal(rows, vectors)
    assert (out / "glove.6B.50d.words.txt").read_text("utf-8").splitlines() == words


def small_gguf(path: Path) -> bytes:
    """A LLaMA of 2 layers, width 32, over bytes; GGUF keeps the rows of queries and keys in another order,
    which random weights need not care about."""
    gguf = pytest.importorskip("gguf")
    draw = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    tokens = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "la"]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["l a"])
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_unk_token_id):
        add(0)
    shapes = {"token_embd": (len(tokens), 32), "output_norm": (32,)}
    for layer in range(2):
        blocks = {
            "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32),
            "ffn_gate": (48, 32), "ffn_up": (48, 32), "ffn_down": (32, 48),
            "attn_norm": (32,), "ffn_norm": (32,),
        }  # fmt: skip
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in blocks.items()}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", draw.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_gguf_becomes_a_plain_folder(publish: Publish, monkeypatch: Any, tmp_path: Path, capsys: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    publish_model(publish, monkeypatch, "smollm2", {"small.gguf": small_gguf(tmp_path / "small.gguf")})
    out = tmp_path / "weights" / "small"
    arguments = ["smollm2", "--out", str(out)]
    fetch_model.main(arguments)
    assert [path.name for path in out.parent.iterdir()] == ["small"]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert model.dtype == torch.bfloat16 and "quantization_config" not in model.config.to_dict()
    assert tokenizer.model_max_length == 64 and tokenizer.decode(tokenizer("la la")["input_ids"]) == "la la"
    assert (out / "model.safetensors").stat().st_mode & 0o077 == (out / "config.json").stat().st_mode & 0o077
    assert set(json.loads((out / "source.json").read_bytes())["files"]) == set(contents(out)) - {
        "source.json"
    }
    fetch_model.main(arguments)
    assert "is already in" in capsys.readouterr().out

    def other(model: LlamaForCausalLM, state: dict[str, torch.Tensor]) -> None:
        """A copy that loses the state."""

    monkeypatch.setattr(LlamaForCausalLM, "load_state_dict", other)
    arguments[2] = str(tmp_path / "refused" / "small")
    assert "the saved model must give the logits of small.gguf" in refusal(
        fetch_model.main, arguments, capsys
    )
    assert list((tmp_path / "refused").iterdir()) == []


@pytest.mark.parametrize("status", [0, 1])
def test_pip_downloads_without_dependencies(
    status: int, monkeypatch: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def pip(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        assert {"download", "--no-deps", ":all:"} < set(command) and command[-1] == "a==1"
        if status == 0:
            (tmp_path / "a-1.whl").touch()
        return subprocess.CompletedProcess(command, status, stderr="WARNING: x\nERROR: no network\n")

    monkeypatch.setattr(subprocess, "run", pip)
    assert wheels.download("a==1", tmp_path) == (None if status else tmp_path / "a-1.whl")
    assert capsys.readouterr().err == ("ERROR: no network\n" if status else "")


@pytest.mark.parametrize("name", ["fetch_ml100k.py", "fetch_model.py"])
def test_as_a_command(name: str, tmp_path: Path) -> None:
    """From any folder, the shared module is found."""
    command = [sys.executable, ROOT / "process" / name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "--out FOLDER" in done.stdout, done.stderr

"""Where a checkpoint is looked for: a folder, the cache, the hub; and what works without a network (R23)."""

from __future__ import annotations

import socket
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from legorec.lm import pretrained
from legorec.lm.lora import load_adapter, save_adapter
from legorec.lm.pretrained import PretrainedError, find_pretrained
from tests.lm.adapters import CHOSEN, IDS, LENGTHS, states, upper


class Response:
    """As much of one as the errors of the hub look at."""

    headers: dict[str, str] = {}
    status_code = 403
    request = None


def downloads(monkeypatch, cached=None, fetched=None):
    """Stand in for the hub; an exception is raised, a folder given. Returns the calls."""
    calls = []

    def snapshot_download(name, local_files_only=False, **chosen):
        calls.append((name, local_files_only))
        assert chosen == {"allow_patterns": pretrained.FILES, "ignore_patterns": pretrained.DOUBLES}
        answer = cached if local_files_only else fetched
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    def model_info(hub, name, timeout):
        assert timeout == constants.HF_HUB_ETAG_TIMEOUT
        if isinstance(fetched, Exception):
            raise fetched

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return calls


NOT_CACHED = errors.LocalEntryNotFoundError("not in the cache")


def test_a_folder_comes_first(folder, monkeypatch):
    calls = downloads(monkeypatch)
    monkeypatch.chdir(folder.parent)
    assert find_pretrained("llama").folder == Path("llama")
    assert find_pretrained(str(folder)).name == str(folder)
    assert not calls


@pytest.mark.parametrize("name", ["/none/llama", "./llama", "../llama", "~/llama", "a/b/c", "weights/llama"])
def test_a_path_to_nowhere_is_not_asked_for(tmp_path, monkeypatch, name):
    calls = downloads(monkeypatch)
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PretrainedError, match=f"there is no folder {name}; put the model's .* --lm_path"):
        find_pretrained(name)
    assert not calls


@pytest.mark.parametrize("name", ["gpt2", "huggyllama/llama-7b"])
def test_the_cache_comes_before_the_network(folder, monkeypatch, tmp_path, name):
    calls = downloads(monkeypatch, cached=folder)
    monkeypatch.chdir(tmp_path)
    found = find_pretrained(name)
    assert (found.folder, found.name, calls) == (folder, name, [(name, True)])


def test_what_is_cached_in_part_is_fetched(folder, checkpoint, monkeypatch):
    (folder / "model.safetensors").unlink()
    whole_folder = checkpoint("llama").folder
    calls = downloads(monkeypatch, cached=folder, fetched=whole_folder)
    assert find_pretrained("huggyllama/llama-7b").folder == whole_folder
    assert [local for _, local in calls] == [True, False]


@pytest.mark.parametrize("value", ["1", "TRUE"])
def test_r23_offline_names_the_command(monkeypatch, value):
    calls = downloads(monkeypatch, cached=NOT_CACHED)
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    command = "offline; fetch it beforehand: hf download huggyllama/llama-7b --local-dir weights/llama-7b"
    with pytest.raises(PretrainedError, match=command):
        find_pretrained("huggyllama/llama-7b")
    assert [local for _, local in calls] == [True]


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (errors.GatedRepoError("403", response=Response()),
         "is gated: accept its terms .* log in with `hf auth login`, and fetch it: hf download meta/x "),
        (errors.RepositoryNotFoundError("404 Client Error\nmore", response=Response()),
         "is not a folder, and the hub does not provide it: 404 Client Error$"),
        (ConnectionError("no route"), r"out of reach \(no route\); where it is not: hf download meta/x --l"),
        (errors.LocalEntryNotFoundError("no route"), r"out of reach \(no route\); where it is not: hf "),
        (TimeoutError(), r"the hub is out of reach \(TimeoutError\); where it is not: hf download meta/x"),
    ],
)  # fmt: skip
def test_r23_out_of_reach(monkeypatch, answer, match):
    downloads(monkeypatch, cached=NOT_CACHED, fetched=answer)
    with pytest.raises(PretrainedError, match=match):
        find_pretrained("meta/x")


def test_no_name_of_the_hub(monkeypatch):
    downloads(monkeypatch, cached=errors.HFValidationError("Repo id must use alphanumeric chars"))
    with pytest.raises(
        PretrainedError, match="'no such model' is neither a folder nor a name on the hub: Repo id"
    ):
        find_pretrained("no such model")


def test_what_is_fetched_holds_no_pickles_and_nothing_twice():
    from huggingface_hub.utils import filter_repo_objects

    there = ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "vocab.txt"]
    there += ["tokenizer.json", "tokenizer.model", "modules.json", "1_Pooling/config.json"]
    other = ["pytorch_model.bin", "consolidated.safetensors", "original/consolidated.00.pth", "modeling.py"]
    other += ["onnx/model.safetensors", "tf_model.h5"]
    kept = filter_repo_objects(
        [*there, *other], allow_patterns=pretrained.FILES, ignore_patterns=pretrained.DOUBLES
    )
    assert sorted(kept) == sorted(there)


def test_r23_a_folder_needs_no_network(folder, tmp_path, monkeypatch):
    def refuse(*args):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    found = find_pretrained(str(folder))
    model = upper(found)
    save_adapter(model, found, tmp_path / "adapter", CHOSEN)
    load_adapter(model, found, tmp_path / "adapter")
    assert len(model(states(found), LENGTHS)) == len(IDS) and found.digest()

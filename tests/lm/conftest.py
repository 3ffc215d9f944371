"""Checkpoints to do things to."""

import shutil

import pytest


@pytest.fixture
def folder(checkpoint, tmp_path):
    """A LLaMA to do things to."""
    shutil.copytree(checkpoint("llama").folder, tmp_path / "llama")
    return tmp_path / "llama"


@pytest.fixture
def sharded(checkpoint, tmp_path):
    shutil.copytree(checkpoint("llama", sharded=True).folder, tmp_path / "sharded")
    return tmp_path / "sharded"

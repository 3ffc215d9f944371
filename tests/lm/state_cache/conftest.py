"""Caches of one's own, and digests that no other test remembers."""

import pytest

from tests.support.state_caches import build, identity


@pytest.fixture(autouse=True)
def digests_of_its_own(monkeypatch, tmp_path_factory):
    """Remembered digests of one test are no business of another's, nor of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("remembered")))


@pytest.fixture
def root(tmp_path):
    """A folder with one whole cache."""
    build(tmp_path)
    return tmp_path


@pytest.fixture
def folder(root):
    """That cache."""
    return root / identity().folder_name

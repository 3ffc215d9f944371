"""A small store and a finished run on it, for tests of whole runs."""

import shutil

import pytest

from tests.runs import arguments, finish, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store that no test may change."""
    return write_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def done(tmp_path_factory, store):
    """A finished run that no test may change."""
    return finish(arguments(store, tmp_path_factory.mktemp("runs")))


@pytest.fixture
def copy(tmp_path, done):
    """A finished run to do things to, in its place below a ``runs`` folder of its own."""
    folder = tmp_path / "runs" / done.relative_to(done.parents[2])
    shutil.copytree(done, folder)
    return folder

"""A small store, a finished run on it and tiny checkpoints, for tests of whole runs; and ``--brick``."""

import shutil

import pytest
from hypothesis import HealthCheck, settings

import tests.support.no_network  # noqa: F401 - of all tests, R23
from legorec import registry
from tests.support import stand_in
from tests.support.runs import arguments, finish, write_store
from tests.support.tiny import tiny

# Two tests run side by side on a machine that may be slow: what is held is the law, not its speed.
settings.register_profile("legorec", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("legorec")


def pytest_addoption(parser):
    text = "check this brick in place of the library's own, as in item_encoder=my_lab.gru.GRUItemEncoder"
    parser.addoption("--brick", action="append", default=[], metavar="KIND=PATH", help=text)


def pytest_configure(config):
    """Bricks that are named take the place of the library's in ``tests/support/bricks.py``."""
    if stand_in.available():  # before the first backward pass, when torch counts its devices
        stand_in.install()
    chosen = named_bricks(config)
    for kind, path in chosen:
        if kind not in registry.KINDS or not path:
            kinds = ", ".join(registry.KINDS)
            raise pytest.UsageError(f"--brick must be KIND=PATH with a kind of {kinds}, got {kind}={path}")
        try:
            registry.find(kind, path)
        except registry.RegistryError as error:
            raise pytest.UsageError(f"--brick {kind}={path}: {error}") from error
    if chosen:
        from tests.support import bricks

        bricks.BRICKS[:] = chosen


def pytest_collection_modifyitems(config, items):
    """With ``--brick``, only what is asked of each brick, and of those that were named."""
    chosen = named_bricks(config)
    if chosen:
        asked = [(each, getattr(each, "callspec", None)) for each in items]
        paths = [path for _, path in chosen]
        items[:] = [each for each, call in asked if call and call.params.get("name") in paths]


def named_bricks(config):
    """The kind and the dotted path of each ``--brick``."""
    return [each.partition("=")[::2] for each in config.getoption("--brick")]


@pytest.fixture(scope="module", autouse=True)
def remembered_digests(tmp_path_factory):
    """Digests are remembered for one module: the file of a whole session is long, and written again often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("remembered")))
        yield


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A store that no test may change."""
    return write_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="session")
def done(tmp_path_factory, store):
    """A finished run that no test may change."""
    return finish(arguments(store, tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """``checkpoint("llama", num_hidden_layers=2)``: a checkpoint that no test may change."""
    made = {}

    def make(model_type, **changes):
        key = (model_type, repr(sorted(changes.items())))
        if key not in made:
            made[key] = tiny(model_type, tmp_path_factory.mktemp("tiny") / model_type, **changes)
        return made[key]

    return make


@pytest.fixture
def copy(tmp_path, done):
    """A finished run to do things to, in its place below a ``runs`` folder of its own."""
    folder = tmp_path / "runs" / done.relative_to(done.parents[2])
    shutil.copytree(done, folder)
    return folder

import pytest


@pytest.fixture(autouse=True)
def digests_of_its_own(monkeypatch, tmp_path_factory):
    """Remembered digests of one test are no business of another's, nor of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("remembered")))

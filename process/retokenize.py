"""Add a tokenization to a data store, from the raw texts in it.

python process/retokenize.py --store data/MIND-small --field title --tokenizer bert=FOLDER
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from legorec.data.raw.command import Arguments, print_counts, run
from legorec.data.text import TokenizerChoice
from legorec.data.tokenizations import add_tokenization
from legorec.data.writing.progress import Progress


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = Arguments(__doc__)
    parser.add_argument("--store", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--field", action="append", required=True, help="a text of the items or users; several are taken"
    )
    parser.add_argument("--tokenizer", required=True, help="words, chars, titles or name=FOLDER")
    parser.add_argument("--min_count", type=int, default=1, help="rarer words and characters become [UNK]")
    parser.add_argument("--max_words", type=int, help="largest vocabulary of words or characters")
    args = parser.parse_args(arguments)
    choice = TokenizerChoice.parse(args.tokenizer, args.min_count, args.max_words)
    for field in args.field:
        add_tokenization(args.store, field, choice, Progress.on_stderr())
    print_counts(args.store)


if __name__ == "__main__":
    run(main)

"""Add fields of the users to a data store, from a table of users.

python process/add_users.py --store data/MIND-small --users users.csv --user_category region --user_number age

The users of the store stay the same. Those without a row in the table have no values (--max_missing says how
many may), and rows of other users are counted. A field is named after its column, or given as name=column.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from legorec.data.raw.command import Arguments, print_counts, run
from legorec.data.raw.user_tables import read_user_table, user_arguments
from legorec.data.user_fields import add_user_fields
from legorec.data.writing.progress import Progress


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = Arguments(__doc__)
    parser.add_argument("--store", type=Path, required=True, metavar="FOLDER")
    user_arguments(parser, required=True)
    parser.add_argument(
        "--max_missing", type=float, default=0.01, help="share of the store's users that may have no row"
    )
    args = parser.parse_args(arguments)
    if not 0 <= args.max_missing <= 1:
        raise ValueError(f"`max_missing` must lie between 0 and 1, got {args.max_missing:g}")
    table = read_user_table(args)
    assert table is not None, "--users is required"
    add_user_fields(args.store, table, args.max_missing, Progress.on_stderr())
    print_counts(args.store)


if __name__ == "__main__":
    run(main)

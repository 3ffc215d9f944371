"""List the bricks, or print one: ``python -m legorec.registry [KIND NAME]``."""

from __future__ import annotations

import sys

from legorec.registry.bricks import RegistryError, find
from legorec.registry.listing import details, listing


def main(argv: list[str]) -> int:
    """The exit status: 0 done, 2 a message about what to mend."""
    if len(argv) not in (0, 2):
        print(f"error: give nothing, or KIND NAME as in `item_encoder nrms`, got {argv}", file=sys.stderr)
        return 2
    try:
        print(details(find(*argv)) if argv else listing(), end="")
    except RegistryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

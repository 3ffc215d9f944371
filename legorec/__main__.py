"""``python -m legorec``: the same as the command ``legorec``, also below ``torchrun -m``."""

import sys

from legorec.program import main

if __name__ == "__main__":
    sys.exit(main())

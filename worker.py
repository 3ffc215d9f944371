"""Run an experiment: ``python worker.py --data D.yaml --model M.yaml --exp E.yaml [--key value ...]``.

``--help`` lists the flags; ``--dry_run true`` prints the resolved settings and where each value came from.
``torchrun --nproc-per-node N worker.py ...`` shares the same run among N processes.
"""

from __future__ import annotations

import sys

from legorec.program.worker import main, start

__all__ = ["main"]

if __name__ == "__main__":
    start(sys.argv[1:])

"""``legorec serve``: a run or a saved model behind a port, as HTTP with JSON."""

from __future__ import annotations

import argparse
import threading

from legorec.data.raw.command import Arguments


def arguments() -> Arguments:
    """The command line."""
    parser = Arguments(__doc__, prog="legorec serve")
    parser.add_argument("run", metavar="RUN", help="the folder of a trained run, or of a saved model")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines ask")
    parser.add_argument("--epoch", type=int, help="one of those that the run keeps; left out: the best")
    parser.add_argument("--store", metavar="FOLDER", help="the store, where it is not where it was")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, xpu, xpu:N or mps")
    parser.add_argument("--max_body", type=int, default=1 << 20, metavar="BYTES", help="of a request")
    parser.add_argument("--max_k", type=int, default=1000, metavar="K", help="items of a list")
    parser.add_argument("--max_many", type=int, default=1000, metavar="N", help="histories or items at once")
    return parser


def main(argv: list[str]) -> int:
    """Serve until Ctrl-C or SIGTERM; requests that have come are answered before it ends."""
    args: argparse.Namespace = arguments().parse_args(argv)
    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port must be from 0 to 65535, got {args.port}")
    for name in ("max_body", "max_k", "max_many"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(args, name)}")
    from legorec.recipes.load import load
    from legorec.service.answers import Answers
    from legorec.service.http import Service
    from legorec.service.requests import Limits
    from legorec.signals import Watch

    trained = load(args.run, device=args.device, epoch=args.epoch, store=args.store)
    trained.recommend([])  # what is made once is made before the first request
    if hasattr(trained, "item_vectors"):
        _ = trained.item_vectors
    answers = Answers(trained, Limits(args.max_body, args.max_k, args.max_many))
    try:
        service = Service(answers, (args.host, args.port))
    except OSError as problem:
        answers.close()
        raise ValueError(f"--host {args.host} --port {args.port}: {problem.strerror or problem}") from None
    stopped = threading.Event()
    with Watch(lambda number, again: stopped.set()):
        serving = threading.Thread(target=service.serve_forever, args=(0.1,), name="serve")
        serving.start()
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"http://{host}:{service.server_port} serves {args.run}; Ctrl-C stops it", flush=True)
        stopped.wait()
        service.stop()
        serving.join()
    print("stopped")
    return 0

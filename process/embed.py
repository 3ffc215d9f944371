"""Write a table of vectors, or of semantic codes, and the `embed` layer that names it. One of:

python process/embed.py tokens --checkpoint weights/llama-7b --vocabulary llama --name llama-token
    the token embeddings of a language model, read without the rest of it
python process/embed.py glove --vectors weights/glove --store data/MIND-small --name glove
    GloVe's vectors of the words of a store
python process/embed.py items --checkpoint weights/minilm --store data/ML-100K --name minilm-items \\
    --template "[CLS] {title:30} [SEP]" --pool mean
    a vector for each item of a store: the final states of a language model on its text, pooled; a folder of
    sentence-transformers says how, unless the flags do
python process/embed.py codes --vectors data/embed/minilm-items.safetensors --levels 3 --size 256 --unique \\
    --name semantic-codes
    semantic codes of items, from vectors of them: their clusters, the clusters of the residuals, ...

Each has --help. The table goes to data/embed/NAME.safetensors, the layer to config/embed/NAME.yaml.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # Ctrl-C while torch is imported, which takes seconds, ends it without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import numpy as np
import torch

from legorec.data.glove import Coverage, filled, read_glove, tokens_of
from legorec.data.item_text import ItemText, tokenization_of
from legorec.data.raw.command import Arguments, run
from legorec.data.residual_kmeans import places_among_equals, residual_kmeans
from legorec.data.store import Store
from legorec.data.text_frame import SPECIAL_TOKENS
from legorec.data.vectors import ITEMS, NewTable, Rows, map_items
from legorec.data.writing.progress import Progress
from legorec.lm.free_memory import free_memory
from legorec.lm.item_encoding import ItemEncoding
from legorec.lm.pretrained import DTYPES, Pretrained, find_pretrained
from legorec.lm.stream_plan import Streaming, check_memory, choose_streaming, gigabytes_up, vectors_memory
from legorec.lm.tables import POOLS, item_vectors, randomly_projected, token_table

REMARKS = {
    "tokens": "The token table of a language model; process/embed.py tokens writes it.",
    "glove": "GloVe's vectors of the words of a store; process/embed.py glove writes them.",
    "items": "Vectors of the items of a store, for the source `vectors`; process/embed.py items writes them.",
    "codes": "Semantic codes of the items of a store; process/embed.py codes writes them.",
}


def arguments_of(kind: str) -> Arguments:
    """A parser with the arguments of every kind of table."""
    parser = Arguments(__doc__, prog=f"{Path(sys.argv[0]).name} {kind}")
    parser.add_argument("--name", required=True, help="of the table and of its layer")
    parser.add_argument("--out", type=Path, default="data/embed", metavar="FOLDER", help="for the table")
    parser.add_argument("--config", type=Path, default="config/embed", metavar="FOLDER", help="for the layer")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    return parser


def new_table(
    kind: str, vocabulary: str | None, args: argparse.Namespace, settings: dict[str, Any] | None = None
) -> NewTable:
    """The files to write, after checking that none is in the way."""
    return NewTable(args.name, vocabulary, args.out, args.config, REMARKS[kind], args.overwrite, settings)


def tokens(arguments: Sequence[str]) -> None:
    """A language model's token table."""
    parser = arguments_of("tokens")
    parser.add_argument("--checkpoint", required=True, help="a folder, or a name of the Hugging Face hub")
    parser.add_argument("--vocabulary", required=True, help="the name of its tokenizer in a store")
    parser.add_argument("--dtype", choices=DTYPES, help="of the table; left out, the checkpoint's own")
    args = parser.parse_args(arguments)
    if args.vocabulary == ITEMS:
        raise ValueError(f"`vocabulary` must name a tokenizer; '{ITEMS}' stands for vectors of items")
    new = new_table("tokens", args.vocabulary, args)
    table, rows = token_table(find_pretrained(args.checkpoint), args.dtype)
    new.write(table, rows)
    report(new, table)
    if len(table) != rows.count:
        print(f"  its tokenizer has {rows.count:,} tokens; a word-level model takes that many rows")


def glove(arguments: Sequence[str]) -> None:
    """GloVe's vectors of the words of a store."""
    parser = arguments_of("glove")
    parser.add_argument(
        "--vectors", type=Path, required=True, metavar="PATH",
        help="GloVe's text file, or a folder with its matrix (see process/fetch_model.py)",
    )  # fmt: skip
    parser.add_argument("--store", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--tokenizer", default="words", help="of the store")
    parser.add_argument(
        "--min_found", type=float, default=0.5, help="share of the words that GloVe must have"
    )
    parser.add_argument("--seed", type=int, default=2023, help="of the vectors of words that GloVe lacks")
    args = parser.parse_args(arguments)
    if not 0 <= args.min_found <= 1:
        raise ValueError(f"`min_found` must be between 0 and 1, got {args.min_found}")
    store = Store.open(args.store)
    words = tokens_of(store, args.tokenizer)
    new = new_table("glove", args.tokenizer, args)
    progress = Progress.on_stderr()
    progress.say(f"looking for {len(words):,} words in {args.vectors}")
    found = read_glove(args.vectors, words)
    coverage = Coverage.of(store, args.tokenizer, words, found)
    if not found or coverage.share < args.min_found:
        raise ValueError(
            f"{args.vectors} has {coverage}; fewer than --min_found ({args.min_found:.0%}) of the words, so "
            "nothing was written: is it of another language?"
        )
    table = torch.from_numpy(filled(words, found, args.seed))
    new.write(table, Rows.of_tokens(store.tokenizer(args.tokenizer)))
    report(new, table)
    print(f"  found: {coverage}; the others are drawn")


def items_parser() -> Arguments:
    """The arguments of vectors of items."""
    parser = arguments_of("items")
    parser.add_argument("--checkpoint", required=True, help="a folder, or a name of the Hugging Face hub")
    parser.add_argument("--store", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--template", required=True, help="such as 'Title: {title:30}'; {field:budget} in tokens"
    )
    parser.add_argument("--prefix", metavar="TEXT", help="an instruction before it, such as 'passage: '")
    parser.add_argument("--prompt", metavar="NAME", help="a prompt of the checkpoint's folder as the prefix")
    parser.add_argument(
        "--special_tokens", choices=SPECIAL_TOKENS, default="tokenizer",
        help="add those that the tokenizer adds, or leave them to the template",
    )  # fmt: skip
    parser.add_argument("--pool", choices=POOLS, help="of an item's tokens; mean if its folder says nothing")
    parser.add_argument(
        "--normalize", action=argparse.BooleanOptionalAction, help="vectors of length 1, after they are cut"
    )
    parser.add_argument("--width", type=int, metavar="N", help="keep the first N numbers (Matryoshka)")
    parser.add_argument(
        "--random_projection", type=int, metavar="SEED",
        help="multiply the vectors by a drawn matrix of their width: a control for tables that were learned",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="of the model; vectors are fp32")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--token_budget", type=int, default=8192, help="tokens that are run at once")
    parser.add_argument(
        "--memory_gb", type=float, metavar="N",
        help="for the model and a batch; more is read layer by layer; left out, what is free",
    )  # fmt: skip
    return parser


def items(arguments: Sequence[str]) -> None:
    """A language model's vector of each item."""
    args = items_parser().parse_args(arguments)
    device = usable(args.device)
    store = Store.open(args.store)
    pretrained = find_pretrained(args.checkpoint)
    encoding = ItemEncoding.chosen(pretrained.folder, vars(args))
    tokenizer = pretrained.tokenizer()
    text = ItemText(args.template, tokenizer, tokenization_of(store, tokenizer, args.checkpoint))
    filled, frame = text.from_store(store), encoding.frame(tokenizer)
    rows = frame.around(filled)
    progress = Progress.on_stderr()
    if encoding.said:
        progress.say(encoding.said)
    progress.say(f"special tokens: {frame.said}")
    streaming = how_to_run(pretrained, rows.lengths, device, args, progress)
    drawn = {} if args.random_projection is None else {"random_projection": args.random_projection}
    new = new_table("items", ITEMS, args, encoding.record(pretrained, rows) | drawn)
    table = item_vectors(
        pretrained, rows, encoding.pool, normalize=encoding.normalize, width=args.width, dtype=args.dtype,
        device=device, token_budget=args.token_budget, streaming=streaming, progress=progress,
    )  # fmt: skip
    if args.random_projection is not None:
        table = randomly_projected(table, args.random_projection)
    new.write(table, Rows.of_items(store))
    report(new, table)
    if empty := int((filled.lengths == 0).sum()):
        alone = "have the vector of what stands around the text" if rows.lengths.min() else "have zeros"
        print(f"  {empty:,} items without a token {alone}")


def how_to_run(
    pretrained: Pretrained,
    lengths: np.ndarray,
    device: torch.device,
    args: argparse.Namespace,
    progress: Progress,
) -> Streaming | None:
    """None where the model fits in memory; otherwise how its layers are read, which is told."""
    on_host = device.type == "cpu"
    needed = vectors_memory(pretrained, lengths, args.dtype, args.token_budget, on_host)
    if args.memory_gb is not None:
        flags = "--token_budget or --dtype"
        check_memory(needed, args.memory_gb, f"run {pretrained.name} in {args.dtype}", "its states", flags)
    given = free_memory(device) if args.memory_gb is None else int(args.memory_gb * 2**30)
    streaming = None if given is None else choose_streaming(needed, given, ahead_is_free=not on_host)
    if streaming is not None and given is not None:
        progress.say(
            f"{pretrained.name} takes {gigabytes_up(needed.whole)} GB, more than the {given / 2**30:.3g} GB "
            f"of memory: its layers are read one at a time, for at most {streaming.shards} batches at once, "
            "with the same result"
        )
    return streaming


def codes(arguments: Sequence[str]) -> None:
    """Semantic codes of items."""
    parser = arguments_of("codes")
    parser.add_argument(
        "--vectors", type=Path, required=True, metavar="FILE",
        help="of the items, row by row: what `items` wrote, items.safetensors of a run in mode export, .npy",
    )  # fmt: skip
    parser.add_argument(
        "--store", type=Path, metavar="FOLDER", help="whose items they are, where the file does not say it"
    )
    parser.add_argument("--levels", type=int, default=3, help="codes of an item")
    parser.add_argument("--size", type=int, default=256, help="different codes of a level")
    parser.add_argument(
        "--unique", action="store_true", help="one more level, which tells items apart that share all codes"
    )
    parser.add_argument("--seed", type=int, default=2023, help="of where the clusters start")
    args = parser.parse_args(arguments)
    vectors, rows = map_items(args.vectors, Store.open(args.store) if args.store else None)
    new = new_table("codes", None, args)
    progress = Progress.on_stderr()
    found = residual_kmeans(vectors, args.levels, args.size, args.seed, progress=progress)
    places, together = places_among_equals(found.codes)
    table, sizes = found.codes, [args.size] * args.levels
    if args.unique and together.max() > 1:
        table, sizes = np.column_stack([table, places]), [*sizes, int(together.max())]
    new.write_codes(table, sizes, rows)
    print(f"{new.path}: {len(table):,} items, {len(sizes)} levels; --embed {new.layer_path}")
    for level, left in enumerate(found.left):
        used = len(np.unique(found.codes[:, level]))
        print(f"  level {level + 1}: {used:,} of {args.size:,} codes used, {left:.1%} of the variance left")
    apart = f"; level {len(sizes)} with {sizes[-1]:,} tells them apart" if len(sizes) > args.levels else ""
    print(f"  {int((together > 1).sum()):,} items share all these codes with another{apart}")
    if rows is None:
        print("  nothing says whose items they are, so only their number will be checked; --store says it")


def usable(name: str) -> torch.device:
    """A device by name, after trying it; ``auto`` takes an accelerator if there is one."""
    if name == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found or torch.device("cpu")
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"`device` '{name}' cannot be used here: {reason}") from None


def report(new: NewTable, table: torch.Tensor) -> None:
    """Print what was written, and how to use it."""
    dtype = str(table.dtype).removeprefix("torch.")
    print(f"{new.path}: {len(table):,} rows, {table.shape[1]} wide, {dtype}; --embed {new.layer_path}")


KINDS: dict[str, Callable[[Sequence[str]], None]] = {
    "tokens": tokens,
    "glove": glove,
    "items": items,
    "codes": codes,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = Arguments(__doc__)
    parser.add_argument("kind", choices=KINDS, help="of table")
    KINDS[parser.parse_args(given[:1]).kind](given[1:])


if __name__ == "__main__":
    run(main)

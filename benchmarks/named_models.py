"""Train every named model of config/model on MovieLens-100K and print test metrics, seconds and parameters.

    make named-models                                         prepares the data, then runs this
    python -m benchmarks.named_models --part words --epoch 8  full training of the word-level and id models

A word-level or id model takes ``--epoch`` passes over the training clicks, a model with a language model at
most ``--lm_steps`` steps, all at the rates that they suggest. Beside the candidates of the data stands the
ranking of all items (``--candidates full``). Finished runs in ``--runs`` are read, without their seconds,
unless ``--again`` is given. A model that fails gets a row too, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.accuracy import measured, once_more
from legorec.compose.documents import read_document
from legorec.recipes.run import run
from legorec.settings import SettingsError, read_command_line
from legorec.settings.families import DEFAULT_FAMILY

MODELS = Path("config/model")
METRICS = ("gauc", "mrr", "ndcg@5", "ndcg@10")
OF_ALL = ("gauc", "mrr", "hit@10", "ndcg@10")
HEADS = [*METRICS, *(f"{name}, all items" for name in OF_ALL), "seconds", "trainable parameters"]
ALL_ITEMS = ["--exp", "config/exp/test.yaml", "--candidates", "full"]
ALL_ITEMS += ["--exp.metrics", f"[{','.join(OF_ALL)}]"]
LANGUAGE_MODELS = ("bert", "plmnr", "llama")
MINILM = Path("weights/minilm")


@dataclass
class Row:
    """The result of one model."""

    name: str
    metrics: dict[str, float] = field(default_factory=dict)
    of_all: dict[str, float] = field(default_factory=dict)  # among all items
    seconds: float | None = None
    parameters: int = 0
    problem: str = ""


def family(name: str) -> str:
    """The kind of language model in a file of config/model, or ``words``."""
    parts = name.split("-")
    first = parts[1] if parts[0] == "joined" else parts[0]
    return first if first in LANGUAGE_MODELS else "words"


def data_of(name: str) -> str:
    """How the name of the data layer ends that a model with a language model reads."""
    text = "llama" if family(name) == "llama" else "bert"
    if not name.startswith("joined"):
        return text
    return "joined-llama" if text == "llama" else "joined"


def names(part: str, pattern: str) -> list[str]:
    """The two-tower models of one part (``words``, ``lm`` or ``all``) whose name matches."""
    files = {path.stem: read_document(str(path), []).tree for path in sorted(MODELS.glob("*.yaml"))}
    found = [name for name, tree in files.items() if tree.get("family", DEFAULT_FAMILY) == DEFAULT_FAMILY]
    parts = {"all": lambda name: True, "words": lambda name: family(name) == "words"}
    parts["lm"] = lambda name: family(name) != "words"
    return [name for name in found if parts[part](name) and fnmatch.fnmatch(name, pattern)]


def language_model(name: str, llama: Path) -> list[str]:
    """The flags that name a language model, its text and its cache."""
    folder = llama if family(name) == "llama" else MINILM
    flags = {
        "data": f"config/data/movielens-{data_of(name)}.yaml",
        "model": MODELS / f"{name}.yaml",
        "llm_ver": folder.name,
        "lm_path": folder,
        "cache": f"{folder}-split",
    }
    return [part for key, value in flags.items() for part in (f"--{key}", str(value))]


def command(name: str, options: argparse.Namespace) -> list[str]:
    """The worker's command line for one model."""
    shared = ["--runs", str(options.runs), "--seed", str(options.seed), "--patience", str(options.patience)]
    if family(name) != "words":
        steps = ["--epoch", "1", "--epoch_batch", str(options.lm_steps), "--batch_size", "64"]
        layer = [] if "iisan" in name else ["--layer", "-1"]
        exp = ["--exp", "config/exp/tt-llm.yaml"]
        return [*language_model(name, options.llama), *exp, *layer, *steps, *shared]
    layers = {
        "data": "config/data/movielens.yaml",
        "model": MODELS / f"{name}.yaml",
        "exp": "config/exp/tt-nrms.yaml",
    }
    if name.startswith("semantic"):
        layers["embed"] = "config/embed/semantic-codes.yaml"
    if "vectors" in name:
        layers["embed"] = "data/embed/minilm-items.yaml"
    named = [part for key, value in layers.items() for part in (f"--{key}", str(value))]
    sizes = ["--epoch", str(options.epoch), "--batch_size", "256"]
    sizes += [] if options.lr is None else ["--lr", str(options.lr)]
    # Attention over all tokens of 50 clicks would take most of the time of all models together.
    sizes += ["--data.history.max_length", "20"] if name.startswith("flatten") else []
    return [*named, *sizes, *shared]


def trained(name: str, options: argparse.Namespace, baselines: dict[str, Row]) -> Row:
    """Train and test one model; a problem that the user can fix is reported in its row."""
    try:
        result = measured(command(name, options), options.again)
        whole = measured(once_more(command(name, options), ALL_ITEMS), options.again)
    except (SettingsError, ValueError, OSError) as error:
        return Row(name, problem=" ".join(str(error).split()))
    for each, report in result["baselines"].items():
        baselines[each] = Row(each, report["metrics"], whole["baselines"][each]["metrics"])
    found = result["test"]["metrics"], whole["test"]["metrics"]
    return Row(name, *found, result.get("seconds"), result["trainable_parameters"])


def table(rows: list[Row], baselines: dict[str, Row]) -> str:
    """A Markdown table, with the untrained baselines at the end."""
    lines = [f"| model | {' | '.join(HEADS)} |", f"|---|{'---:|' * len(HEADS)}"]
    for row in [*rows, *baselines.values()]:
        if row.problem:
            lines.append(f"| {row.name} | failed: {row.problem} |{' |' * (len(HEADS) - 1)}")
            continue
        cells = [f"{row.metrics[name]:.4f}" for name in METRICS]
        cells += [f"{row.of_all[name]:.4f}" for name in OF_ALL]
        cells += ["" if row.seconds is None else f"{row.seconds:.0f}"]
        cells += [f"{row.parameters:,}" if row.parameters else ""]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def prepare(chosen: list[str], options: argparse.Namespace) -> None:
    """Cache the output of the language models' frozen layers, once for each model."""
    for prefix, users in (("bert", ("bert", "plmnr")), ("llama", ("llama",))):
        if not any(family(name) in users for name in chosen):
            continue
        for model, layers in (
            (f"{prefix}-naml", ["--exp.cache.layers", "[-1]"]),
            (f"{prefix}-iisan-naml", []),
        ):
            exp = ["--exp", f"config/exp/{prefix}-split.yaml", "--runs", str(options.runs)]
            run(read_command_line([*language_model(model, options.llama), *exp, *layers]))


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["all", "words", "lm"], default="all")
    parser.add_argument("--only", default="*", help="a pattern of names, such as 'lego_*_id'")
    parser.add_argument("--epoch", type=int, default=1, help="passes of word-level and id models")
    parser.add_argument("--patience", type=int, default=2, help="epochs without a better dev gauc")
    parser.add_argument("--lr", type=float, help="of word-level and id models; as each suggests if none")
    parser.add_argument("--llama", type=Path, default=Path("weights/smollm2"), help="a small LLaMA")
    parser.add_argument("--lm_steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--again", action="store_true", help="train finished runs again")
    parser.add_argument("--runs", type=Path, default=Path("runs/named-models"))
    parser.add_argument("--out", type=Path, help="also write the table here")
    options = parser.parse_args(argv)
    chosen = names(options.part, options.only)
    if not chosen:
        parser.error(f"no model of {MODELS} matches {options.only!r}")
    begin = time.perf_counter()
    prepare(chosen, options)
    baselines: dict[str, Row] = {}
    rows = []
    for number, name in enumerate(chosen, 1):
        print(f"== {number}/{len(chosen)} {name}", flush=True)
        rows.append(trained(name, options, baselines))
        if options.out:  # a table of what is done, should the rest be cut off
            options.out.write_text(table(rows, baselines) + "\n", encoding="utf-8")
    print(table(rows, baselines))
    failed = sum(bool(row.problem) for row in rows)
    print(f"{len(rows)} models, {failed} failed, {(time.perf_counter() - begin) / 60:.0f} minutes")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

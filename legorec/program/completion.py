"""``legorec completion bash``: a script that completes commands, names and flags without starting Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from legorec.compose import LAYERS, WORKER_FLAGS
from legorec.program import COMMANDS, graph, predict, save, serve
from legorec.program.data import processors
from legorec.program.found import bricks, configs
from legorec.settings.exp_layer import ExpSettings
from legorec.settings.schema import DataSettings, EmbedSettings
from legorec.shipped import shipped

SHELLS = ("bash", "zsh")
WITH_FLAGS = {"serve": serve, "graph": graph, "save": save, "predict": predict}
SCRIPT = """\
# Completion of legorec for @SHELL@, made by `legorec completion @SHELL@`:
#     source <(legorec completion @SHELL@)
@BEFORE@_legorec() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" words="" file
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="@COMMANDS@"
    else
        case "$prev" in
@LAYERS@
            --device) words="auto cpu cuda mps xpu" ;;
            *)
                case "${COMP_WORDS[1]}" in
                    run|validate) words="@FLAGS@" ;;
                    data) [ "$COMP_CWORD" -eq 2 ] && words="@PROCESSORS@" ;;
                    ls) words="@KINDS@" ;;
                    show) words="@NAMES@" ;;
                    completion) words="@SHELLS@" ;;
@OPTIONS@
                esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur") $(compgen -f -- "$cur"))
}
complete -o filenames -F _legorec legorec
"""
LAYER = """\
            --@LAYER@)
                words="@NAMES@"
                for file in config/@LAYER@/*.yaml; do
                    [ -e "$file" ] && file="${file##*/}" && words="$words ${file%.yaml}"
                done ;;"""


def main(argv: list[str]) -> int:
    """Print the script."""
    if len(argv) != 1 or argv[0] not in SHELLS:
        raise ValueError(f"name a shell, {' or '.join(SHELLS)}")
    print(script(argv[0]), end="")
    return 0


def script(shell: str) -> str:
    """The script for a shell; zsh reads that of bash."""
    names = sorted({*bricks(), *(name for layer in LAYERS for name in configs(layer))})
    filled = {
        "SHELL": shell,
        "BEFORE": "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else "",
        "COMMANDS": " ".join(COMMANDS),
        "LAYERS": "\n".join(
            LAYER.replace("@LAYER@", layer).replace("@NAMES@", " ".join(configs(layer))) for layer in LAYERS
        ),
        "FLAGS": " ".join(f"--{flag}" for flag in flags()),
        "OPTIONS": "\n".join(
            f'                    {name}) words="{" ".join(module.arguments().flags)}" ;;'
            for name, module in WITH_FLAGS.items()
        ),
        "PROCESSORS": " ".join(processors()),
        "KINDS": " ".join(
            ["models", *(layer for layer in LAYERS if layer != "model"), "bricks", "stores", "runs"]
        ),
        "NAMES": " ".join(names),
        "SHELLS": " ".join(SHELLS),
    }
    return re.sub(r"@([A-Z]+)@", lambda found: filled[found[1]], SCRIPT)


def flags() -> list[str]:
    """Layers, the worker's flags, the keys that configuration files read, and dotted places of the schema."""
    keys = set()
    for file in shipped("config").rglob("*.yaml"):
        keys |= set(re.findall(r"\$\{(\w+)[:}]", file.read_text(encoding="utf-8")))
    dotted = [
        f"{layer}.{place}"
        for layer, schema in (("data", DataSettings), ("embed", EmbedSettings), ("exp", ExpSettings))
        for place in places(schema)
    ]
    return [*LAYERS, "settings", "help", *sorted({*WORKER_FLAGS, *keys} - {*LAYERS}), *dotted]


def places(schema: type[BaseModel]) -> Iterator[str]:
    """The dotted places of a schema that hold values."""
    for name, field in schema.model_fields.items():
        inner = [
            each
            for each in _parts(field.annotation)
            if isinstance(each, type) and issubclass(each, BaseModel)
        ]
        if inner:
            yield from (f"{name}.{place}" for each in inner for place in places(each))
        else:
            yield name


def _parts(annotation: Any) -> list[Any]:
    """The members of a union, without descending into lists and mappings."""
    from types import UnionType
    from typing import Annotated, Union, get_args, get_origin

    origin = get_origin(annotation)
    if origin is Annotated:
        return _parts(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [part for each in get_args(annotation) for part in _parts(each)]
    return [annotation]

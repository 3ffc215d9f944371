"""``legorec doctor``: what this installation has, and what it lacks."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from legorec.shipped import HERE, shipped

GIB = 2**30


def main(argv: list[str]) -> int:
    """Print versions, devices, memory, disk and extras; 2 where something that is needed is missing."""
    if argv:
        raise ValueError(f"doctor takes nothing, got {' '.join(argv)}")
    missing = [name for name in needed() if not _there(name)]
    print(f"legorec {version('legorec')} in {HERE}")
    print(f"python {platform.python_version()} on {platform.platform()}")
    print(f"configuration in {shipped('config')}\nprocessors in {shipped('process')}")
    for name in needed():
        print(f"  {name:<16} {_there(name) or 'MISSING'}")
    print("extras")
    for extra, names in extras().items():
        lacking = [name for name in names if not _there(name)]
        said = f"lacks {', '.join(lacking)}: pip install 'legorec[{extra}]'" if lacking else "there"
        print(f"  {extra:<16} {said}")
    if "torch" not in missing:
        print("\n".join(["devices", *devices()]))
    print(f"memory {memory() / GIB:.1f} GiB, {os.cpu_count()} cores")
    print(f"disk {shutil.disk_usage(Path.cwd()).free / GIB:.1f} GiB free in {Path.cwd()}")
    if missing:
        print(
            f"error: {', '.join(missing)}: not installed; pip install legorec brings all that is needed",
            file=sys.stderr,
        )
    return 2 if missing else 0


def _requirements() -> list[tuple[str, str]]:
    """Name and extra (empty: needed) of all that the installed package asks for."""
    found = []
    for each in requires("legorec") or []:
        name, _, marker = each.partition(";")
        extra = marker.partition("extra ==")[2].strip().strip("\"'")
        found.append((name.strip().split(">")[0].split("=")[0].split("<")[0].split("[")[0].strip(), extra))
    return found


def needed() -> list[str]:
    """Packages that every installation has."""
    return [name for name, extra in _requirements() if not extra]


def extras() -> dict[str, list[str]]:
    """Packages of each extra."""
    found: dict[str, list[str]] = {}
    for name, extra in _requirements():
        if extra:
            found.setdefault(extra, []).append(name)
    return found


def _there(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return "there" if find_spec(name.replace("-", "_")) else None


def devices() -> list[str]:
    """A line for each device that torch can compute on."""
    import torch

    lines = [f"  cpu              {torch.get_num_threads()} threads, torch {torch.__version__}"]
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        lines.append(f"  cuda:{number}           {facts.name}, {facts.total_memory / GIB:.0f} GiB, {bf16}")
    if torch.backends.mps.is_available():
        lines.append("  mps")
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        lines += [f"  xpu:{number}" for number in range(torch.xpu.device_count())]
    return lines


def memory() -> int:
    """Bytes of this machine, or of its container."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

"""Which kernels an accelerator may take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kernels(tf32: bool = False, deterministic: bool = False) -> Iterator[None]:
    """Within the block, the kernels that these settings allow; afterwards, those of before. CPU: no change
    but that an operation without a deterministic kernel raises.

    Args:
        tf32: products of float32 keep 10 of 23 bits of their factors (NVIDIA, from Ampere on). Of themselves
            torch and cuDNN would do so in convolutions and recurrent layers, but not in matrix products.
        deterministic: the same numbers in every run on the same machine, at some cost in speed.
    Raises:
        RuntimeError: of torch, naming an operation that has no deterministic kernel.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, torch.are_deterministic_algorithms_enabled()
    # cuBLAS reads it when it starts, and torch refuses its products without it.
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = tf32
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, was_deterministic = before
        torch.use_deterministic_algorithms(was_deterministic)
        if deterministic and workspace is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)

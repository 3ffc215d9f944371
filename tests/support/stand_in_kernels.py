"""What torch has for real devices alone, for ``stand_in``: GRU cells, autocast, pinned memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

# What autocast runs in its dtype, of what CUDA's does.
LOWERED = (
    *("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "matmul", "linear", "prelu"),
    "scaled_dot_product_attention",
)
# What it runs in float32.
RAISED = (
    *("exp", "expm1", "log", "log1p", "reciprocal", "rsqrt", "softplus", "layer_norm"),
    *("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "softmax.int", "log_softmax.int"),
    *("sum", "sum.dim_IntList", "prod", "cumsum", "nll_loss", "mse_loss", "binary_cross_entropy_with_logits"),
    *("cosine_similarity", "kl_div"),
)
REFUSED = ("binary_cross_entropy",)
_registered: list[torch.library.Library] = []


def register_autocast(device_type: str) -> None:
    """Cast kernels for the private backend; once per process."""
    key = "AutocastPrivateUse1"
    others, lowered = torch.library.Library("_", "IMPL", key), torch.library.Library("aten", "IMPL", key)
    others.fallback(torch.library.fallthrough_kernel)
    for names, raised in ((LOWERED, False), (RAISED, True)):
        for name in names:
            packet, _, overload = name.partition(".")
            operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
            lowered.impl(name, _cast_first(operation, device_type, raised))
    for name in REFUSED:
        lowered.impl(name, _refused)
    _registered.extend((others, lowered))


def _refused(*_: Any, **__: Any) -> Any:
    raise RuntimeError("binary_cross_entropy is unsafe under autocast, as on CUDA")


def _cast_first(operation: Any, device_type: str, raised: bool) -> Callable[..., Any]:
    autocast = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def kernel(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.float32 if raised else torch.get_autocast_dtype(device_type)

        def cast(each: Tensor) -> Tensor:
            there = each.device.type == device_type
            ours = each.dtype in (torch.float32, torch.float16, torch.bfloat16)
            return each.to(dtype) if there and ours else each

        with torch._C._ExcludeDispatchKeyGuard(autocast):
            args, kwargs = tree_map_only(Tensor, cast, (args, kwargs))
            return operation(*args, **kwargs)

    return kernel


def gru_cell(
    of_input: Tensor,
    of_state: Tensor,
    state: Tensor,
    bias: Tensor | None = None,
    state_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of a GRU from its two matrix products, and what the backward pass needs."""
    if bias is not None:
        of_input = of_input + bias
    if state_bias is not None:
        of_state = of_state + state_bias
    (reset_i, update_i, new_i), (reset_s, update_s, new_s) = of_input.chunk(3, 1), of_state.chunk(3, 1)
    reset, update = (reset_i + reset_s).sigmoid(), (update_i + update_s).sigmoid()
    new = (new_i + reset * new_s).tanh()
    return new + update * (state - new), torch.cat([reset, update, new, state, new_s], 1)


def gru_cell_backward(grad: Tensor, workspace: Tensor, has_bias: bool) -> tuple[Tensor | None, ...]:
    reset, update, new, state, new_s = workspace.chunk(5, 1)
    grad_update = grad * (state - new) * update * (1 - update)
    grad_new = grad * (1 - update) * (1 - new.square())
    grad_reset = grad_new * new_s * reset * (1 - reset)
    of_input = torch.cat([grad_reset, grad_update, grad_new], 1)
    of_state = torch.cat([grad_reset, grad_update, grad_new * reset], 1)
    biases = (of_input.sum(0), of_state.sum(0)) if has_bias else (None, None)
    return of_input, of_state, grad * update, *biases


OWN: dict[str, Callable[..., Any]] = {
    "_thnn_fused_gru_cell": gru_cell,
    "_thnn_fused_gru_cell_backward": gru_cell_backward,
}


@contextmanager
def patched(device_type: str, pinned: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Functions of torch that no dispatch reaches: ``torch.tensor`` on the device, and pinned memory."""
    tensor, empty = torch.tensor, torch.empty

    def made(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        there = device is not None and torch.device(device).type == device_type
        return tensor(*args, **kwargs).to(device) if there else tensor(*args, device=device, **kwargs)

    def emptied(*args: Any, pin_memory: bool = False, **kwargs: Any) -> Tensor:
        return pinned(empty(*args, **kwargs)) if pin_memory else empty(*args, **kwargs)

    torch.tensor, torch.empty = made, emptied
    try:
        yield
    finally:
        torch.tensor, torch.empty = tensor, empty

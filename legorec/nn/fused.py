"""Operations with a backward pass written by hand, where autograd's own costs more than the result.

Measured on two cores with 15,000 tokens of width 64 (torch 2.13): ``tanh`` takes 4.0 ms where ``sigmoid``
takes 0.8; softmax over rows shorter than a vector register 13.5 ms where its four steps take 2.4. None of
these functions can be differentiated twice.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def gather_rows(table_RD: Tensor, index: Tensor) -> Tensor:
    """``table[index]`` whose gradient is summed in the same order on every run.

    On the CPU ``index_select`` sums in a third of the time that ``embedding`` takes; on other devices only
    the latter is deterministic.
    """
    if table_RD.device.type != "cpu":
        return F.embedding(index, table_RD)
    return table_RD.index_select(0, index.reshape(-1)).view(*index.shape, table_RD.shape[1])


def without_autocast(function: type[Function], *inputs: Any) -> Tensor:
    """Apply a function to tensors that autocast would lower, lowered, with autocast itself out of the way."""
    device = next(part.device.type for part in inputs if isinstance(part, Tensor))
    if not torch.is_autocast_enabled(device):
        return function.apply(*inputs)
    dtype = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        return function.apply(
            *(
                part.to(dtype) if isinstance(part, Tensor) and part.is_floating_point() else part
                for part in inputs
            )
        )


class PermuteRows(Function):
    """Rows in another order; the backward pass is a gather by the inverse order instead of a scatter."""

    @staticmethod
    def forward(ctx: Any, values_TD: Tensor, order_T: Tensor, inverse_T: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_T)
        return values_TD.index_select(0, order_T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor, None, None]:
        (inverse_T,) = ctx.saved_tensors
        return grad_TD.index_select(0, inverse_T), None, None


class AdditiveLogits(Function):
    """``tanh(V W' + b) q`` for (T, D) values, (A, D) weights, (A,) bias and query.

    Written as ``2 s - 1`` with ``s = sigmoid(2 (V W' + b))``, the same function. The gradient never forms the
    (T, A) product of the outer gradient and the query: both are moved to the small sides of the matrix
    products.
    """

    @staticmethod
    def forward(ctx: Any, values_TD: Tensor, weight_AD: Tensor, bias_A: Tensor, query_A: Tensor) -> Tensor:
        gate_TA = torch.addmm(bias_A, values_TD, weight_AD.t()).mul_(2.0).sigmoid_()
        ctx.save_for_backward(values_TD, weight_AD, query_A, gate_TA)
        return (gate_TA @ query_A).mul_(2.0).sub_(query_A.sum())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values_TD, weight_AD, query_A, gate_TA = ctx.saved_tensors
        grad_query_A = (grad_T @ gate_TA).mul_(2.0).sub_(grad_T.sum())
        slope_TA = torch.addcmul(gate_TA, gate_TA, gate_TA, value=-1.0)  # a quarter of the derivative of tanh
        query_A = query_A * 4.0
        grad_values_TD = (slope_TA @ (weight_AD * query_A.unsqueeze(1))).mul_(grad_T.unsqueeze(1))
        grad_weight_AD = (slope_TA.t() @ (values_TD * grad_T.unsqueeze(1))).mul_(query_A.unsqueeze(1))
        grad_bias_A = (grad_T @ slope_TA).mul_(query_A)
        return grad_values_TD, grad_weight_AD, grad_bias_A, grad_query_A


class SegmentSoftmax(Function):
    """Softmax within each packed row, by way of the padded (R, L) form of one number per token."""

    @staticmethod
    def forward(
        ctx: Any, logits_T: Tensor, slots_T: Tensor, rows_T: Tensor, shape: tuple[int, int]
    ) -> Tensor:
        padded = logits_T.new_full((shape[0] * shape[1],), torch.finfo(logits_T.dtype).min)
        padded.index_copy_(0, slots_T, logits_T)
        weights_T = padded.view(shape).softmax(1).view(-1).index_select(0, slots_T)
        ctx.save_for_backward(weights_T, slots_T, rows_T)
        ctx.shape = shape
        return weights_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T: Tensor) -> tuple[Tensor, None, None, None]:
        weights_T, slots_T, rows_T = ctx.saved_tensors
        product_T = weights_T * grad_T
        padded = product_T.new_zeros(ctx.shape[0] * ctx.shape[1]).index_copy_(0, slots_T, product_T)
        sums_R = padded.view(ctx.shape).sum(1)
        return product_T - weights_T * sums_R.index_select(0, rows_T), None, None, None


class SegmentSum(Function):
    """Weighted sum of each packed row, without forming the weighted values."""

    @staticmethod
    def forward(ctx: Any, values_TD: Tensor, weights_T: Tensor, offsets: Tensor, rows_T: Tensor) -> Tensor:
        ctx.save_for_backward(values_TD, weights_T, rows_T)
        every = torch.arange(len(values_TD), device=values_TD.device)
        return F.embedding_bag(
            every, values_TD, offsets, mode="sum", per_sample_weights=weights_T, include_last_offset=True
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_RD: Tensor) -> tuple[Tensor, Tensor, None, None]:
        values_TD, weights_T, rows_T = ctx.saved_tensors
        grad_TD = grad_RD.index_select(0, rows_T)
        grad_weights_T = (grad_TD * values_TD).sum(1)
        return grad_TD.mul_(weights_T.unsqueeze(1)), grad_weights_T, None, None


class ShiftedProducts(Function):
    """Convolution of packed rows: one matrix product per tap, on shifted views instead of copies.

    ``weight`` is (K, E, D). ``heads[s - 1]`` and ``tails[s - 1]`` list the first and last ``s`` tokens of
    each row, the ones whose neighbour ``s`` places away belongs to another row.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values_TE: Tensor,
        weight_KED: Tensor,
        bias_D: Tensor,
        heads: list[Tensor],
        tails: list[Tensor],
    ) -> Tensor:
        ctx.save_for_backward(values_TE, weight_KED)
        ctx.heads, ctx.tails = heads, tails
        middle = len(weight_KED) // 2
        out_TD = torch.addmm(bias_D, values_TE, weight_KED[middle])
        for shift in range(1, min(middle, len(values_TE) - 1) + 1):
            before_TE = values_TE.index_fill(0, tails[shift - 1], 0.0)
            out_TD[shift:].addmm_(before_TE[:-shift], weight_KED[middle - shift])
            after_TE = values_TE.index_fill(0, heads[shift - 1], 0.0)
            out_TD[:-shift].addmm_(after_TE[shift:], weight_KED[middle + shift])
        return out_TD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        values_TE, weight_KED = ctx.saved_tensors
        middle = len(weight_KED) // 2
        grad_weight_KED = torch.zeros_like(weight_KED)
        torch.mm(values_TE.t(), grad_TD, out=grad_weight_KED[middle])
        grad_TE = grad_TD @ weight_KED[middle].t() if ctx.needs_input_grad[0] else None
        for shift in range(1, min(middle, len(values_TE) - 1) + 1):
            # The token before: a gradient at a row's head reaches no one.
            reached_TD = grad_TD.index_fill(0, ctx.heads[shift - 1], 0.0)
            torch.mm(values_TE[:-shift].t(), reached_TD[shift:], out=grad_weight_KED[middle - shift])
            if grad_TE is not None:
                grad_TE[:-shift].addmm_(reached_TD[shift:], weight_KED[middle - shift].t())
            reached_TD = grad_TD.index_fill(0, ctx.tails[shift - 1], 0.0)
            torch.mm(values_TE[shift:].t(), reached_TD[:-shift], out=grad_weight_KED[middle + shift])
            if grad_TE is not None:
                grad_TE[shift:].addmm_(reached_TD[:-shift], weight_KED[middle + shift].t())
        return grad_TE, grad_weight_KED, grad_TD.sum(0), None, None


class ShortAttention(Function):
    """Scaled dot-product self-attention within rows of equal length, group by group.

    ``qkv`` (T, 3 * heads * width) holds the groups end to end; ``groups`` gives each as (rows, length).
    ``bias`` (B, L) is added to the logits of one group's keys.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv_TX: Tensor, groups: list[tuple[int, int]], heads: int, bias_BL: Tensor | None
    ) -> Tensor:
        width = qkv_TX.shape[1] // (3 * heads)
        out_TD = qkv_TX.new_empty(len(qkv_TX), heads * width)
        saved = []
        start = 0
        for rows, length in groups:
            stop = start + rows * length
            source = qkv_TX[start:stop].view(rows, length, 3, heads, width).permute(2, 0, 3, 1, 4)
            parts = qkv_TX.new_empty(3, rows, heads, length, width)
            torch.mul(source[0], width**-0.5, out=parts[0])
            parts[1:].copy_(source[1:])
            query, key, value = parts.view(3, rows * heads, length, width)
            weights = torch.bmm(query, key.transpose(1, 2))
            if bias_BL is not None:
                weights.view(rows, heads, length, length).add_(bias_BL[:, None, None, :])
            weights.sub_(weights.amax(2, keepdim=True)).exp_()
            weights.div_(weights.sum(2, keepdim=True))
            out = torch.bmm(weights, value)
            out_TD[start:stop].view(rows, length, heads, width).copy_(
                out.view(rows, heads, length, width).transpose(1, 2)
            )
            saved += [parts, weights, out]
            start = stop
        ctx.save_for_backward(*saved)
        ctx.groups, ctx.heads, ctx.width = groups, heads, width
        return out_TD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor, None, None, None]:
        heads, width = ctx.heads, ctx.width
        grad_qkv_TX = grad_TD.new_empty(len(grad_TD), 3 * heads * width)
        start = 0
        for number, (rows, length) in enumerate(ctx.groups):
            parts, weights, out = ctx.saved_tensors[3 * number : 3 * number + 3]
            stop = start + rows * length
            query, key, value = parts.view(3, rows * heads, length, width)
            grad = grad_TD[start:stop].view(rows, length, heads, width).transpose(1, 2)
            grad = grad.reshape(rows * heads, length, width)
            grads = torch.empty_like(parts)
            grad_query, grad_key, grad_value = grads.view(3, rows * heads, length, width)
            torch.bmm(weights.transpose(1, 2), grad, out=grad_value)
            inner = torch.bmm(grad, value.transpose(1, 2))
            inner.sub_((grad * out).sum(2, keepdim=True)).mul_(weights)
            torch.bmm(inner, key, out=grad_query).mul_(width**-0.5)
            torch.bmm(inner.transpose(1, 2), query, out=grad_key)
            grad_qkv_TX[start:stop].view(rows, length, 3, heads, width).copy_(grads.permute(1, 3, 0, 2, 4))
            start = stop
        return grad_qkv_TX, None, None, None

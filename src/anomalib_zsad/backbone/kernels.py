"""The matrix work of frozen blocks on the CPU, by oneDNN's kernels.

torch sends float32 matrix products on the CPU to MKL, which reaches half of the speed on AMD's processors with AVX-512;
its fused attention stands on them in float32 and is slow in bfloat16. oneDNN's inner product, which torch ships for
compiled graphs, is faster there and fuses bias, activation and residual. Without AVX-512 it is the other way round.
`docs/performance.md` has the figures. Answers are the same within float rounding.

Everything here equals plain torch operations, which are used wherever `usable` says no: on other devices, on processors
without AVX-512, while a graph is traced, compiled or exported, under autocasting, and where torch was built without
oneDNN.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# A tile of attention scores (rows x keys) of this many bytes, and the one that softmax makes of it, stay in the cache.
_TILE_BYTES = 1 << 22
# Below this many keys, torch's fused attention has less to do in each call than the calls themselves cost.
_FEWEST_KEYS = 320


def _available() -> bool:
    try:
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._linear_pointwise is not None  # noqa: SLF001
    except AttributeError:
        return False


_AVAILABLE = _available()


def _fast_in_float32() -> bool:
    """Asked of the processor and never measured, so that a machine always answers with the same last bits."""
    return _AVAILABLE and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


_FAST_FLOAT32 = _fast_in_float32()
_BFLOAT16 = _AVAILABLE and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch has no public name


def usable(x: Tensor) -> bool:
    """Whether `x` is on the CPU in a type that oneDNN has fast kernels for, and is really being computed."""
    return (
        x.device.type == "cpu"
        and ((x.dtype == torch.float32 and _FAST_FLOAT32) or (x.dtype == torch.bfloat16 and _BFLOAT16))
        and not is_traced()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )


def is_traced() -> bool:
    """Whether a graph is being made of what is called, and not an answer."""
    return bool(torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing())


def inner_product(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    """`activation(x @ weight.T + bias)` for x (..., in) and weight (out, in), without gradients.

    Args:
        x: Input; made contiguous, because oneDNN takes a slow path for other strides.
        weight: As of `F.linear`, or what `PackedWeight` made of it.
        bias: Of (out,).
        activation: `"none"`, `"gelu"` (exact) or `"silu"`.
    """
    name, algorithm = {"none": ("none", ""), "gelu": ("gelu", "none"), "silu": ("swish", "")}[activation]
    operator: Any = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - torch has no public name
    return operator(x.contiguous(), weight, bias, name, [], algorithm)


def inner_product_add(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """`residual + x @ weight.T + bias`, without gradients."""
    operator: Any = torch.ops.mkldnn._linear_pointwise.binary  # noqa: SLF001 - torch has no public name
    return operator(x.contiguous(), residual.contiguous(), weight, bias, "add")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` by the faster kernel where no gradients are asked for."""
    if torch.is_grad_enabled() or not usable(x) or weight.dtype != x.dtype:
        return F.linear(x, weight, bias)
    return inner_product(x, weight, bias)


class PackedWeight:
    """A constant weight laid out for oneDNN's kernels, made when it is first asked for.

    A second layout costs the weight's size once more. In bfloat16 that buys a quarter of the time and still leaves less
    than float32 takes; in float32 it would buy a seventh for more than a gigabyte, so there the weight stays as it is.
    Copies and pickles carry no layout, and `forget` drops it when the weight is moved or converted.
    """

    def __init__(self) -> None:
        self._kept: Tensor | None = None

    def __getstate__(self) -> dict[str, None]:
        """What copies and pickles carry: nothing."""
        return {"_kept": None}

    def forget(self) -> None:
        """Drop the layout."""
        self._kept = None

    def of(self, weight: Tensor, rows: int) -> Tensor:
        """The weight (out, in) as `inner_product` takes it, for inputs of about `rows` rows."""
        if weight.dtype != torch.bfloat16:
            return weight
        if self._kept is None:
            self._kept = torch.ops.mkldnn._reorder_linear_weight(weight, rows)  # noqa: SLF001 - torch has no public name
        return self._kept


class FrozenLinearFunction(torch.autograd.Function):
    """`x @ weight.T + bias` whose only gradient is that of `x`: weight and bias are constants."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See the class."""
        ctx.save_for_backward(weight)
        return inner_product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Gradient of x."""
        (weight,) = ctx.saved_tensors
        return inner_product(gradient, weight.t()), None, None


def attention_usable(queries: Tensor, keys: Tensor) -> bool:
    """Whether `attention` is the faster way: many keys, many queries, no gradients."""
    wanted = keys.shape[-2] >= _FEWEST_KEYS and queries.shape[-2] >= _FEWEST_KEYS and usable(queries)
    return wanted and not (torch.is_grad_enabled() and queries.requires_grad)


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention without mask, head by head, so that scores never leave the cache.

    Args:
        queries: (n, heads, length, width).
        keys: (n, heads, key length, width).
        values: The same for values.

    Returns:
        (n, length, heads * width), the heads side by side.
    """
    n, heads, length, width = queries.shape
    answer = queries.new_empty(n, length, heads, width)
    rows = max(1, _TILE_BYTES // (keys.shape[-2] * keys.element_size()))
    for image in range(n):
        for head in range(heads):
            query = (queries[image, head] * width**-0.5).contiguous()
            key, value = keys[image, head].contiguous(), values[image, head].contiguous().t()
            for start in range(0, length, rows):
                scores = F.softmax(inner_product(query[start : start + rows], key), dim=-1)
                answer[image, start : start + rows, head] = inner_product(scores, value)
    return answer.flatten(-2)

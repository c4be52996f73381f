"""Frozen transformer blocks over open_clip's weights."""

from collections.abc import Callable, MutableMapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import kernels
from .config import Activation, TowerConfig

QUICK_GELU_SCALE = 1.702


def quick_gelu(x: Tensor) -> Tensor:
    """`x * sigmoid(1.702 x)`, the activation that OpenAI's CLIP was trained with."""
    return x * torch.sigmoid(QUICK_GELU_SCALE * x)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "gelu": F.gelu, "silu": F.silu}
_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "gelu": torch.ops.aten.gelu_,
    "silu": torch.ops.aten.silu_,
}


class FrozenModule(nn.Module):
    """A module of constants.

    Its tensors are non-persistent buffers: they move with `.to()` and are exported, but are no parameters, reach no
    state dict and no checkpoint. It is in eval mode always.
    """

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    def freeze(self, name: str, value: Tensor) -> None:
        """Keep `value` as the constant `name`."""
        self.register_buffer(name, value.detach().contiguous(), persistent=False)

    def train(self, mode: bool = True) -> "FrozenModule":
        """Stay in eval mode, whatever is asked."""
        del mode
        return super().train(False)


class FrozenLinear(FrozenModule):
    """A linear layer of constants, with whatever follows it done in the same kernel where the device has one.

    Args:
        weight: (out, in).
        bias: (out,).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.freeze("weight", weight)
        self.freeze("bias", bias)
        self._packed = kernels.PackedWeight()

    def forward(self, x: Tensor, activation: str = "none", residual: Tensor | None = None) -> Tensor:
        """`activation(x @ weight.T + bias)`, or `residual + x @ weight.T + bias`.

        Args:
            x: Input (..., in).
            activation: `"none"`, `"gelu"` or `"silu"`.
            residual: (..., out), for layers without an activation.
        """
        if not kernels.usable(x):
            return self._plainly(x, activation, residual)
        if torch.is_grad_enabled() and (x.requires_grad or (residual is not None and residual.requires_grad)):
            answer = _ACTIVATIONS[activation](kernels.FrozenLinearFunction.apply(x, self.weight, self.bias))
            return answer if residual is None else residual + answer
        weight = self._packed.of(self.weight, x.shape[:-1].numel())
        if residual is not None:
            return kernels.inner_product_add(x, weight, self.bias, residual)
        return kernels.inner_product(x, weight, self.bias, activation)

    def _plainly(self, x: Tensor, activation: str, residual: Tensor | None) -> Tensor:
        answer = F.linear(x, self.weight, self.bias)
        if torch.is_grad_enabled() or kernels.is_traced() or (residual is not None and residual.dtype != answer.dtype):
            answer = _ACTIVATIONS[activation](answer)
            return answer if residual is None else residual + answer
        answer = _IN_PLACE[activation](answer)  # nobody else has it: a pass over memory that is in the cache
        return answer if residual is None else answer.add_(residual)

    def _apply(self, fn: Any, recurse: bool = True) -> "FrozenLinear":
        """Forget the layout before a move or a conversion."""
        self._packed.forget()
        return super()._apply(fn, recurse)

    def part(self, x: Tensor, rows: slice) -> Tensor:
        """Some of the outputs: `x @ weight[rows].T + bias[rows]`."""
        weight, bias = self.weight[rows], self.bias[rows]
        if not kernels.usable(x):
            return F.linear(x, weight, bias)
        if torch.is_grad_enabled() and x.requires_grad:
            return kernels.FrozenLinearFunction.apply(x, weight, bias)
        return kernels.inner_product(x, weight, bias)


class FrozenBlock(FrozenModule):
    """One pre-norm residual attention block.

    Args:
        weights: State dict that holds the block under `prefix`; what is taken is removed, to be held once, and may be
            changed.
        prefix: For example `"visual.transformer.resblocks.0"`.
        config: Tower the block is part of.
        activation: Activation of its MLP.
    """

    ln_1_weight: Tensor
    ln_1_bias: Tensor
    ln_2_weight: Tensor
    ln_2_bias: Tensor

    def __init__(
        self, weights: MutableMapping[str, Tensor], prefix: str, config: TowerConfig, activation: Activation
    ) -> None:
        super().__init__()
        self.heads = config.heads
        for kind in ("weight", "bias"):
            self.freeze(f"ln_1_{kind}", weights.pop(f"{prefix}.ln_1.{kind}"))
            self.freeze(f"ln_2_{kind}", weights.pop(f"{prefix}.ln_2.{kind}"))
        names = ("weight", "bias")
        self.attention_in = FrozenLinear(*(weights.pop(f"{prefix}.attn.in_proj_{kind}") for kind in names))
        self.attention_out = FrozenLinear(*(weights.pop(f"{prefix}.attn.out_proj.{kind}") for kind in names))
        fc_weight, fc_bias = (weights.pop(f"{prefix}.mlp.c_fc.{kind}") for kind in names)
        proj_weight, proj_bias = (weights.pop(f"{prefix}.mlp.c_proj.{kind}") for kind in names)
        self.activation = "gelu"
        if activation == "quick_gelu":
            # x * sigmoid(s x) is silu(s x) / s: the scale goes into the weights, and one kernel does the rest.
            # In place: a copy would stand beside the pages of the weights' file, which is mapped as long as any of its
            # tensors lives. The mapping is private, so the file does not change.
            self.activation = "silu"
            with torch.no_grad():
                fc_weight.mul_(QUICK_GELU_SCALE)
                fc_bias.mul_(QUICK_GELU_SCALE)
                proj_weight.div_(QUICK_GELU_SCALE)
        self.mlp_in = FrozenLinear(fc_weight, fc_bias)
        self.mlp_out = FrozenLinear(proj_weight, proj_bias)

    def normalise(self, x: Tensor) -> Tensor:
        """The input of attention: `ln_1(x)`, shape (..., width)."""
        return F.layer_norm(x, x.shape[-1:], self.ln_1_weight, self.ln_1_bias)

    def split_heads(self, x: Tensor) -> Tensor:
        """(n, length, width) to (n, heads, length, head width)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def queries(self, normed: Tensor) -> Tensor:
        """Queries (n, heads, length, head width) of a normalised input (n, length, width)."""
        return self.split_heads(self.attention_in.part(normed, slice(0, normed.shape[-1])))

    def keys_values(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, each (n, heads, length, head width), of a normalised input (n, length, width)."""
        keys, values = self.attention_in.part(normed, slice(normed.shape[-1], None)).chunk(2, dim=-1)
        return self.split_heads(keys), self.split_heads(values)

    def queries_keys_values(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All three from one in-projection."""
        queries, keys, values = self.attention_in(normed).chunk(3, dim=-1)
        return self.split_heads(queries), self.split_heads(keys), self.split_heads(values)

    def add_attention(
        self, x: Tensor, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """`x + attention`, output projection included: (n, query length, width)."""
        if mask is None and kernels.attention_usable(queries, keys):
            attended = kernels.attention(queries, keys, values)
        else:
            attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
            attended = attended.transpose(1, 2).flatten(-2)
        return self.attention_out(attended, residual=x)

    def add_mlp(self, x: Tensor) -> Tensor:
        """`x + mlp(ln_2(x))`."""
        normed = F.layer_norm(x, x.shape[-1:], self.ln_2_weight, self.ln_2_bias)
        return self.mlp_out(self.mlp_in(normed, self.activation), residual=x)

    def forward(self, x: Tensor) -> Tensor:
        """The whole block on (n, length, width)."""
        return self.add_mlp(self.add_attention(x, *self.queries_keys_values(self.normalise(x))))

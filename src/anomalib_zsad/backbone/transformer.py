"""Frozen transformer blocks over open_clip's weights."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Activation, TowerConfig


def quick_gelu(x: Tensor) -> Tensor:
    """``x * sigmoid(1.702 x)``, the activation that OpenAI's CLIP was trained with."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": quick_gelu}


class FrozenModule(nn.Module):
    """A module of constants.

    Its tensors are non-persistent buffers: they move with ``.to()`` and are exported, but are no parameters, reach no
    state dict and no checkpoint. It is in eval mode always.
    """

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    def freeze(self, name: str, value: Tensor) -> None:
        """Keep ``value`` as the constant ``name``."""
        self.register_buffer(name, value.detach().contiguous(), persistent=False)

    def train(self, mode: bool = True) -> "FrozenModule":
        """Stay in eval mode, whatever is asked."""
        del mode
        return super().train(False)


class FrozenBlock(FrozenModule):
    """One pre-norm residual attention block.

    Args:
        weights: State dict that holds the block under ``prefix``.
        prefix: For example ``"visual.transformer.resblocks.0"``.
        config: Tower the block is part of.
        activation: Activation of its MLP.
    """

    ln_1_weight: Tensor
    ln_1_bias: Tensor
    in_weight: Tensor
    in_bias: Tensor
    out_weight: Tensor
    out_bias: Tensor
    ln_2_weight: Tensor
    ln_2_bias: Tensor
    fc_weight: Tensor
    fc_bias: Tensor
    proj_weight: Tensor
    proj_bias: Tensor

    def __init__(self, weights: Mapping[str, Tensor], prefix: str, config: TowerConfig, activation: Activation) -> None:
        super().__init__()
        self.heads = config.heads
        self.activation = ACTIVATIONS[activation]
        for kind in ("weight", "bias"):
            self.freeze(f"ln_1_{kind}", weights[f"{prefix}.ln_1.{kind}"])
            self.freeze(f"in_{kind}", weights[f"{prefix}.attn.in_proj_{kind}"])
            self.freeze(f"out_{kind}", weights[f"{prefix}.attn.out_proj.{kind}"])
            self.freeze(f"ln_2_{kind}", weights[f"{prefix}.ln_2.{kind}"])
            self.freeze(f"fc_{kind}", weights[f"{prefix}.mlp.c_fc.{kind}"])
            self.freeze(f"proj_{kind}", weights[f"{prefix}.mlp.c_proj.{kind}"])

    def normalise(self, x: Tensor) -> Tensor:
        """The input of attention: ``ln_1(x)``, shape (..., width)."""
        return F.layer_norm(x, x.shape[-1:], self.ln_1_weight, self.ln_1_bias)

    def split_heads(self, x: Tensor) -> Tensor:
        """(n, length, width) to (n, heads, length, head width)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def queries(self, normed: Tensor) -> Tensor:
        """Queries (n, heads, length, head width) of a normalised input (n, length, width)."""
        width = normed.shape[-1]
        return self.split_heads(F.linear(normed, self.in_weight[:width], self.in_bias[:width]))

    def keys_values(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, each (n, heads, length, head width), of a normalised input (n, length, width)."""
        width = normed.shape[-1]
        keys, values = F.linear(normed, self.in_weight[width:], self.in_bias[width:]).chunk(2, dim=-1)
        return self.split_heads(keys), self.split_heads(values)

    def queries_keys_values(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All three from one in-projection."""
        queries, keys, values = F.linear(normed, self.in_weight, self.in_bias).chunk(3, dim=-1)
        return self.split_heads(queries), self.split_heads(keys), self.split_heads(values)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention and output projection; returns (n, query length, width)."""
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return F.linear(attended.transpose(1, 2).flatten(-2), self.out_weight, self.out_bias)

    def add_mlp(self, x: Tensor) -> Tensor:
        """``x + mlp(ln_2(x))``."""
        normed = F.layer_norm(x, x.shape[-1:], self.ln_2_weight, self.ln_2_bias)
        hidden = self.activation(F.linear(normed, self.fc_weight, self.fc_bias))
        return x + F.linear(hidden, self.proj_weight, self.proj_bias)

    def forward(self, x: Tensor) -> Tensor:
        """The whole block on (n, length, width)."""
        return self.add_mlp(x + self.attend(*self.queries_keys_values(self.normalise(x))))

"""What brings image and prompts together: residual cross-attention and the fused image feature."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_zsad.backbone import kernels


class ResidualCrossAttention(nn.Module):
    """Prompts look at the patches of each layer and are shifted by what they see.

    Args:
        num_layers: Vision layers.
        vision_width: Width of the patch tokens (Dv).
        text_width: Width of the text embeddings (Dt).
        num_heads: Attention heads.
    """

    def __init__(self, num_layers: int, vision_width: int, text_width: int, num_heads: int = 4) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(text_width, text_width)
        self.patch_projections = nn.ModuleList(
            nn.Linear(vision_width, text_width, bias=False) for _ in range(num_layers)
        )

    def project(self, patches: Sequence[Tensor]) -> list[Tensor]:
        """Normalised patches in the text's space, for each layer: (n, N, Dv) to (n, N, Dt)."""
        return [
            F.normalize(kernels.linear(tokens, weight), dim=-1)
            for weight, tokens in zip(self.patch_projections.parameters(), patches, strict=True)
        ]

    def forward(self, text: Tensor, projected: Tensor) -> Tensor:
        """Text embeddings (n, M, Dt) refined by one layer's projected patches (n, N, Dt), normalised again.

        Quirk kept for parity: the scale is that of the full width, not of a head, and there is no output projection.
        """
        queries = self._heads(self.query(text))
        patches = self._heads(projected)
        seen = F.scaled_dot_product_attention(queries, patches, patches, scale=text.shape[-1] ** -0.5)
        return F.normalize(text + seen.transpose(1, 2).flatten(-2), dim=-1)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class PatchFusion(nn.Module):
    """One vector from the patches of all layers: a weighted sum over patches, with learned weights.

    Args:
        num_layers: Vision layers.
        vision_width: Width of the patch tokens (Dv).
        text_width: Width of the answer (Dt).
    """

    def __init__(self, num_layers: int, vision_width: int, text_width: int) -> None:
        super().__init__()
        hidden = vision_width // 2
        self.reduce = nn.Linear(num_layers * vision_width, hidden)
        self.weigh = nn.Linear(hidden, 1)
        self.expand = nn.Linear(hidden, text_width)

    def forward(self, patches: Sequence[Tensor]) -> Tensor:
        """Patches of each layer (n, N, Dv) to (n, Dt)."""
        reduced = kernels.linear(torch.cat(tuple(patches), dim=-1), self.reduce.weight, self.reduce.bias)
        weights = self.weigh(reduced).softmax(dim=1)
        return self.expand((reduced * weights).sum(dim=1))

"""Explicit state tokens: prototypes of the normal and the abnormal state, extracted from an image's own patches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_zsad.backbone.transformer import quick_gelu
from anomalib_zsad.models.components.initialisation import PUBLISHED_SD


class PrototypeExtractor(nn.Module):
    """One cross-attention block in which queries read the patches.

    Args:
        width: Width of queries and patches (D).
        num_heads: Attention heads.

    Raises:
        ValueError: The heads do not divide the width.
    """

    def __init__(self, width: int, num_heads: int = 12) -> None:
        super().__init__()
        if num_heads < 1 or width % num_heads:
            near = max(heads for heads in range(1, max(num_heads, 1) + 1) if width % heads == 0)
            raise ValueError(
                f"extractor_heads {num_heads} does not divide the backbone's embedding width {width}; "
                f"give a divisor, for example {near}"
            )
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)
        self.fc = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Prototypes (n, M, D) of queries (M, D) and patches (n, N, D); queries do not see each other."""
        x = queries.expand(patches.shape[0], -1, -1)
        seen = self.ln_1(patches)
        x = x + self.attention(self.ln_1(x), seen, seen, need_weights=False)[0]
        return x + self.proj(quick_gelu(self.fc(self.ln_2(x))))


class StatePrototypes(nn.Module):
    """Learned queries of both states and the extractor that serves them.

    Args:
        num_prototypes: Prototypes of each state.
        width: Width of patches and prototypes (D).
        num_heads: Attention heads of the extractor.

    Raises:
        ValueError: The heads do not divide the width.
    """

    def __init__(self, num_prototypes: int, width: int, num_heads: int = 12) -> None:
        super().__init__()
        self.normal = nn.Parameter(torch.randn(num_prototypes, width) * PUBLISHED_SD)
        self.abnormal = nn.Parameter(torch.randn(num_prototypes, width) * PUBLISHED_SD)
        self.extractor = PrototypeExtractor(width, num_heads)

    def forward(self, patches: Tensor) -> Tensor:
        """Prototypes (n, 2, S, D), normal first, of an image's patches (n, N, D).

        The patches are normalised and projected once for both states, because no query sees another.
        """
        return self.extractor(torch.cat((self.normal, self.abnormal)), patches).unflatten(1, (2, -1))


def distances(patches: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine distance of each patch from the nearest prototype of each state, in [0, 2].

    Args:
        patches: Patch features (n, N, D).
        prototypes: Prototypes (n, 2, S, D), normal first.

    Returns:
        Distances (n, 2, N), normal first.
    """
    directions = F.normalize(prototypes.float(), dim=-1).flatten(1, 2)
    cosines = directions @ F.normalize(patches.float(), dim=-1).mT
    return 1 - cosines.unflatten(1, (2, -1)).amax(dim=2)


def distance_weights(distance: Tensor, alpha: float) -> Tensor:
    """Weight of each patch's probabilities: high where it is far from normal and near to abnormal.

    Args:
        distance: Distances (n, 2, N) of `distances`.
        alpha: Share of the normal state's distance, in [0, 1].

    Returns:
        `alpha * minmax(d_normal) + (1 - alpha) * (1 - minmax(d_abnormal))`, (n, N) in [0, 1], with minimum and
        maximum over each image's own patches. Where all patches of an image are equally far, its `minmax` is 0.
    """
    low, high = distance.amin(dim=-1, keepdim=True), distance.amax(dim=-1, keepdim=True)
    scaled = (distance - low) / (high - low).clamp(min=torch.finfo(distance.dtype).eps)
    return alpha * scaled[:, 0] + (1 - alpha) * (1 - scaled[:, 1])

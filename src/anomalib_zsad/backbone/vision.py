"""The frozen vision tower: raw tokens of chosen blocks, and CoPS's value-value path beside the plain one."""

from collections.abc import Collection, MutableMapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Activation, BackboneConfig, PositionResize
from .kernels import is_traced
from .transformer import FrozenBlock, FrozenModule

# On the CPU, images go through the blocks in groups of about this many tokens: what a block works on stays in the
# cache, and its memory does not grow with the batch.
_CACHED_TOKENS = 2048


class ImageTokens(NamedTuple):
    """What the vision tower answers for a batch of n images with N patches.

    Attributes:
        class_token: Raw class token after the last block, (n, Dv): no `ln_post`, no projection.
        patches: Raw patch tokens of each asked layer, in the order asked, each (n, N, Dv).
        value_patches: Patch tokens of the value-value path after the last block, (n, N, Dv); `None` unless asked.
    """

    class_token: Tensor
    patches: tuple[Tensor, ...]
    value_patches: Tensor | None


class VisionTower(FrozenModule):
    """CLIP's ViT over open_clip's weights.

    Args:
        weights: State dict under open_clip's names; what is taken is removed from it.
        config: The backbone.
        image_size: Side of the square input in pixels; the grid of position embeddings is resized to it.
        activation: Activation inside the blocks.
        position_resize: How the grid is resized.
    """

    class_embedding: Tensor
    positions: Tensor
    patch_weight: Tensor
    ln_pre_weight: Tensor
    ln_pre_bias: Tensor
    ln_post_weight: Tensor
    ln_post_bias: Tensor
    projection: Tensor

    def __init__(
        self,
        weights: MutableMapping[str, Tensor],
        config: BackboneConfig,
        image_size: int,
        activation: Activation,
        position_resize: PositionResize,
    ) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.image_size = image_size
        self.freeze("class_embedding", weights.pop("visual.class_embedding"))
        grid = image_size // config.patch_size
        self.freeze("positions", resize_positions(weights.pop("visual.positional_embedding"), grid, position_resize))
        self.freeze("patch_weight", weights.pop("visual.conv1.weight"))
        self.freeze("projection", weights.pop("visual.proj"))
        for norm in ("ln_pre", "ln_post"):
            for kind in ("weight", "bias"):
                self.freeze(f"{norm}_{kind}", weights.pop(f"visual.{norm}.{kind}"))
        self.blocks: Collection[FrozenBlock] = nn.ModuleList(  # type: ignore[assignment]
            FrozenBlock(weights, f"visual.transformer.resblocks.{layer}", config.vision, activation)
            for layer in range(config.vision.layers)
        )

    def forward(self, images: Tensor, layers: tuple[int, ...] = (), value_path: bool = False) -> ImageTokens:
        """Run the tower.

        Args:
            images: Normalised images (n, 3, side, side).
            layers: Blocks, counted from 1, whose raw patch tokens are wanted.
            value_path: Whether CoPS's second path is wanted.

        Raises:
            ValueError: The images are not of the side the tower was built for.
        """
        self._check(images)
        if images.device.type != "cpu" or is_traced() or len(images) == 1:
            return self._encode(images, layers, value_path)
        parts = images.split(max(1, _CACHED_TOKENS // self.positions.shape[0]))
        return _join([self._encode(part, layers, value_path) for part in parts])

    def _encode(self, images: Tensor, layers: tuple[int, ...], value_path: bool) -> ImageTokens:
        """All blocks on a group of images."""
        x = self._embed(images)
        x_value = x if value_path else None
        wanted: dict[int, Tensor] = {}
        depth = len(self.blocks)
        for layer, block in enumerate(self.blocks, start=1):
            # Nobody reads the last block's patches on the plain path unless its layer was asked for.
            x, x_value = _attend(block, x, x_value, class_only=layer == depth and depth not in layers)
            x = block.add_mlp(x)
            if layer in layers:
                wanted[layer] = x[:, 1:]
        value_patches = None if x_value is None else x_value[:, 1:]
        return ImageTokens(x[:, 0], tuple(wanted[layer] for layer in layers), value_patches)

    def norm_and_project(self, tokens: Tensor) -> Tensor:
        """`ln_post(tokens) @ proj`: (..., Dv) to (..., D)."""
        normed = F.layer_norm(tokens, tokens.shape[-1:], self.ln_post_weight, self.ln_post_bias)
        return normed @ self.projection

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, self.image_size, self.image_size):
            raise ValueError(
                f"images of shape {tuple(images.shape)} were given; the backbone was built for "
                f"(n, 3, {self.image_size}, {self.image_size}). Resize them, or set image_size."
            )

    def _embed(self, images: Tensor) -> Tensor:
        """Patch embedding, class token, positions and `ln_pre`: (n, 1 + N, Dv)."""
        patches = F.conv2d(images.to(self.patch_weight.dtype), self.patch_weight, stride=self.patch_size)
        patches = patches.flatten(2).transpose(1, 2)
        class_token = self.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        x = torch.cat((class_token, patches), dim=1) + self.positions.to(patches.dtype)
        return F.layer_norm(x, x.shape[-1:], self.ln_pre_weight, self.ln_pre_bias)


def _attend(block: FrozenBlock, x: Tensor, x_value: Tensor | None, *, class_only: bool) -> tuple[Tensor, Tensor | None]:
    """The attention of a block on both paths, from one in-projection.

    Args:
        block: The block.
        x: Tokens of the plain path (n, 1 + N, Dv).
        x_value: Tokens of the value-value path, whose block has no MLP; `None` for none.
        class_only: Give the class token alone on the plain path.
    """
    normed = block.normalise(x)
    if x_value is not None:
        queries, keys, values = block.queries_keys_values(normed)
        x_value = block.add_attention(x_value, values, values, values)
        queries = queries[:, :, :1] if class_only else queries
    elif class_only:
        queries, (keys, values) = block.queries(normed[:, :1]), block.keys_values(normed)
    else:
        queries, keys, values = block.queries_keys_values(normed)
    return block.add_attention(x[:, :1] if class_only else x, queries, keys, values), x_value


def _join(parts: list[ImageTokens]) -> ImageTokens:
    if len(parts) == 1:
        return parts[0]
    class_tokens, patches, value_patches = zip(*parts, strict=True)
    return ImageTokens(
        torch.cat(class_tokens),
        tuple(torch.cat(layer) for layer in zip(*patches, strict=True)),
        None if value_patches[0] is None else torch.cat(value_patches),
    )


def resize_positions(positions: Tensor, grid: int, how: PositionResize) -> Tensor:
    """Resize position embeddings (1 + g * g, width) to (1 + grid * grid, width).

    Quirk kept for parity: the published Bayes-PFL resizes with antialiased bicubic interpolation, the published CoPS
    with plain bilinear interpolation.
    """
    native = round((positions.shape[0] - 1) ** 0.5)
    if native == grid:
        return positions
    table = positions[1:].reshape(1, native, native, -1).permute(0, 3, 1, 2)
    if how == "bicubic_antialias":
        table = F.interpolate(table, (grid, grid), mode="bicubic", antialias=True, align_corners=False)
    else:
        table = F.interpolate(table, (grid, grid), mode="bilinear", align_corners=False)
    return torch.cat((positions[:1], table.flatten(2)[0].T))

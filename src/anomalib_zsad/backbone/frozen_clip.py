"""The frozen backbone that prompt-learning methods stand on."""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .config import Activation, BackboneConfig, PositionResize, load_config
from .text import TextTower, start_and_end_tokens, token_ids
from .transformer import FrozenModule
from .vision import ImageTokens, VisionTower
from .weights import embedded_version, load_weights


class FrozenCLIP(FrozenModule):
    """A CLIP ViT that never trains.

    Args:
        backbone: `"demo"`, an open_clip model name, or the path of an open_clip JSON configuration.
        pretrained: open_clip tag or file; see `anomalib_zsad.backbone.weights.load_weights`.
        image_size: Side of the square input in pixels; `None` for what suits the backbone.
        activation: Activation inside the blocks, unless the backbone's weights need one of their own.
        position_resize: How the grid of position embeddings is brought to `image_size`.

    Attributes:
        config: Shape of the backbone.
        image_size: Side of the square input in pixels.
        fingerprint: Tells backbones apart by their weights, whatever they are called.
        version: Version of the embedded backbone's weights; `None` where they are another's, or say none.

    Raises:
        ValueError: The backbone is unknown or no plain CLIP ViT, or the patches do not tile `image_size`.
        WeightsUnavailableError: The weights are not here and could not be fetched.
        WeightsMismatchError: The weights are another backbone's, or the file is damaged.

    Example:
        >>> backbone = FrozenCLIP("demo")
        >>> tokens = backbone.encode_image(images, layers=(2, 4))  # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: str,
        pretrained: str | None = "openai",
        image_size: int | None = None,
        activation: Activation = "gelu",
        position_resize: PositionResize = "bicubic_antialias",
    ) -> None:
        super().__init__()
        self.config: BackboneConfig = load_config(backbone)
        self.image_size = image_size or self.config.default_image_size
        self.config.check_image_size(self.image_size)
        activation = self.config.activation or activation
        weights = load_weights(self.config, pretrained)
        self.fingerprint = fingerprint(weights)
        self.version = embedded_version(self.config, pretrained)
        self.vision = VisionTower(weights, self.config, self.image_size, activation, position_resize)
        self.text = TextTower(weights, self.config, activation)

    @property
    def grid(self) -> int:
        """Patches along one side of the image."""
        return self.image_size // self.config.patch_size

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.vision.projection.dtype

    @torch.no_grad()
    def encode_image(self, images: Tensor, layers: tuple[int, ...] = (), value_path: bool = False) -> ImageTokens:
        """Tokens of normalised images (n, 3, side, side); see `VisionTower.forward`."""
        return self.vision(images, layers, value_path)

    def global_feature(self, tokens: ImageTokens) -> Tensor:
        """CLIP's image feature `ln_post(class token) @ proj`, (n, D)."""
        return self.vision.norm_and_project(tokens.class_token)

    def embed_names(self, names: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Embeddings of names, each followed by EOT and by padding to the longest of them.

        Args:
            names: n texts, already in the words that the prompt should hold.

        Returns:
            Vectors (n, length, Dt), and the index of each EOT (n,), or `None` where all stand last.
        """
        _, end_token = start_and_end_tokens()
        ids = [(*token_ids(name), end_token) for name in names]
        lengths = [len(row) for row in ids]
        padded = [(*row, *(0,) * (max(lengths) - len(row))) for row in ids]
        device = self.text.token_embedding.device
        vectors = self.text.embed(torch.tensor(padded, device=device))
        if min(lengths) == max(lengths):
            return vectors, None
        return vectors, torch.tensor(lengths, device=device) - 1

    def embed_start(self) -> Tensor:
        """Embedding of SOS, (Dt,)."""
        start_token, _ = start_and_end_tokens()
        return self.text.token_embedding[start_token]


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Hexadecimal digest of both projections of a state dict in float32."""
    content = b"".join(weights[name].contiguous().numpy().tobytes() for name in ("visual.proj", "text_projection"))
    return hashlib.sha256(content).hexdigest()[:16]

"""CoPS: zero-shot anomaly detection with prompts that are conditioned on the image.

"CoPS: Conditional Prompt Synthesis for Zero-Shot Anomaly Detection", 2025.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_zsad.backbone import FrozenCLIP, Prefix
from anomalib_zsad.models.components.class_names import resolve_names
from anomalib_zsad.models.components.initialisation import init_linear_layers
from anomalib_zsad.models.components.no_tiler import NoTiler
from anomalib_zsad.models.components.noise import seeded_normal
from anomalib_zsad.models.components.prediction import Evidence, ZeroShotPrediction, spread
from anomalib_zsad.models.components.smoothing import SmoothUpsampling

from .constants import Constants
from .prompts import ConstantPrefix, StatePrompts
from .prototypes import StatePrototypes, distance_weights, distances
from .vae import ClassVAE

TEMPERATURE = 0.07
PUBLISHED_DEEP_DEPTH = 8


class ImageFeatures(NamedTuple):
    """What the frozen backbone says about n images; nothing in it is learned.

    Attributes:
        image: Projected class token of the plain path, (n, D).
        patches: Projected patches of the value-value path, before the local average, (n, N, D).
    """

    image: Tensor
    patches: Tensor


class PatchEvidence(NamedTuple):
    """Probabilities on the patch grid; the first of the `1 + samples` entries is that of the averaged embeddings.

    Attributes:
        image: Probability of the abnormal state from the image feature, (n, 1 + samples).
        patches: Weighted probability of the abnormal state for each patch, (n, 1 + samples, grid, grid).
    """

    image: Tensor
    patches: Tensor


class FixedPrompts(NamedTuple):
    """What no image changes about its prompts; computed once for an export.

    Attributes:
        prefix: SOS, context and deep prompts, read by the text tower.
        decoded: Decoded class samples (samples, D).
        end: Embeddings of the prompt's end, (length, Dt).
    """

    prefix: Prefix
    decoded: Tensor
    end: Tensor


class CoPSModel(NoTiler, nn.Module):
    """The method over a frozen backbone.

    Args:
        backbone: Frozen CLIP, built with QuickGELU and bilinear positions, as the published weights need.
        layers: The vision block after which the value-value path is read: the last one, which `None` means too.
        num_samples: Class tokens sampled for each state.
        class_name: Accepted because every method takes one; CoPS's prompts hold no class name.
        blur_sigma: Standard deviation of the map's smoothing in pixels; 0 for none.
        constants: Constants that the user gave, by name; those not named are the checkpoint's, or the defaults of
            `Constants`.
        context_length: Context vectors of a prompt.
        state_length: State vectors of a prompt, and prototypes of a state.
        class_length: Class vectors of a prompt.
        deep_depth: Text blocks with deep prompts; `None` for 8, or all but the first in a shallower text tower.
        deep_length: Deep vectors of a block.
        extractor_heads: Attention heads of the prototype extractor.

    Raises:
        ValueError: An argument is out of its range or does not fit the backbone.
    """

    noise: Tensor
    speaks_class_names: ClassVar[bool] = False

    def __init__(
        self,
        backbone: FrozenCLIP,
        layers: tuple[int, ...] | None = None,
        num_samples: int = 10,
        class_name: str = "object",
        blur_sigma: float = 4.0,
        constants: dict[str, float | bool] | None = None,
        context_length: int = 6,
        state_length: int = 6,
        class_length: int = 2,
        deep_depth: int | None = None,
        deep_length: int = 4,
        extractor_heads: int = 12,
    ) -> None:
        super().__init__()
        self.backbone, self.class_name, self.num_samples = backbone, class_name, num_samples
        self.layers = (backbone.config.vision.layers,) if layers is None else tuple(layers)
        text_layers, width = backbone.config.text.layers, backbone.config.embed_dim
        deep_depth = min(PUBLISHED_DEEP_DEPTH, text_layers - 1) if deep_depth is None else deep_depth
        _check_arguments(backbone, self.layers, num_samples, deep_depth)
        self.given_constants = dict(constants or {})
        self.constants = Constants(**self.given_constants)  # type: ignore[arg-type]

        self.prompts = StatePrompts(width, context_length, state_length, class_length, deep_depth, deep_length)
        self.prototypes = StatePrototypes(state_length, width, extractor_heads)
        self.vae = ClassVAE(width)
        init_linear_layers(self)
        # `init_linear_layers` leaves the in-projection of the attention alone: it is no linear layer of its own.
        self.smoothing = SmoothUpsampling(backbone.grid, backbone.image_size, blur_sigma)
        self.register_buffer("noise", seeded_normal("cops.class", (num_samples, width)), persistent=False)
        self.constant_prefix = ConstantPrefix()

    def get_extra_state(self) -> dict[str, float | bool]:
        """The constants travel with the weights that were trained with them."""
        return asdict(self.constants)

    def set_extra_state(self, state: dict[str, float | bool]) -> None:
        """Take a checkpoint's constants, but for those that the user gave."""
        self.constants = Constants(**{**state, **self.given_constants})  # type: ignore[arg-type]

    def forward(
        self,
        images: Tensor,
        class_names: Sequence[str] | str | None = None,
        noise: Tensor | None = None,
        fixed: FixedPrompts | None = None,
    ) -> ZeroShotPrediction:
        """Scores, maps and their spread over the sampled class tokens.

        The answer comes from text embeddings averaged over the samples, as published. Each sample's own embeddings, not
        averaged, give a score and a map too; `score_std` and `map_std` are the standard deviations of these. The
        samples come from the prior and are the same for every image, so the spread says how much the answer owes to the
        class tokens, not how likely the image is.

        Args:
            images: Normalised images (n, 3, side, side).
            class_names: One name, or one an image, as every method takes; CoPS's prompts hold no name, so the answer
                does not depend on it.
            noise: Standard normal draws (samples, D), decoded to class tokens; `None` for seeded ones.
            fixed: What `fixed_prompts` made of the noise, in its place.

        Raises:
            ValueError: Images, names or noise are not of the shape named above.
        """
        resolve_names(class_names, images.shape[0], self.class_name)
        found = self.patch_evidence(self.encode(images), noise, fixed)
        beta = self.constants.beta
        scores = beta * found.image + (1 - beta) * found.patches.amax(dim=(-2, -1))
        samples = found.patches[:, 1:]
        # Smoothing is linear, so deviations are smoothed in place of maps: one tensor of samples x pixels, no more.
        deviations = self.smoothing(samples - samples.mean(dim=1, keepdim=True)).float()
        return ZeroShotPrediction(
            pred_score=scores[:, 0].clamp(0, 1),
            pred_label=None,
            anomaly_map=self.smoothing(found.patches[:, :1]).float().clamp(0, 1),
            pred_mask=None,
            score_std=spread(scores[:, 1:], dim=1),
            map_std=deviations.square().mean(dim=1, keepdim=True).sqrt(),
        )

    def evidence(
        self, images: Tensor, class_names: Sequence[str] | str | None = None, noise: Tensor | None = None
    ) -> Evidence:
        """Image probabilities and unsmoothed weighted maps, see `forward` for the arguments.

        `image_probability` and `unsmoothed_map` come from the averaged text embeddings, the fields of the samples
        from each sample's own; so the former are not the means of the latter. The image score is
        `beta * image_probability + (1 - beta) * maximum of unsmoothed_map`.
        """
        resolve_names(class_names, images.shape[0], self.class_name)
        found = self.patch_evidence(self.encode(images), noise)
        patch = self.backbone.config.patch_size
        maps = found.patches.repeat_interleave(patch, dim=-2).repeat_interleave(patch, dim=-1)
        return Evidence(found.image[:, 0], maps[:, :1], found.image[:, 1:], maps[:, 1:])

    def encode(self, images: Tensor) -> ImageFeatures:
        """Frozen features of normalised images (n, 3, side, side).

        Quirk kept for parity: `ln_post` is applied to the patches and not to the class token.
        """
        vision = self.backbone.vision
        class_token, _, patches = self.backbone.encode_image(images, value_path=True)
        return ImageFeatures(class_token @ vision.projection, vision.norm_and_project(patches))  # type: ignore[arg-type]

    def local_average(self, patches: Tensor, neighbourhood: int) -> Tensor:
        """Average each patch (n, N, D) with its neighbours on the grid; outside the image is counted as zeros."""
        grid = patches.mT.unflatten(-1, (self.backbone.grid, -1))
        averaged = F.avg_pool2d(grid, neighbourhood, stride=1, padding=neighbourhood // 2, count_include_pad=True)
        return averaged.flatten(2).mT

    def fixed_prompts(self, noise: Tensor | None = None) -> FixedPrompts:
        """What no image changes about the prompts; see `forward` for the noise."""
        prefix, end = self._constant_parts()
        return FixedPrompts(prefix, self.vae.sample(self._draws(noise)), end)

    def check_class_name(self, name: str) -> None:
        """Accept any: CoPS's prompts hold no class name."""

    def _constant_parts(self) -> tuple[Prefix, Tensor]:
        """What stands before and behind all that changes in a prompt."""
        prefix: Prefix = self.constant_prefix.read(self.prompts, self.backbone)
        return prefix, self.backbone.embed_names(["."])[0][0]

    def encode_text(self, prototypes: Tensor, decoded: Tensor, fixed: FixedPrompts | None = None) -> Tensor:
        """Encode the prompts of n images.

        What no image changes is read once for ever, what the samples of a state share once an image.

        Args:
            prototypes: Prototypes (n, 2, S, D), normal first.
            decoded: Decoded class samples (n or 1, samples, D).
            fixed: The rest of the prompts, where it is at hand.

        Returns:
            Normalised text embeddings (n, 2, samples, D), normal first.
        """
        states = self.prompts.states(prototypes)
        before, end = self._constant_parts() if fixed is None else (fixed.prefix, fixed.end)
        prefix = self.backbone.text.read(states, before)
        classes = self.prompts.classes(decoded).expand(states.shape[0], -1, -1, -1, -1)
        end = end.to(classes.dtype).expand(*classes.shape[:-2], -1, -1)
        return F.normalize(self.backbone.text.encode(torch.cat((classes, end), dim=-2), prefix).float(), dim=-1)

    def patch_evidence(
        self, features: ImageFeatures, noise: Tensor | None = None, fixed: FixedPrompts | None = None
    ) -> PatchEvidence:
        """Probabilities of frozen features, for the averaged text embeddings and for each sample's own."""
        patches = self.local_average(features.patches, self.constants.neighbourhood)
        prototypes = self.prototypes(patches)
        decoded = self.vae.sample(self._draws(noise)) if fixed is None else fixed.decoded
        text = self.encode_text(prototypes, decoded[None], fixed)
        text = torch.cat((average_text(text)[:, :, None], text), dim=2)
        # A softmax over two states is a sigmoid of the difference of their logits.
        direction = (text[:, 1] - text[:, 0]) / TEMPERATURE
        image = torch.einsum("nrd,nd->nr", direction, F.normalize(features.image.float(), dim=-1))
        local = direction @ F.normalize(patches.float(), dim=-1).mT
        weights = distance_weights(distances(patches, prototypes), self.constants.alpha)
        weighted = local.float().sigmoid() * weights[:, None]
        return PatchEvidence(image.float().sigmoid(), weighted.unflatten(-1, (self.backbone.grid, -1)))

    def exported(self, class_names: Sequence[str]) -> "ExportedCoPS":
        """What an export runs: the model with all that no image changes computed beforehand."""
        del class_names  # CoPS's prompts hold none
        return ExportedCoPS(self)

    def _draws(self, noise: Tensor | None) -> Tensor:
        if noise is None:
            return self.noise
        width = self.backbone.config.embed_dim
        if noise.ndim != 2 or noise.shape[1] != width or not len(noise):
            raise ValueError(f"noise of shape {tuple(noise.shape)} was given; (samples, {width}) is needed")
        return noise.to(self.noise)

    def train(self, mode: bool = True) -> "CoPSModel":
        """Forget what was read before a turn to training and back."""
        self.constant_prefix.forget()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> "CoPSModel":
        """Forget what was read before a move or a conversion."""
        self.constant_prefix.forget()
        return super()._apply(fn, recurse)


class ExportedCoPS(nn.Module):
    """The model as an export runs it.

    Args:
        model: The model.
    """

    def __init__(self, model: CoPSModel) -> None:
        super().__init__()
        self.model, self.fixed = model, model.fixed_prompts()

    def forward(self, images: Tensor, class_index: Tensor | None = None) -> ZeroShotPrediction:
        """Answers for normalised images (n, 3, side, side), whatever class they are of."""
        del class_index
        return self.model(images, fixed=self.fixed)


def average_text(text: Tensor) -> Tensor:
    """Average normalised embeddings (n, 2, samples, D) over the samples and normalise: (n, 2, D)."""
    return F.normalize(text.mean(dim=2), dim=-1)


def _check_arguments(backbone: FrozenCLIP, layers: tuple[int, ...], num_samples: int, deep_depth: int) -> None:
    config = backbone.config
    config.check_layers(layers)
    if layers != (config.vision.layers,):
        raise ValueError(
            f"layers {layers} was given; CoPS reads the value-value path after the last block, so for backbone "
            f"'{config.name}' layers is ({config.vision.layers},)"
        )
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; at least one class token must be sampled")
    if not 0 <= deep_depth < config.text.layers:
        raise ValueError(
            f"deep prompts for {deep_depth} blocks do not fit backbone '{config.name}', whose text tower has "
            f"{config.text.layers}: they replace tokens before the blocks after the first"
        )
    if config.embed_dim != config.text.width:
        raise ValueError(
            f"backbone '{config.name}' embeds text of width {config.text.width} into {config.embed_dim}; "
            "CoPS is defined for equal widths"
        )

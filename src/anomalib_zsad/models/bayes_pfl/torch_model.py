"""Bayes-PFL: zero-shot anomaly detection with prompts drawn from learned distributions.

Qu et al., "Bayesian Prompt Flow Learning for Zero-Shot Anomaly Detection", CVPR 2025.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_zsad.backbone import FrozenCLIP, ImageTokens
from anomalib_zsad.backbone.kernels import is_traced
from anomalib_zsad.models.components.class_names import resolve_names
from anomalib_zsad.models.components.initialisation import init_linear_layers
from anomalib_zsad.models.components.no_tiler import NoTiler
from anomalib_zsad.models.components.noise import seeded_normal
from anomalib_zsad.models.components.prediction import Evidence, ZeroShotPrediction, spread, top_mean
from anomalib_zsad.models.components.smoothing import GaussianSmoothing

from .flows import BaseDistribution, FlowSample, ImageAgnosticFlow, ImageSpecificFlow
from .heads import PatchFusion, ResidualCrossAttention
from .prompts import PromptBank, spoken_name

Noise = tuple[Tensor, Tensor, Tensor]

# Elements of the tensors that maps are made through: on other devices, and on the CPU.
_GROUP_ELEMENTS = (1 << 28, 1 << 22)


class FixedPrompts(NamedTuple):
    """What no image changes about its prompts; computed once for an export.

    Attributes:
        start: Embedding of SOS, (Dt,).
        noise: Draws for the context, (samples, D) or (n, samples, D).
        normal: Draws of the normal state's flow.
        abnormal: Draws of the abnormal state's flow.
        names: Embedded class names (n or 1, length, Dt).
        ends: Index of each name's EOT (n or 1,); `None` where all stand last.
    """

    start: Tensor
    noise: Tensor
    normal: FlowSample
    abnormal: FlowSample
    names: Tensor
    ends: Tensor | None


class PromptSample(NamedTuple):
    """Encoded prompts of a batch and the draws they come from.

    Attributes:
        text: Normalised text embeddings (n, samples, bank entries, 2, D), normal first.
        context: Draws of the image-specific flow.
        normal: Draws of the normal state's flow.
        abnormal: Draws of the abnormal state's flow.
    """

    text: Tensor
    context: FlowSample
    normal: FlowSample
    abnormal: FlowSample


class BayesPFLModel(NoTiler, nn.Module):
    """The method over a frozen backbone.

    Args:
        backbone: Frozen CLIP, built with exact GELU and antialiased bicubic positions, as the published weights need.
        layers: Vision blocks, counted from 1, whose patches are used.
        num_samples: Prompts sampled for each bank entry and image (R in the paper).
        class_name: Class name of images that come without one.
        blur_sigma: Standard deviation of the map's smoothing in pixels; 0 for none.
        map_weight: Weight of the map in the image score, in [0, 1].
        top_k: Pixels of the unsmoothed map whose mean enters the image score.
        num_prompts: Entries of the prompt bank (B).
        context_length: Context vectors of a prompt (P).
        state_length: State vectors of a prompt (Q).
        num_flows: Planar maps of a flow (K).

    Raises:
        ValueError: An argument is out of its range, or the backbone has no such layers, or its text width differs from
            the joint embedding's.
    """

    noise_context: Tensor
    noise_normal: Tensor
    noise_abnormal: Tensor

    def __init__(
        self,
        backbone: FrozenCLIP,
        layers: tuple[int, ...],
        num_samples: int = 10,
        class_name: str = "object",
        blur_sigma: float = 8.0,
        map_weight: float = 0.5,
        top_k: int = 2000,
        num_prompts: int = 3,
        context_length: int = 5,
        state_length: int = 5,
        num_flows: int = 10,
    ) -> None:
        super().__init__()
        backbone.config.check_layers(layers)
        _check_arguments(backbone, num_samples, map_weight, top_k)
        self.backbone, self.layers, self.class_name = backbone, tuple(layers), class_name
        self.num_samples, self.map_weight, self.top_k = num_samples, map_weight, top_k
        self.stage = 1
        vision_width, width = backbone.config.vision.width, backbone.config.embed_dim

        self.prompts = PromptBank(num_prompts, context_length, state_length, width)
        context_base = BaseDistribution(width, vision_width // 2, width)
        self.context_flow = ImageSpecificFlow(context_base, width, width, num_flows)
        state_base = BaseDistribution(width, vision_width // 2, width)
        self.normal_flow = ImageAgnosticFlow(state_base, width, width, num_flows)
        self.abnormal_flow = ImageAgnosticFlow(state_base, width, width, num_flows)
        self.cross_attention = ResidualCrossAttention(len(layers), vision_width, width)
        self.fusion = PatchFusion(len(layers), vision_width, width)
        self.class_mapping = nn.Linear(width, width)
        self.image_mapping = nn.Linear(width, width)
        self.temperature_pixel = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.temperature_image = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        # Quirk kept for parity: the query layer, a convolution in the published code, keeps torch's own distribution.
        init_linear_layers(self, leave_out=(self.cross_attention.query,))

        self.smoothing = GaussianSmoothing(backbone.image_size, blur_sigma)
        for kind in ("context", "normal", "abnormal"):
            draws = seeded_normal(f"bayes_pfl.{kind}", (num_samples, width))
            self.register_buffer(f"noise_{kind}", draws, persistent=False)

    def get_extra_state(self) -> dict[str, int]:
        """The training stage travels with the weights, because it decides which image feature is used."""
        return {"stage": self.stage}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Restore the training stage."""
        self.stage = state["stage"]

    def forward(
        self,
        images: Tensor,
        class_names: Sequence[str] | str | None = None,
        noise: Noise | None = None,
        tokens: ImageTokens | None = None,
        fixed: FixedPrompts | None = None,
    ) -> ZeroShotPrediction:
        """Scores, maps and their spread over the sampled prompts.

        Args:
            images: Normalised images (n, 3, side, side).
            class_names: One name, or one an image; `None` for the model's own.
            noise: Standard normal draws for context, normal and abnormal state, each (samples, D), that for the context
                also (n, samples, D); `None` for seeded ones, equal for every image.
            tokens: Tokens of the images, where they are at hand; else they are computed.
            fixed: What `fixed_prompts` made of names and noise, in their place.
        """
        evidence = self.evidence(images, class_names, noise, tokens, fixed)
        share = self.map_weight
        score = (1 - share) * evidence.image_probability
        sample_scores = (1 - share) * evidence.sample_probabilities
        if share > 0:
            score = score + share * top_mean(evidence.unsmoothed_map.squeeze(1), self.top_k)
            sample_scores = sample_scores + share * top_mean(evidence.sample_maps, self.top_k)
        anomaly_map, map_std = self._smoothed(evidence.sample_maps)
        return ZeroShotPrediction(
            pred_score=score.clamp(0, 1),
            pred_label=None,
            anomaly_map=anomaly_map,
            pred_mask=None,
            score_std=spread(sample_scores, dim=1),
            map_std=map_std,
        )

    def evidence(
        self,
        images: Tensor,
        class_names: Sequence[str] | str | None = None,
        noise: Noise | None = None,
        tokens: ImageTokens | None = None,
        fixed: FixedPrompts | None = None,
    ) -> Evidence:
        """Image probabilities and unsmoothed maps, see `forward` for the arguments."""
        tokens = tokens or self.encode(images)
        fixed = fixed or self.fixed_prompts(class_names, images.shape[0], noise, tokens.class_token.dtype)
        sample = self.encode_prompts(tokens, fixed)
        probabilities = self.image_logits(tokens, sample.text).float().softmax(dim=-1)[..., 1].mean(dim=2)
        maps = self._sample_maps(tokens, sample.text)
        return Evidence(probabilities.mean(dim=1), maps.mean(dim=1, keepdim=True), probabilities, maps)

    def encode(self, images: Tensor) -> ImageTokens:
        """Tokens of normalised images (n, 3, side, side): all that is frozen of an answer."""
        return self.backbone.encode_image(images, self.layers)

    def fixed_prompts(
        self,
        class_names: Sequence[str] | str | None,
        images: int,
        noise: Noise | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> FixedPrompts:
        """What no image changes about the prompts of `images` images; see `forward` for names and noise."""
        noise_context, noise_normal, noise_abnormal = (part.to(dtype) for part in noise or self._seeded_noise())
        names, ends = self._embed_names(class_names, images)
        normal, abnormal = self.normal_flow(noise_normal), self.abnormal_flow(noise_abnormal)
        return FixedPrompts(self.backbone.embed_start(), noise_context, normal, abnormal, names, ends)

    def check_class_name(self, name: str) -> None:
        """Raise `ValueError` unless prompts with a class name can be read; hardly anything is computed."""
        names, _ = self._embed_names(name, 1)
        start, context, state = 1, self.prompts.context.shape[-2], self.prompts.normal.shape[-2]
        self.backbone.text.check_length(start + context + state + names.shape[-2])

    def sample_prompts(
        self, tokens: ImageTokens, class_names: Sequence[str] | str | None, noise: Noise
    ) -> PromptSample:
        """Draw, assemble and encode the prompts of each image."""
        class_token = tokens.class_token
        return self.encode_prompts(tokens, self.fixed_prompts(class_names, len(class_token), noise, class_token.dtype))

    def encode_prompts(self, tokens: ImageTokens, fixed: FixedPrompts) -> PromptSample:
        """Assemble and encode the prompts of each image.

        What both states share (SOS and context) is read once for both.
        """
        context = self.context_flow(self.backbone.global_feature(tokens), fixed.noise)
        contexts = self.prompts.contexts(context.value)
        start = fixed.start.to(contexts.dtype).expand(*contexts.shape[:-2], 1, -1)
        prefix = self.backbone.text.read(torch.cat((start, contexts), dim=-2))

        states = self.prompts.states(fixed.normal.value, fixed.abnormal.value)
        states = states.expand(contexts.shape[0], *(-1,) * 5)
        names = fixed.names.to(states.dtype)[:, None, None, None].expand(*states.shape[:-2], *fixed.names.shape[-2:])
        ends = None if fixed.ends is None else (fixed.ends + states.shape[-2])[:, None, None, None]
        text = self.backbone.text.encode(torch.cat((states, names), dim=-2), prefix, ends)
        return PromptSample(F.normalize(text, dim=-1), context, fixed.normal, fixed.abnormal)

    def image_logits(self, tokens: ImageTokens, text: Tensor) -> Tensor:
        """Logits (..., 2) of an image's states against text embeddings (n, ..., 2, D)."""
        feature = self.backbone.global_feature(tokens)
        if self.stage == 2:
            feature = self.image_mapping(feature + self.fusion(tokens.patches))
        feature = F.normalize(feature, dim=-1)
        mapped = F.normalize(self.class_mapping(text), dim=-1)
        return self.temperature_image.exp() * torch.einsum("nd,n...d->n...", feature, mapped)

    def pixel_logits(self, tokens: ImageTokens, text: Tensor) -> list[Tensor]:
        """For each layer, the abnormal state's logits minus the normal state's, on the patch grid.

        A two-way softmax is a sigmoid of the difference, and upsampling is linear, so the difference is all that maps
        need, in half the channels.

        Args:
            tokens: Tokens of n images.
            text: Text embeddings (n, M, 2, D).

        Returns:
            Differences (n, M, grid, grid) for each layer.
        """
        grid, scale = self.backbone.grid, self.temperature_pixel.exp()
        differences = []
        for projected in self.cross_attention.project(tokens.patches):
            refined = self.cross_attention(text.flatten(1, 2), projected).unflatten(1, (-1, 2))
            direction = refined[:, :, 1] - refined[:, :, 0]
            differences.append((scale * direction @ projected.mT).unflatten(-1, (grid, grid)))
        return differences

    def upsample(self, logits: Tensor) -> Tensor:
        """Bring logits (n, M, grid, grid) to the image's size, in float32."""
        side = self.backbone.image_size
        return F.interpolate(logits.float(), (side, side), mode="bilinear", align_corners=True)

    def _sample_maps(self, tokens: ImageTokens, text: Tensor) -> Tensor:
        """Unsmoothed abnormal probability of each sample, averaged over bank entries and layers: (n, R, side, side)."""
        samples, entries = text.shape[1:3]
        layers = torch.stack(self.pixel_logits(tokens, text.flatten(1, 2)), dim=2)
        by_sample = layers.unflatten(1, (samples, entries)).flatten(2, 3)
        # A few samples at a time: prompts x layers x pixels at once would be the largest tensor of the whole model.
        if is_traced() or torch.is_grad_enabled():  # in a graph the number of images is not known
            return torch.stack([self.upsample(part).sigmoid_().mean(dim=1) for part in by_sample.unbind(dim=1)], dim=1)
        pixels = by_sample.shape[2] * self.backbone.image_size**2
        group, side = _group(by_sample, pixels), self.backbone.image_size
        maps = by_sample.new_empty((*by_sample.shape[:2], side, side), dtype=torch.float32)
        for part, place in zip(by_sample.flatten(0, 1).split(group), maps.flatten(0, 1).split(group), strict=True):
            place.copy_(self.upsample(part).sigmoid_().mean(dim=1))
        return maps

    def _smoothed(self, sample_maps: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of the smoothed sample maps (n, R, side, side) and their standard deviation, (n, 1, side, side)."""
        groups = (sample_maps,)
        if not is_traced():
            groups = sample_maps.split(_group(sample_maps, sample_maps[0].numel()))
        smoothed = [(part.mean(dim=1, keepdim=True), spread(part, dim=1)) for part in map(self.smoothing, groups)]
        means, deviations = zip(*smoothed, strict=True)
        return torch.cat(means).clamp_(0, 1), torch.cat(deviations)[:, None]

    def exported(self, class_names: Sequence[str]) -> "ExportedBayesPFL":
        """What an export runs: the model with all that no image changes computed beforehand."""
        return ExportedBayesPFL(self, class_names)

    def _seeded_noise(self) -> Noise:
        return self.noise_context, self.noise_normal, self.noise_abnormal

    def _embed_names(self, class_names: Sequence[str] | str | None, images: int) -> tuple[Tensor, Tensor | None]:
        names = resolve_names(class_names, images, self.class_name)
        return self.backbone.embed_names([spoken_name(name) for name in names])


class ExportedBayesPFL(nn.Module):
    """The model as an export runs it.

    Args:
        model: The model.
        class_names: The names that the export knows.
    """

    def __init__(self, model: BayesPFLModel, class_names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.fixed = model.fixed_prompts(list(class_names), len(class_names), dtype=model.backbone.dtype)

    def forward(self, images: Tensor, class_index: Tensor | None = None) -> ZeroShotPrediction:
        """Answers for normalised images (n, 3, side, side); `class_index` (n,) says which name is whose."""
        fixed = self.fixed
        if class_index is not None:
            ends = None if fixed.ends is None else fixed.ends[class_index]
            fixed = fixed._replace(names=fixed.names[class_index], ends=ends)
        return self.model(images, fixed=fixed)


def _group(example: Tensor, elements: int) -> int:
    """How many things of so many elements are worked on at once: what a processor's cache holds, or a GPU fills."""
    return max(1, _GROUP_ELEMENTS[example.device.type == "cpu"] // elements)


def _check_arguments(backbone: FrozenCLIP, num_samples: int, map_weight: float, top_k: int) -> None:
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; at least one prompt must be sampled")
    if not 0 <= map_weight <= 1:
        raise ValueError(f"map_weight is {map_weight}; give the share of the map in the score, from 0 to 1")
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; give the number of pixels, at least 1, whose mean enters the score")
    config = backbone.config
    if config.embed_dim != config.text.width:
        raise ValueError(
            f"backbone '{config.name}' embeds text of width {config.text.width} into {config.embed_dim}; "
            "Bayes-PFL is defined for equal widths"
        )

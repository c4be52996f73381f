"""The losses of a training batch, for both stages."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_zsad.backbone import ImageTokens
from anomalib_zsad.models.components.global_batch import global_count, global_mean
from anomalib_zsad.models.components.training_batch import TrainingBatch

from .flows import FlowSample, agnostic_divergence, divergence
from .loss import dice_loss, focal_loss, orthogonality_loss
from .torch_model import BayesPFLModel, Noise


class TrainingDraw(NamedTuple):
    """The random draws of a training step.

    Attributes:
        noise: Standard normal draws: context (n, 1, D), one an image; normal and abnormal state (1, D).
        entry: Entry of the prompt bank that gets the losses.
    """

    noise: Noise
    entry: int


def draw_training_noise(model: BayesPFLModel, images: int, generator: torch.Generator | None = None) -> TrainingDraw:
    """Fresh draws for a batch of `images` images, on the model's device."""
    width, entries = model.backbone.config.embed_dim, model.prompts.context.shape[0]
    device = model.prompts.context.device
    shapes = ((images, 1, width), (1, width), (1, width))
    noise = tuple(torch.randn(shape, generator=generator).to(device) for shape in shapes)
    return TrainingDraw(noise, int(torch.randint(entries, (), generator=generator)))  # type: ignore[arg-type]


class KeptTokens(NamedTuple):
    """An image's tokens as plain tensors, which can be kept between epochs.

    Attributes:
        class_token: Raw class token after the last block, (n, Dv).
        patches: Raw patch tokens of each layer, (n, layers, N, Dv).
    """

    class_token: Tensor
    patches: Tensor

    def tokens(self) -> ImageTokens:
        """The same as the backbone gives them."""
        return ImageTokens(self.class_token, self.patches.unbind(dim=1), None)


def kept_tokens(model: BayesPFLModel, images: Tensor) -> KeptTokens:
    """Frozen tokens of normalised images (n, 3, side, side)."""
    tokens = model.encode(images)
    return KeptTokens(tokens.class_token, torch.stack(tokens.patches, dim=1))


def prompt_losses(
    model: BayesPFLModel, batch: TrainingBatch, draw: TrainingDraw, tokens: ImageTokens | None = None
) -> dict[str, Tensor]:
    """Losses of stage 1, whose sum trains all but what only stage 2 trains.

    Args:
        model: The model.
        batch: A labelled batch of n images.
        draw: The step's random draws.
        tokens: Frozen tokens of the batch's images, where they were kept; else they are computed.

    Returns:
        `class`, `focal`, `dice`, `distribution` and `orthogonal`.
    """
    tokens = tokens or model.encode(batch.images)
    sample = model.sample_prompts(tokens, batch.class_names, draw.noise)
    chosen = sample.text[:, 0, draw.entry]
    logits = model.pixel_logits(tokens, chosen[:, None])
    counted = batch.counted
    masks = batch.masks[counted].float()
    maps = [model.upsample(layer).squeeze(1).sigmoid()[counted] for layer in logits]
    context = FlowSample(*(part[counted] for part in sample.context))
    images = global_count(masks)
    flows = (divergence(context), *(agnostic_divergence(flow, images) for flow in (sample.normal, sample.abnormal)))
    return {
        "class": _class_loss(model.image_logits(tokens, chosen), batch),
        "focal": torch.stack([focal_loss(probability, masks) for probability in maps]).sum(),
        "dice": torch.stack([dice_loss(probability, masks) for probability in maps]).sum(),
        "distribution": 0.01 * torch.stack(flows).sum(),
        "orthogonal": orthogonality_loss(sample.text[counted].squeeze(1)),
    }


def image_head_losses(
    model: BayesPFLModel, batch: TrainingBatch, draw: TrainingDraw, tokens: ImageTokens | None = None
) -> dict[str, Tensor]:
    """Loss of stage 2: `class` alone, which trains the mappings and the fusion; arguments as in `prompt_losses`."""
    tokens = tokens or model.encode(batch.images)
    with torch.no_grad():
        sample = model.sample_prompts(tokens, batch.class_names, draw.noise)
    chosen = sample.text[:, 0, draw.entry]
    return {"class": _class_loss(model.image_logits(tokens, chosen), batch)}


def _class_loss(logits: Tensor, batch: TrainingBatch) -> Tensor:
    """Cross-entropy of the images' states (n, 2), averaged over images."""
    counted = batch.counted
    return global_mean(F.cross_entropy(logits[counted].float(), batch.labels[counted].long(), reduction="none"))

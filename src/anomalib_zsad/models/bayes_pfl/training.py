"""The losses of a training batch, for both stages."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_zsad.models.components.training_batch import TrainingBatch

from .flows import divergence
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
    """Fresh draws for a batch of ``images`` images, on the model's device."""
    width, entries = model.backbone.config.embed_dim, model.prompts.context.shape[0]
    device = model.prompts.context.device
    shapes = ((images, 1, width), (1, width), (1, width))
    noise = tuple(torch.randn(shape, generator=generator).to(device) for shape in shapes)
    return TrainingDraw(noise, int(torch.randint(entries, (), generator=generator)))  # type: ignore[arg-type]


def prompt_losses(model: BayesPFLModel, batch: TrainingBatch, draw: TrainingDraw) -> dict[str, Tensor]:
    """Losses of stage 1: ``class``, ``focal``, ``dice``, ``distribution``, ``orthogonal``; their sum trains all."""
    tokens = model.backbone.encode_image(batch.images, model.layers)
    sample = model.sample_prompts(tokens, batch.class_names, draw.noise)
    chosen = sample.text[:, 0, draw.entry]
    count = batch.images.shape[0]
    masks = batch.masks.float()
    maps = [model.upsample(logits).squeeze(1).sigmoid() for logits in model.pixel_logits(tokens, chosen[:, None])]
    flows = (sample.context, sample.normal, sample.abnormal)
    return {
        "class": F.cross_entropy(model.image_logits(tokens, chosen).float(), batch.labels.long()),
        "focal": torch.stack([focal_loss(probability, masks) for probability in maps]).sum(),
        "dice": torch.stack([dice_loss(probability, masks) for probability in maps]).sum(),
        "distribution": 0.01 * torch.stack([divergence(flow, count) for flow in flows]).sum(),
        "orthogonal": orthogonality_loss(sample.text.squeeze(1)),
    }


def image_head_losses(model: BayesPFLModel, batch: TrainingBatch, draw: TrainingDraw) -> dict[str, Tensor]:
    """Loss of stage 2: ``class`` alone, which trains the mappings and the fusion."""
    tokens = model.backbone.encode_image(batch.images, model.layers)
    with torch.no_grad():
        sample = model.sample_prompts(tokens, batch.class_names, draw.noise)
    chosen = sample.text[:, 0, draw.entry]
    return {"class": F.cross_entropy(model.image_logits(tokens, chosen).float(), batch.labels.long())}

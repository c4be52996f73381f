"""The losses of a training batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_zsad.models.components.global_batch import global_mean
from anomalib_zsad.models.components.training_batch import TrainingBatch

from .loss import (
    abnormal_share,
    dice_loss,
    divergence,
    focal_loss,
    gather_loss,
    reconstruction_loss,
    scatter_loss,
)
from .prototypes import distances
from .torch_model import TEMPERATURE, CoPSModel, ImageFeatures, average_text

# Weight of the focal and Dice losses of the maps.
MAP_WEIGHT = 4.0


def draw_training_noise(model: CoPSModel, images: int, generator: torch.Generator | None = None) -> Tensor:
    """Fresh standard normal draws (n, D) for a batch of `images` images, on the model's device."""
    return torch.randn(images, model.backbone.config.embed_dim, generator=generator).to(model.noise.device)


def prompt_losses(
    model: CoPSModel, batch: TrainingBatch, noise: Tensor, features: ImageFeatures | None = None
) -> dict[str, Tensor]:
    """Losses whose sum trains everything.

    Args:
        model: The model.
        batch: A labelled batch of n images; class names are not read.
        noise: Standard normal draws (n, D) for the class tokens.
        features: Frozen features of the batch's images, where they were kept; else they are computed.

    Returns:
        `class`, `focal` and `dice` (both with their weight of 4), `gather`, `scatter`, `kl` and
        `reconstruction` (0 where the constants leave it out).
    """
    features = features or model.encode(batch.images)
    patches = model.local_average(features.patches, model.constants.training_neighbourhood)
    prototypes = model.prototypes(patches)
    draw = model.vae(features.image, noise.to(features.image.dtype))
    # Prototypes learn from gather and scatter alone: they are detached before they enter the prompts.
    text = average_text(model.encode_text(prototypes.detach(), draw.decoded[:, None])) / TEMPERATURE
    image_logits = torch.einsum("nsd,nd->ns", text, F.normalize(features.image.float(), dim=-1))
    local_logits = F.normalize(patches.float(), dim=-1) @ (text[:, 1] - text[:, 0])[..., None]

    counted = batch.counted
    labels = batch.labels[counted].long()
    abnormal = local_logits[counted].squeeze(-1).float().sigmoid()
    patch_size = model.backbone.config.patch_size
    share = abnormal_share(batch.masks, patch_size)[counted]
    distance = distances(patches, prototypes)[counted]
    dice = dice_loss(abnormal, share, patch_size**2) + dice_loss(1 - abnormal, 1 - share, patch_size**2)
    reconstruction = reconstruction_loss(features.image[counted].float(), draw.decoded[counted].float())
    return {
        "class": global_mean(F.cross_entropy(image_logits[counted].float(), labels, reduction="none")),
        "focal": MAP_WEIGHT * focal_loss(abnormal, share),
        "dice": MAP_WEIGHT * dice,
        "gather": gather_loss(distance[:, 0], share),
        "scatter": scatter_loss(distance[:, 1], share),
        "kl": divergence(draw.mean[counted].float(), draw.log_variance[counted].float()),
        "reconstruction": reconstruction if model.constants.reconstruction else torch.zeros_like(reconstruction),
    }

"""Weights that turn the per-region overlap into a weighted true positive rate."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

# Pixels that touch at a corner belong to one region (8-connectivity), images of a batch never do.
_CONNECTIVITY = np.zeros((3, 3, 3), dtype=bool)
_CONNECTIVITY[1] = True


def region_weights(masks: Tensor) -> Tensor:
    """Weigh each abnormal pixel by one over the area of its connected region.

    The mean over regions of the share of their pixels above a threshold is then the weighted share of all abnormal
    pixels above it, and the regions need not be kept.

    Args:
        masks: boolean, shape (n, height, width).

    Returns:
        float64 weights of the same shape, on the same device (on the CPU for MPS, which has no float64); zero where the
        mask is not set. Their sum is the number of regions.
    """
    device = masks.device if masks.device.type != "mps" else torch.device("cpu")
    weights = torch.zeros(masks.shape, dtype=torch.float64)
    abnormal = masks.flatten(1).any(1).cpu()
    if abnormal.any():
        labels, count = ndimage.label(masks[abnormal.to(masks.device)].cpu().numpy(), structure=_CONNECTIVITY)
        areas = np.bincount(labels.ravel(), minlength=count + 1).astype(np.float64)
        share = np.concatenate([[0.0], 1.0 / areas[1:]])
        weights[abnormal] = torch.from_numpy(share[labels])
    return weights.to(device)

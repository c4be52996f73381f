"""What Bayes-PFL's prompts learn from: losses of a batch, over all processes that share it."""

import torch
from torch import Tensor

from anomalib_zsad.models.components.global_batch import global_mean, global_mean_where, global_sum


def focal_loss(abnormal: Tensor, mask: Tensor) -> Tensor:
    """Focal loss (gamma 2) of probability maps, foreground and background averaged over their own pixels and added.

    Args:
        abnormal: Probability of the abnormal state (n, side, side).
        mask: Ground truth (n, side, side), 1 where abnormal.

    Returns:
        A scalar. A batch without foreground (or background) pixels has no such term.
    """
    foreground = mask > 0.5
    truth = torch.where(foreground, abnormal, 1 - abnormal)
    penalty = -(1 - truth).square() * torch.log(truth + 1e-8)
    return global_mean_where(penalty, foreground) + global_mean_where(penalty, ~foreground)


def dice_loss(abnormal: Tensor, mask: Tensor) -> Tensor:
    """Dice loss of the abnormal map, over the whole batch at once; arguments as in `focal_loss`."""
    epsilon = 1e-5
    overlap, total = global_sum(torch.stack(((abnormal * mask).sum(), abnormal.sum() + mask.sum()))).unbind()
    return 1 - (2 * overlap + epsilon) / (total + epsilon)


def orthogonality_loss(text: Tensor) -> Tensor:
    """Mean squared cosine between different prompts of a state, added over both states.

    Args:
        text: Normalised text embeddings (n, L, 2, D).

    Returns:
        A scalar: the off-diagonal squared cosines, averaged over (n, L, L).
    """
    cosines = torch.einsum("nisd,njsd->nsij", text, text)
    off_diagonal = 1 - torch.eye(cosines.shape[-1], device=text.device, dtype=text.dtype)
    return global_mean((cosines * off_diagonal).square().mean(dim=(2, 3))).sum()

"""What Bayes-PFL's prompts learn from."""

import torch
from torch import Tensor


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
    return _mean_where(penalty, foreground) + _mean_where(penalty, ~foreground)


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean of the chosen values, 0 where none is chosen, without waiting for the device to count them."""
    weights = where.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)


def dice_loss(abnormal: Tensor, mask: Tensor) -> Tensor:
    """Dice loss of the abnormal map, over the whole batch at once; arguments as in :func:`focal_loss`."""
    epsilon = 1e-5
    overlap = (abnormal * mask).sum()
    return 1 - (2 * overlap + epsilon) / (abnormal.sum() + mask.sum() + epsilon)


def orthogonality_loss(text: Tensor) -> Tensor:
    """Mean squared cosine between different prompts of a state, added over both states.

    Args:
        text: Normalised text embeddings (n, L, 2, D).

    Returns:
        A scalar: the off-diagonal squared cosines, averaged over (n, L, L).
    """
    cosines = torch.einsum("nisd,njsd->nsij", text, text)
    off_diagonal = 1 - torch.eye(cosines.shape[-1], device=text.device, dtype=text.dtype)
    return (cosines * off_diagonal).square().mean(dim=(0, 2, 3)).sum()

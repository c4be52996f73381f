"""What screening asks of a model: scores and maps for a batch of slices."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class SliceScores:
    """Answers for n slices of H x W pixels, on the slices' own grid.

    Scores and maps of this package's methods are in [0, 1]; those of other models are on a scale of their own.

    Attributes:
        score: Shape (n,).
        anomaly_map: Shape (n, H, W); zeros where the model has none.
        score_std: Standard deviation of the score over sampled prompts, shape (n,); `None` if the model has none.
        map_std: Standard deviation of the map, shape (n, H, W); `None` if the model has none.
        model_map: The map at the model's own size, on its device, shape (n, side, side); `None` where that is all there
            is to `anomaly_map`.
        has_map: Whether the model has maps at all.
    """

    score: torch.Tensor
    anomaly_map: torch.Tensor
    score_std: torch.Tensor | None = None
    map_std: torch.Tensor | None = None
    model_map: torch.Tensor | None = None
    has_map: bool = True

    def check(self, count: int, shape: tuple[int, int]) -> None:
        """Refuse answers of the wrong shape, or with values that are no scores.

        Raises:
            ValueError: Saying which.
        """
        expected = {
            "score": (count,),
            "anomaly_map": (count, *shape),
            "score_std": (count,),
            "map_std": (count, *shape),
        }
        for name, wanted in expected.items():
            value = getattr(self, name)
            if value is None and name.endswith("_std"):
                continue
            if tuple(value.shape) != wanted:
                raise ValueError(f"the scorer's {name} has shape {tuple(value.shape)}, expected {wanted}")
            # A finite sum has finite values alone, and is much cheaper than to look at each; a sum can overflow.
            if not torch.isfinite(value.sum()) and not torch.isfinite(value).all():
                raise ValueError(f"the scorer's {name} holds NaN or infinite values")


class SliceScorer(Protocol):
    """A model that scores slices."""

    def __call__(self, images: torch.Tensor) -> SliceScores:
        """Score a batch.

        Args:
            images: float32 in [0, 1], shape (n, 3, H, W), on the CPU.

        Returns:
            Answers on the CPU, on the same H x W grid.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """What made the scores, for the report: model, hashes of weights, device, class name, and so on."""
        ...

"""A scorer without a model: what is bright is abnormal."""

from typing import Any

import torch

from anomalib_zsad.scoring.scores import SliceScores


class BrightSpotScorer:
    """Map: the grey level of the middle channel, squared. Score: the map's maximum."""

    def __init__(self, fail_after: int | None = None, error: BaseException | None = None) -> None:
        self.batches: list[tuple[int, ...]] = []
        self.fail_after = fail_after
        self.error = error or RuntimeError("SECRET^NAME is quoted by this error")

    def __call__(self, images: torch.Tensor) -> SliceScores:
        if self.fail_after is not None and len(self.batches) >= self.fail_after:
            raise self.error
        self.batches.append(tuple(images.shape))
        heat = images[:, 1] ** 2
        score = heat.flatten(1).amax(1)
        return SliceScores(score, heat, 0.1 * score, 0.1 * heat)

    def describe(self) -> dict[str, Any]:
        return {"model": "BrightSpot", "weights_sha256": "0" * 64, "device": "cpu"}

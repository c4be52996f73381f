"""A scorer of images without a model: what is bright is abnormal."""

from typing import Any

import torch
from torch.nn import functional

from anomalib_zsad.scoring.scores import SliceScores

SIDE = 32


class BrightImageScorer:
    """Map: the mean of the colours, on 32 x 32 pixels. Score: the map's maximum."""

    def __init__(self, fail_after: int | None = None, error: BaseException | None = None) -> None:
        self.batches: list[int] = []
        self.fail_after = fail_after
        self.error = error or RuntimeError("broken")

    one_by_one = False

    def prepare(self, image: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(image[None], (SIDE, SIDE), mode="bilinear", antialias=True)[0]

    def __call__(self, batch: torch.Tensor) -> SliceScores:
        if self.fail_after is not None and len(self.batches) >= self.fail_after:
            raise self.error
        self.batches.append(len(batch))
        heat = batch.mean(1).clamp(0, 1)
        score = heat.flatten(1).amax(1)
        return SliceScores(score, heat, 0.1 * score, 0.1 * heat)

    def describe(self) -> dict[str, Any]:
        return {"model": "BrightImage", "class_name": "part", "weights_sha256": "0" * 64, "device": "cpu"}

    def fingerprint(self) -> dict[str, Any]:
        return {"model.model": "BrightImage"}

"""A zero-shot model of this package as a scorer of slices."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from anomalib_zsad.calibration.fingerprint import describe_model
from anomalib_zsad.models.components.prediction import ZeroShotPrediction
from anomalib_zsad.scoring.device import resolve_device
from anomalib_zsad.scoring.scores import SliceScores


class ModelScorer:
    """Scores slices with a Lightning module such as `BayesPFL` or `CoPS`.

    Args:
        module: The model, in any state; it is put into evaluation mode on `device`.
        device: `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1`, ...
        class_name: What the slices show, for the prompts; `None` for the module's own.
        facts: More for the report, such as the checkpoint's hash.
    """

    def __init__(
        self, module: Any, device: str = "auto", class_name: str | None = None, facts: Mapping[str, Any] | None = None
    ) -> None:
        self.device = resolve_device(device)
        self.module = module.eval().to(self.device)
        self.class_name = class_name or module.class_name or "object"
        self.facts = dict(facts or {})
        self._model = describe_model(self.module)

    def __call__(self, images: torch.Tensor) -> SliceScores:
        """Score images, float32 in [0, 1], shape (n, 3, H, W); maps come back on the same H x W pixels."""
        return self.on_slices(self.predict(images), images.shape[-2:])

    @torch.inference_mode()
    def predict(self, images: torch.Tensor) -> ZeroShotPrediction:
        """The model's answer for images, float32 in [0, 1], shape (n, 3, H, W), at its own size on its device."""
        batch = self.module.pre_processor.transform(images.to(self.device, non_blocking=True))
        return self.module.model(batch, [self.class_name] * len(batch))

    @torch.inference_mode()
    def on_slices(self, answer: ZeroShotPrediction, shape: torch.Size) -> SliceScores:
        """An answer on the pixels of its slices, `shape` (H, W), on the CPU."""
        return SliceScores(
            score=answer.pred_score.float().cpu(),
            anomaly_map=_on_pixels(answer.anomaly_map, shape),
            score_std=answer.score_std.float().cpu(),
            map_std=_on_pixels(answer.map_std, shape),
            model_map=answer.anomaly_map.float().squeeze(1),
        )

    def describe(self) -> dict[str, Any]:
        """Model, backbone with fingerprint, hash of the weights, constants, class name, device, and the caller's."""
        return {
            **self._model,
            "class_name": self.class_name,
            **self.facts,
            "device": device_name(self.device),
        }


def device_name(device: torch.device) -> str:
    """`cpu`, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _on_pixels(maps: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Maps (n, 1, side, side) on images of another size, (n, H, W), on the CPU."""
    resized = maps.float()
    if maps.shape[-2:] != shape:
        resized = functional.interpolate(resized, shape, mode="bilinear", align_corners=False)
    return resized.squeeze(1).clamp(0, 1).cpu()

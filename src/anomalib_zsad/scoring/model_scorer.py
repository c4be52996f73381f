"""A zero-shot model of this package as a scorer of slices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from anomalib_zsad.calibration.fingerprint import describe_model
from anomalib_zsad.models.components.prediction import ZeroShotPrediction
from anomalib_zsad.outputs.file_hash import file_sha256
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


def build_scorer(
    method: str,
    checkpoint: Path | None,
    arguments: Mapping[str, Any],
    device: str = "auto",
    class_name: str | None = None,
) -> ModelScorer:
    """Build a model and make it a scorer.

    Args:
        method: BayesPFL or CoPS.
        checkpoint: Its checkpoint; `None` for an untrained model, whose scores mean nothing.
        arguments: Further arguments of the model's class, such as `backbone`.
        device: See `ModelScorer`.
        class_name: See `ModelScorer`.

    Raises:
        ValueError: If there is no such method, device, or argument, the checkpoint does not fit, or the model cannot
            score.
        FileNotFoundError: If checkpoint or backbone weights are missing.
    """
    from anomalib_zsad.models.methods import find_method

    resolve_device(device)
    if checkpoint is not None and not checkpoint.is_file():
        raise FileNotFoundError(f"there is no checkpoint {checkpoint}")
    cls = find_method(method)
    given = dict(arguments) if checkpoint is None else {**arguments, "checkpoint": str(checkpoint)}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # an untrained model has random weights: a resumed run must have the same
            module = cls(**given)
    except TypeError as error:
        raise ValueError(
            f"{cls.__name__} cannot be built with {', '.join(given) or 'no arguments'}: {error}"
        ) from error
    facts = {
        "checkpoint_sha256": None if checkpoint is None else file_sha256(checkpoint),
        "arguments": _without_folders(arguments),
    }
    scorer = ModelScorer(module, device, class_name, facts)
    _try_out(scorer)
    return scorer


def _try_out(scorer: ModelScorer) -> None:
    """Score one empty image: what fails for every slice is told before the run and not once for each series.

    Raises:
        ValueError: If the model cannot score at all, such as with a class name that is too long.
    """
    try:
        scorer(torch.zeros(1, 3, 16, 16))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"the model cannot score on {device_name(scorer.device)}: {error}") from error


def _without_folders(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for the report: of a path the file's name alone, as folders may name people."""
    return {
        name: Path(value).name if isinstance(value, str) and Path(value).exists() else value
        for name, value in arguments.items()
    }


def device_name(device: torch.device) -> str:
    """`cpu`, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _on_pixels(maps: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Maps (n, 1, side, side) on images of another size, (n, H, W), on the CPU."""
    resized = functional.interpolate(maps.float(), shape, mode="bilinear", align_corners=False)
    return resized.squeeze(1).clamp(0, 1).cpu()

"""One of anomalib's models in the place of a zero-shot method of this package: same calls, what it cannot give is none.

Scores and maps stay on the model's own scale, whatever that is: rankings, p-values and thresholds need no other.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from anomalib.data import ImageBatch
from anomalib.data.transforms.utils import extract_transforms_by_type
from anomalib.models import AnomalibModule
from torch import Tensor, nn
from torchvision.transforms.v2 import CenterCrop, RandomCrop, Transform

from anomalib_zsad.calibration.fingerprint import weights_hash
from anomalib_zsad.scoring.hosted_module import StandIn
from anomalib_zsad.scoring.model_scorer import ModelScorer
from anomalib_zsad.scoring.scores import SliceScores


class AdaptedPrediction(NamedTuple):
    """Answer for a batch of n images.

    Attributes:
        pred_score: Image scores (n,), on the model's own scale.
        anomaly_map: Maps (n, 1, side, side) on that scale or another, which cover whole images; `None` if the model
            has none.
        score_std: `None`: there are no sampled prompts.
        map_std: `None`, as `score_std`.
    """

    pred_score: Tensor
    anomaly_map: Tensor | None
    score_std: None = None
    map_std: None = None


class AdaptedModel(nn.Module):
    """The torch model of an adapter.

    Args:
        module: A Lightning module of anomalib.
        settings: What decides its answers beside its tensors, as text.
    """

    def __init__(self, module: AnomalibModule, settings: str) -> None:
        super().__init__()
        self.hosted = module
        self.settings = settings
        self._spoken: str | None = None

    def forward(self, images: Tensor, class_names: Sequence[str] | str | None = None) -> AdaptedPrediction:
        """Score prepared images.

        Args:
            images: (n, 3, height, width), as the model's own pre-processor leaves them.
            class_names: What each image shows, for models that are told so (WinClip).

        Raises:
            ValueError: If the model answers no score.
        """
        names = [class_names] * len(images) if isinstance(class_names, str) or class_names is None else class_names
        if not self._is_told or len(set(names)) == 1:
            return self._answer(images, names[0] if len(names) else None)
        parts: list[AdaptedPrediction | None] = [None] * len(images)
        for name in dict.fromkeys(names):
            places = [place for place, own in enumerate(names) if own == name]
            answer = self._answer(images[places], name)
            for row, place in enumerate(places):
                own_map = None if answer.anomaly_map is None else answer.anomaly_map[row : row + 1]
                parts[place] = AdaptedPrediction(answer.pred_score[row : row + 1], own_map)
        known = [part for part in parts if part is not None]
        maps = [part.anomaly_map for part in known if part.anomaly_map is not None]
        return AdaptedPrediction(torch.cat([part.pred_score for part in known]), torch.cat(maps) if maps else None)

    @property
    def _is_told(self) -> bool:
        """Whether the model takes a class name."""
        return hasattr(self.hosted, "class_name") and callable(getattr(self.hosted.model, "setup", None))

    def _answer(self, images: Tensor, class_name: str | None) -> AdaptedPrediction:
        if self._is_told and class_name is not None and class_name != self._spoken:
            self.hosted.model.setup(class_name)  # type: ignore[operator]
            self._spoken = class_name
        answer: Any = self.hosted.predict_step(ImageBatch(image=images), 0)
        maps, scores = answer.anomaly_map, answer.pred_score
        if scores is None and maps is None:
            raise ValueError(f"{type(self.hosted).__name__} answers neither a score nor a map")
        if maps is not None:
            side = images.shape[-1]
            maps = maps.float().reshape(len(images), 1, *maps.shape[-2:])
            if tuple(maps.shape[-2:]) != (side, side):
                maps = nn.functional.interpolate(maps, (side, side), mode="bilinear", align_corners=False)
        scores = maps.flatten(1).amax(1) if scores is None else scores.float().reshape(len(images))
        return AdaptedPrediction(scores, maps)


class AnomalibAdapter(StandIn):
    """Stands where commands expect a Lightning module of this package.

    Args:
        module: A Lightning module of anomalib, built to score.
        trained: Whether it comes from a checkpoint.
        remarks: What a reader of figures must know of it.

    Attributes:
        name: Name of the model's class.
        model: The torch model, `model(images, class_names)`.
        pre_processor: Whose `transform` brings an image (3, h, w) in [0, 1] to the model's size.
        method_class: That class.
        own_scale: Always true: scores are not clamped to [0, 1].
        class_name: What the model was told of its images, or `None`.
        description: What decides the answers, for reports and calibrations.

    Raises:
        ValueError: If the model crops images: a map would not cover them; or brings them to no size.
    """

    def __init__(self, module: AnomalibModule, *, trained: bool, remarks: tuple[str, ...] = ()) -> None:
        self.name = type(module).__name__
        self.method_class = type(module)
        self.own_scale = True
        self.trained, self.remarks = trained, remarks
        self.class_name: str | None = getattr(module, "class_name", None)
        transform = getattr(module.pre_processor, "transform", None)
        size = _size_of(self.name, transform)
        self.pre_processor = SimpleNamespace(transform=transform)
        constants = _plain(dict(module.hparams))
        preparation = " ".join(str(transform).split())
        self.model = AdaptedModel(module, json.dumps([constants, preparation], sort_keys=True)).eval()
        self.description: dict[str, Any] = {
            "model": self.name,
            "trained": trained,
            "image_size": size,
            "weights_sha256": weights_hash(self.model),
            "constants": constants,
            "preparation": preparation,
        }


class AdaptedScorer(ModelScorer):
    """Scores images and slices with one of anomalib's models; nothing is clamped."""

    def __call__(self, images: Tensor) -> SliceScores:
        """See `ModelScorer`.

        Raises:
            ValueError: If the model has no maps: what is found in a volume is found in them.
        """
        answer = super().__call__(images)
        if not answer.has_map:
            raise ValueError(f"{self.module.name} has no maps, which volumes need; score images with it")
        return answer

    @torch.inference_mode()
    def on_slices(self, answer: Any, shape: torch.Size) -> SliceScores:
        """See `ModelScorer`."""
        maps = answer.anomaly_map
        on_pixels = torch.zeros(len(answer.pred_score), *shape)
        if maps is not None:
            on_pixels = nn.functional.interpolate(maps.float(), shape, mode="bilinear", align_corners=False)
            on_pixels = on_pixels.squeeze(1).cpu()
        return SliceScores(
            score=answer.pred_score.float().cpu(),
            anomaly_map=on_pixels,
            model_map=None if maps is None else maps.float().squeeze(1),
            has_map=maps is not None,
        )


def _size_of(name: str, transform: Any) -> int:
    """Width of the images that a transform makes.

    Raises:
        ValueError: If it crops, or makes images of no size of its own.
    """
    if not isinstance(transform, Transform):
        raise ValueError(f"{name} has no pre-processor that brings images to its size; train it with one")
    for crop in (CenterCrop, RandomCrop):
        if extract_transforms_by_type(transform, crop):
            raise ValueError(f"{name} crops images before it scores them: its map would not cover them; train without")
    sizes = {tuple(transform(torch.zeros(3, *shape)).shape[-2:]) for shape in ((48, 64), (96, 32))}
    if len(sizes) != 1:
        raise ValueError(f"{name}'s pre-processor does not bring images to one size; train it with Resize((h, w))")
    return int(sizes.pop()[1])


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters in JSON's types; of a path the file's name alone, as folders may name people."""
    left = {name: value for name, value in values.items() if name not in ("class_name", "pre_trained")}
    for name, value in left.items():
        if isinstance(value, Path) or (isinstance(value, str) and Path(value).exists()):
            left[name] = Path(value).name
    return json.loads(json.dumps(left, default=str, sort_keys=True))

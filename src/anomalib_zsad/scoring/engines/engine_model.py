"""A torch model's place, taken by an engine."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anomalib_zsad.models.components.class_names import resolve_names
from anomalib_zsad.models.components.prediction import ZeroShotPrediction
from anomalib_zsad.scoring.engines.runtimes import Runtime

# Images go through in groups of about so many patches, as in the backbone: memory does not grow with the batch.
_CACHED_PATCHES = 2048
_FIELDS = ("pred_score", "anomaly_map", "score_std", "map_std")


class EngineModel(nn.Module):
    """Answers as the torch model that it was made of: same call, same fields.

    Args:
        load: Makes and loads the model for a class name.
        class_name: Class name of images that come without one.
        patches: Patches of an image.
        identity: What decides the answers, as text.
        speaks: Whether answers depend on class names.
        notes: What `load` tells of the models that it makes, for reports.
    """

    def __init__(
        self,
        load: Callable[[str], Runtime],
        class_name: str,
        patches: int,
        identity: str,
        *,
        speaks: bool = True,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.class_name, self.identity = class_name, identity
        self.notes: Mapping[str, Any] = {} if notes is None else notes
        self._load: Callable[[str], Runtime] | None = load
        self._speaks = speaks
        self._group = max(1, _CACHED_PATCHES // patches)
        self._loaded: tuple[str, Runtime] | None = None
        self._lock = threading.Lock()

    @torch.inference_mode()
    def forward(self, images: Tensor, class_names: Sequence[str] | str | None = None) -> ZeroShotPrediction:
        """Scores, maps and their spread over the sampled prompts.

        Args:
            images: Normalised images (n, 3, side, side).
            class_names: One name, or one an image; `None` for the model's own.
        """
        names = resolve_names(class_names, len(images), self.class_name)
        if len(names) == 1 or not self._speaks:
            names = [names[0] if self._speaks else self.class_name] * len(images)
        answers: dict[str, list[Tensor]] = {field: [torch.empty(0)] * len(images) for field in _FIELDS}
        for name in dict.fromkeys(names):
            places = [place for place, own in enumerate(names) if own == name]
            for start in range(0, len(places), self._group):
                some = places[start : start + self._group]
                for field, values in self._run(name, images[some]).items():
                    for place, value in zip(some, values, strict=True):
                        answers[field][place] = value
        score, maps, score_std, map_std = (torch.stack(answers[field]) for field in _FIELDS)
        return ZeroShotPrediction(score, None, maps, None, score_std, map_std)

    def evidence(self, *args: Any, **kwargs: Any) -> Any:
        """An export answers scores and maps, and not what they are made of.

        Raises:
            ValueError: Always.
        """
        del args, kwargs
        raise ValueError("an engine's model answers scores and maps only; what they are made of needs the engine torch")

    def settle(self, class_name: str) -> None:
        """Make and load the model of a class name now, and let go of what could make those of others.

        Raises:
            ValueError: If the engine cannot load it.
            OSError: If the cache cannot be written.
        """
        with self._lock:
            self._runtime(class_name if self._speaks else self.class_name)
            self._load = None

    def _run(self, class_name: str, images: Tensor) -> dict[str, Tensor]:
        with self._lock:  # a loaded model answers one caller at a time
            answer = self._runtime(class_name)(np.ascontiguousarray(images.float().cpu().numpy()))
        return {field: torch.from_numpy(answer[field]) for field in _FIELDS}

    def _runtime(self, class_name: str) -> Runtime:
        """That of a class name; one is in memory at a time."""
        if self._loaded is None or self._loaded[0] != class_name:
            if self._load is None:
                raise ValueError(f"the model was made for {self._loaded and self._loaded[0]!r} and not {class_name!r}")
            self._loaded = None
            self._loaded = (class_name, self._load(class_name))
        return self._loaded[1]

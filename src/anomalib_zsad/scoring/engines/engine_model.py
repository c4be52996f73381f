"""A torch model's place, taken by an engine."""

import gc
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
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
        make: From a class name to the model's file, which is made if there is none; it holds the torch model.
        load: Loads such a file.
        class_name: Class name of images that come without one.
        patches: Patches of an image.
        identity: What decides the answers, as text.
        speaks: Whether answers depend on class names.
        notes: What `make` tells of the models that it makes, for reports.
        check: Raises `ValueError` for class names that the torch model cannot take; `None` where it does not tell.

    Attributes:
        check_class_name: `check`, until the torch model is let go of.
    """

    def __init__(
        self,
        make: Callable[[str], Path],
        load: Callable[[Path], Runtime],
        class_name: str,
        patches: int,
        identity: str,
        *,
        speaks: bool = True,
        notes: Mapping[str, Any] | None = None,
        check: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.class_name, self.identity = class_name, identity
        self.notes: Mapping[str, Any] = {} if notes is None else notes
        self.check_class_name = check
        self._make: Callable[[str], Path] | None = make
        self._load = load
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
        """Make the model of a class name now, let go of what could make those of others, and load it.

        So the torch model's weights are gone before the engine's own come.

        Raises:
            ValueError: If the engine cannot load it.
            OSError: If the cache cannot be written.
        """
        with self._lock:
            name = class_name if self._speaks else self.class_name
            path = self._made(name)
            self._make = self.check_class_name = self._loaded = None
            gc.collect()  # modules of torch hold each other
            self._loaded = (name, self._load(path))

    def _run(self, class_name: str, images: Tensor) -> dict[str, Tensor]:
        with self._lock:  # a loaded model answers one caller at a time
            answer = self._runtime(class_name)(np.ascontiguousarray(images.float().cpu().numpy()))
        return {field: torch.from_numpy(answer[field]) for field in _FIELDS}

    def _runtime(self, class_name: str) -> Runtime:
        """That of a class name; one is in memory at a time."""
        if self._loaded is None or self._loaded[0] != class_name:
            path = self._made(class_name)
            self._loaded = None
            self._loaded = (class_name, self._load(path))
        return self._loaded[1]

    def _made(self, class_name: str) -> Path:
        if self._make is None:
            raise ValueError(f"the model was made for {self._loaded and self._loaded[0]!r} and not {class_name!r}")
        return self._make(class_name)

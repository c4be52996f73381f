"""One image file in, score, map and overlay out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from anomalib_zsad.data.image_files import read_image

from .tiled_model import TiledModel, WorkingSize


@dataclass(frozen=True)
class Examination:
    """What a model says of one image of h x w pixels.

    Attributes:
        score: Image score in [0, 1].
        score_std: Its standard deviation over the sampled prompts.
        anomaly_map: Map (h, w) in [0, 1], on the image's own pixels.
        map_std: Its standard deviation over the sampled prompts, (h, w).
        image: The image (h, w, 3), 8 bit.
        p_value: Conformal p-value of the score; `None` without a calibration.
        flagged: Whether the p-value is at most the false-alarm rate; likewise.
    """

    score: float
    score_std: float
    anomaly_map: np.ndarray
    map_std: np.ndarray
    image: np.ndarray
    p_value: float | None = None
    flagged: bool | None = None

    def overlay(self, opacity: float = 0.7, limits: tuple[float, float] | None = None) -> Image.Image:
        """The image with the map over it, to look at or save.

        Args:
            opacity: Of the colours where the map reaches the upper limit, in [0, 1].
            limits: Map values shown clear and in full colour; `None` for 0.5, where normal and abnormal are equally
                likely, and the map's maximum, but at least 0.6, so that an image with nothing to see stays clear.

        Raises:
            ValueError: The upper limit is not above the lower one.
        """
        from matplotlib import colormaps

        low, high = limits or (0.5, max(0.6, float(self.anomaly_map.max())))
        if high <= low:
            raise ValueError(f"limits are ({low}, {high}); the second must be above the first")
        shown = np.clip((self.anomaly_map - low) / (high - low), 0, 1)
        colours = colormaps["inferno"](0.25 + 0.75 * shown)[..., :3] * 255
        weight = opacity * shown[..., None]
        return Image.fromarray((self.image * (1 - weight) + colours * weight).astype(np.uint8))


@torch.no_grad()
def examine_image(
    model: Any, pre_processor: nn.Module | None, path: Path, class_name: str | None, tile_size: int | None = None
) -> Examination:
    """See `ZeroShotMixin.examine`."""
    image = read_image(path)
    device = model.backbone.vision.projection.device
    batch = image[None].to(device)
    transform: Any = (lambda images: images) if pre_processor is None else pre_processor.transform
    training = model.training
    if tile_size is None:
        prediction = model.eval()(transform(batch), class_name)
    else:
        working = WorkingSize(tile_size, model.backbone.image_size)
        prediction = TiledModel(model.eval(), transform, working.window)(working(batch), class_name)
    model.train(training)
    maps = torch.cat((prediction.anomaly_map, prediction.map_std)).float()
    maps = nn.functional.interpolate(maps, image.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)
    anomaly_map, map_std = maps.cpu().numpy()
    return Examination(
        score=float(prediction.pred_score),
        score_std=float(prediction.score_std),
        anomaly_map=anomaly_map,
        map_std=map_std,
        image=(image * 255).round().byte().permute(1, 2, 0).numpy(),
    )

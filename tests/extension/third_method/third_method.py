"""A trivial method in a package of its own: how far a patch is from the mean patch of its image.

What the recipe in docs/adding-a-method.md asks for and nothing more: no published.py, one learned number.
"""

from typing import Any

import torch
from anomalib.models.components import AnomalibModule
from torch import Tensor, nn
from torch.nn import functional

from anomalib_zsad.backbone import FrozenCLIP
from anomalib_zsad.models.components.checkpoint import (
    AUTO,
    check_backbone,
    load_parameters,
    read_checkpoint,
    settle,
)
from anomalib_zsad.models.components.global_batch import share_of_step
from anomalib_zsad.models.components.lightning_mixin import ZeroShotMixin, resolve_pre_processor
from anomalib_zsad.models.components.prediction import Evidence, ZeroShotPrediction


class ThirdModel(nn.Module):
    def __init__(self, backbone: FrozenCLIP, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.backbone, self.layers = backbone, layers
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor, class_names: Any = None, noise: Any = None) -> ZeroShotPrediction:
        maps = self.maps(images)
        nothing = torch.zeros_like(maps)
        return ZeroShotPrediction(maps.flatten(1).amax(1), None, maps, None, nothing.flatten(1).amax(1), nothing)

    def evidence(self, images: Tensor, class_names: Any = None, noise: Any = None) -> Evidence:
        maps = self.maps(images)
        scores = maps.flatten(1).amax(1)
        return Evidence(scores, maps, scores[:, None], maps)

    def maps(self, images: Tensor) -> Tensor:
        tokens = self.backbone.encode_image(images, self.layers)
        patches = functional.normalize(tokens.patches[0], dim=-1)
        near = (patches * functional.normalize(patches.mean(1, keepdim=True), dim=-1)).sum(-1)
        grid = self.backbone.grid
        far = torch.sigmoid(self.scale * (0.9 - near) * 10).view(-1, 1, grid, grid)
        return functional.interpolate(far, size=images.shape[-2:], mode="bilinear").clamp(0, 1)


class ThirdMethod(ZeroShotMixin, AnomalibModule):
    def __init__(
        self,
        backbone: str | None = None,
        pretrained: str | None = AUTO,
        image_size: int | None = None,
        layers: tuple[int, ...] | None = None,
        checkpoint: str | None = None,
        class_name: str | None = None,
        calibration: str | None = None,
        false_alarm_rate: float = 0.05,
        pre_processor: nn.Module | bool = True,
        post_processor: nn.Module | bool = True,
        evaluator: Any = True,
        visualizer: Any = True,
    ) -> None:
        saved = None if checkpoint is None else read_checkpoint(checkpoint, type(self).__name__)
        base = settle(saved, backbone, pretrained, image_size, layers, class_name)
        frozen = FrozenCLIP(base.backbone, base.pretrained, base.image_size)
        super().__init__(
            pre_processor=resolve_pre_processor(pre_processor, frozen.image_size),
            post_processor=post_processor,
            evaluator=evaluator,
            visualizer=visualizer,
        )
        self.class_name, self.trained, self.pretrained = base.class_name, saved is not None, base.pretrained
        self.model = ThirdModel(frozen, base.layers or frozen.config.default_layers[-1:])
        if saved is not None:
            check_backbone(saved, frozen)
            load_parameters(self.model, saved.state, saved, frozen.config.name)
        self.use_calibration(calibration, false_alarm_rate)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        share = share_of_step(self.trainer, batch_idx, len(batch.image))
        labelled = self.labelled(batch, share)
        scores = self.model.maps(labelled.images).flatten(1).amax(1)
        loss = functional.binary_cross_entropy(scores, labelled.labels.float())
        return self.log_losses({"image": loss}, share.total)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.model.parameters(), lr=0.1)

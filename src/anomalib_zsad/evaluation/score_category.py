"""One category, one model, one protocol: from images to metrics."""

import time
from collections.abc import Callable
from typing import Any

import torch
from anomalib.data import AnomalibDataset
from torch import Tensor, nn

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.data.prepared_images import PreparedBatch, PreparedImages, make_loader
from anomalib_zsad.evaluation.calibrated_images import describe_figures, image_figures
from anomalib_zsad.evaluation.figure import Figure
from anomalib_zsad.evaluation.protocols import Protocol
from anomalib_zsad.evaluation.results import CategoryResult, Run, defined
from anomalib_zsad.metrics import PIXEL_METRICS, ImageMetrics, PixelMetrics
from anomalib_zsad.models.components.noise import seeded_normal
from anomalib_zsad.scoring.device import device_of


class _Tally:
    """What is kept of a category while its images pass: numbers for each image, and the bounded pixel summary."""

    def __init__(self) -> None:
        self.pixels = PixelMetrics()
        self.parts: dict[str, list[Tensor]] = {}
        self.abnormal: list[Tensor] = []
        self.peaks: list[Tensor] = []
        self.masked = self.turned = 0
        self.mapless = False
        self.class_names: set[str] = set()

    def add(self, batch: PreparedBatch, maps: Tensor | None, parts: dict[str, Tensor]) -> None:
        for name, values in parts.items():
            self.parts.setdefault(name, []).append(values.float().cpu())
        self.abnormal.append(batch.abnormal)
        self.class_names.update(batch.class_names)
        self.turned += int(batch.turned.sum())
        self.masked += int((batch.mask_known & batch.abnormal).sum())
        self.mapless |= maps is None
        if maps is None:
            return
        self.peaks.append(maps.flatten(1).amax(1).cpu())
        if batch.mask_known.any():
            self.pixels.update(maps[batch.mask_known.to(maps.device)], batch.masks[batch.mask_known])

    def labels(self) -> Tensor:
        return torch.cat(self.abnormal)

    def judged(self, calibration: Calibration, rate: float) -> dict[str, Figure]:
        """Shares flagged at the thresholds of a calibration; for the protocol whose scores are the model's own."""
        scores = torch.cat(self.parts["score"])
        peaks = torch.cat(self.peaks) if self.peaks else scores
        return image_figures(calibration, rate, scores, peaks, self.labels())


@torch.inference_mode()
def evaluate_category(
    model: Any,
    transform: Callable[[Tensor], Tensor],
    dataset: AnomalibDataset,
    *,
    target: str,
    category: str,
    class_name: str,
    protocol: Protocol,
    run: Run,
    batch_size: int = 1,
    num_workers: int = 0,
    progress: Callable[[int], None] = lambda _: None,
    calibration: Calibration | None = None,
    false_alarm_rate: float = 0.05,
) -> CategoryResult:
    """Evaluate a model on the test images of one category; the memory used does not depend on their number.

    Args:
        model: Torch model of a method, in evaluation mode.
        transform: The model's transform of an image (3, h, w) in [0, 1].
        dataset: The test images.
        target: Name of the set, for the record.
        category: Name of the category, for the record.
        class_name: What is said of images that bring no name.
        protocol: How scores are made.
        run: The run, for the record.
        batch_size: Images at a time; it does not change the answers. A model of tiles takes one.
        num_workers: Processes that read images.
        progress: Called with the number of images done since the last call.
        calibration: Of images, to measure false alarms with; the scores must be the model's own.
        false_alarm_rate: Share of normal images that may be flagged.

    Returns:
        The metrics, those that are not defined as none.
    """
    start = time.perf_counter()
    device = device_of(model)
    tally = _Tally()
    prepared = protocol.prepare(dataset, transform)
    images = PreparedImages(prepared, transform, protocol.resize_mask, class_name)
    batch_size = 1 if getattr(model, "one_by_one", False) else batch_size
    for batch in make_loader(images, batch_size, num_workers):
        answer = protocol.answer(model, batch.images.to(device), batch.class_names)
        tally.add(batch, None if answer.maps is None else answer.maps.float(), answer.parts)
        progress(len(batch.abnormal))
    metrics, notes = _metrics(tally, protocol)
    labels = tally.labels()
    # As the protocol makes them: under `paper` they depend on the whole category.
    scores = protocol.scores({name: torch.cat(values) for name, values in tally.parts.items()}, tally.masked > 0)
    calibrated = {} if calibration is None else tally.judged(calibration, false_alarm_rate)
    return CategoryResult(
        target=target,
        category=category,
        run=run,
        metrics=metrics,
        images=len(labels),
        abnormal=int(labels.sum()),
        masked=tally.masked,
        seconds=round(time.perf_counter() - start, 3),
        class_names=tuple(sorted(tally.class_names)),
        notes=(*notes, *describe_figures(calibrated, false_alarm_rate)),
        calibrated=calibrated,
        scores=tuple(scores.double().tolist()),
        labels=tuple(labels.tolist()),
        units=_units(dataset),
    )


def _units(dataset: AnomalibDataset) -> tuple[str, ...]:
    """What each image belongs to: its patient, where the data set says so, else itself alone."""
    table = dataset.samples
    return tuple(str(value) for value in (table["patient"] if "patient" in table else range(len(table))))


def _metrics(tally: _Tally, protocol: Protocol) -> tuple[dict[str, float | None], list[str]]:
    labels = tally.labels()
    abnormal = int(labels.sum())
    parts = {name: torch.cat(values) for name, values in tally.parts.items()}
    image = ImageMetrics()
    image.update(protocol.scores(parts, has_masks=tally.masked > 0), labels)
    notes = []
    if tally.turned:
        notes.append(f"turned upright, as their EXIF orientation says: {tally.turned} of {len(labels)} images")
    if abnormal in {0, len(labels)}:
        notes.append(f"image metrics not defined: only {'abnormal' if abnormal else 'normal'} images")
    if tally.mapless:
        notes.append("pixel metrics not defined: the model has no maps")
        pixel = dict.fromkeys(PIXEL_METRICS, float("nan"))
    elif tally.masked < abnormal:
        some = f"{abnormal - tally.masked} of {abnormal} abnormal images have no mask" if tally.masked else "no masks"
        notes.append(f"pixel metrics not defined: {some}")
        pixel = dict.fromkeys(PIXEL_METRICS, float("nan"))
    else:
        pixel = tally.pixels.compute()
        if any(defined(value) is None for value in pixel.values()):
            notes.append("pixel metrics not defined: pixels of one class only")
    return {name: defined(value) for name, value in {**image.compute(), **pixel}.items()}, notes


class SeededNoise:
    """The noise of a torch model, exchanged for that of another seed.

    Every model of this package keeps its standard normal draws in buffers whose name begins with `noise`.

    Args:
        model: The torch model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._own = {
            name: buffer.clone()
            for name, buffer in model.named_buffers()
            if name.rpartition(".")[2].startswith("noise")
        }
        self._model = model

    def use(self, seed: int) -> None:
        """Set the draws of a seed; 0 is the model's own.

        Raises:
            ValueError: The model has no noise, so that seeds would all give the same.
        """
        if seed and not self._own:
            raise ValueError(
                f"{type(self._model).__name__} draws no noise: seed {seed} would change nothing. Give seed 0 alone."
            )
        buffers = dict(self._model.named_buffers())
        for name, own in self._own.items():
            draws = own if seed == 0 else seeded_normal(f"evaluation.{name}", tuple(own.shape), seed)
            buffers[name].copy_(draws)

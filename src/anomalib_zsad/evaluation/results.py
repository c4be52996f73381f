"""What an evaluation finds, kept category by category so that an interrupted run goes on where it stopped."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from anomalib.data import AnomalibDataset

from anomalib_zsad.evaluation.figure import Figure
from anomalib_zsad.outputs.atomic import write_text

Stored = TypeVar("Stored")


class ForeignResultsError(ValueError):
    """A folder of results belongs to another run, or cannot be taken up."""


class DamagedRecordError(ValueError):
    """A file of results cannot be read."""


@dataclass(frozen=True)
class Run:
    """One model under one protocol: what may differ between rows for the same category.

    Attributes:
        protocol: "deployable" or "paper".
        checkpoint: Name of the checkpoint's file, or "" for none.
        seed: Seed of the model's noise; 0 is the model's own.
    """

    protocol: str
    checkpoint: str
    seed: int


@dataclass(frozen=True)
class CategoryResult:
    """Metrics of one category in one run.

    Attributes:
        target: Name of the set.
        category: Name of the category.
        run: Which model, protocol and seed.
        metrics: Values in [0, 1] by the names in `metrics.METRICS`; none where a metric is not defined.
        images: Number of images.
        abnormal: How many of them are abnormal.
        masked: How many of the abnormal ones have a mask.
        seconds: Time spent.
        notes: Why a metric is not defined, or what else a reader must know.
        class_names: The words that were spoken of the images, in prompts.
        calibrated: Shares flagged at the thresholds of a calibration of images, by name; empty without one.
        few: Why people are shown no percentages: too few patients; empty where there are enough.
        scores: Score of each image or slice, in the order of the set.
        labels: Whether it is abnormal.
        units: What it belongs to: its patient, or itself alone.
        names: Path of each image, for strata; empty for slices of volumes. They may hold patient data and are not kept.
    """

    target: str
    category: str
    run: Run
    metrics: Mapping[str, float | None]
    images: int
    abnormal: int
    masked: int
    seconds: float
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    calibrated: Mapping[str, Figure] = field(default_factory=dict)
    few: str = ""
    scores: tuple[float, ...] = ()
    labels: tuple[bool, ...] = ()
    units: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """All but what is known of single images, for reports."""
        single = ("scores", "labels", "units", "names")
        return {name: value for name, value in asdict(self).items() if name not in single}


def defined(value: float) -> float | None:
    """NaN, "not defined", as none, which JSON can say."""
    return None if math.isnan(value) else value


def fingerprint(content: Any) -> str:
    """SHA-256 of what decides a result, written as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def files_of(dataset: AnomalibDataset) -> list[list[str]]:
    """The files that make a dataset, without the folder they share, so that a moved set is still the same set."""
    frame = dataset.samples
    masks = frame["mask_path"] if "mask_path" in frame else [""] * len(frame)
    pairs = zip(frame["image_path"].astype(str), masks, frame["label_index"], strict=True)
    return [[_tail(image), _tail(str(mask or "")), str(label)] for image, mask, label in pairs]


def _tail(path: str) -> str:
    return "/".join(Path(path).parts[-3:])


class ResultStore:
    """Results of categories in files below a folder.

    Args:
        folder: The output folder of the evaluation.
        overwrite: Compute again what another run left there, instead of refusing.
    """

    def __init__(self, folder: Path, overwrite: bool = False) -> None:
        self.folder, self.overwrite = folder / "categories", overwrite

    def path(self, target: str, category: str, run: Run) -> Path:
        """File of one result; names come from files of others, so they are reduced to plain characters."""
        # Different names may reduce to the same one: a digest keeps them apart.
        digest = fingerprint([target, category, asdict(run)])[:8]
        name = f"{_plain(category)}-{run.protocol}-seed{run.seed}-{digest}.json"
        return self.folder / _plain(target) / name

    def load(self, target: str, category: str, run: Run, decided_by: str) -> CategoryResult | None:
        """The result of an earlier, interrupted run, or none.

        Args:
            target: Name of the set.
            category: Name of the category.
            run: Which model, protocol and seed.
            decided_by: Fingerprint of everything that decides the result.

        Raises:
            ForeignResultsError: The file was made by another model, of other images, or with other settings; or it is
                damaged.
        """
        return take_stored(self.path(target, category, run), decided_by, _read_result, overwrite=self.overwrite)

    def save(self, result: CategoryResult, decided_by: str) -> None:
        """Keep a result; the file appears whole or not at all."""
        kept = {name: value for name, value in asdict(result).items() if name != "names"}
        content = {"decided_by": decided_by, "result": kept}
        path = self.path(result.target, result.category, result.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(content, indent=1, default=dict) + "\n")


def take_stored(
    path: Path, decided_by: str, read: Callable[[Path], tuple[str, Stored]], *, overwrite: bool
) -> Stored | None:
    """What an earlier run left in a file, or none.

    Args:
        path: The file.
        decided_by: Fingerprint of everything that decides its content now.
        read: From the file to what decided its content, and the content.
        overwrite: Answer none, instead of refusing, where the file is of another run.

    Raises:
        ForeignResultsError: The file was made by something else, or is damaged.
    """
    if not path.is_file():
        return None
    try:
        stored_by, content = read(path)
    except DamagedRecordError as error:
        reason = str(error)
    else:
        if stored_by == decided_by:
            return content
        reason = f"{path} was made by another model, of other images or with other settings"
    if overwrite:
        return None
    raise ForeignResultsError(f"{reason}. Give another output folder, or --overwrite to compute it again.")


def _read_result(path: Path) -> tuple[str, CategoryResult]:
    """What decided a stored result, and the result."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        result = stored["result"]
        run, notes, spoken = Run(**result["run"]), tuple(result["notes"]), tuple(result["class_names"])
        calibrated = {name: Figure(**figure) for name, figure in result.get("calibrated", {}).items()}
        single = {name: tuple(result.get(name, ())) for name in ("scores", "labels", "units")}
        return stored["decided_by"], CategoryResult(
            **{**result, **single, "run": run, "notes": notes, "class_names": spoken, "calibrated": calibrated}
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedRecordError(f"{path} is damaged") from error


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[:80] or "_"

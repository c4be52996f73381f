"""Evaluation of a model over many targets, resumable, under named protocols and several seeds."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from anomalib.data import AnomalibDataset
from torch import nn

from anomalib_zsad.calibration import Calibration, CalibrationMismatchError
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.data.prepared_images import UnreadableImageError
from anomalib_zsad.data.set_names import AuxiliarySet
from anomalib_zsad.evaluation.calibrated_images import NO_MODULE, check_images, class_names_of
from anomalib_zsad.evaluation.protocols import DEPLOYABLE, Protocol, make_protocol
from anomalib_zsad.evaluation.results import CategoryResult, ResultStore, Run, files_of, fingerprint
from anomalib_zsad.evaluation.score_category import SeededNoise, evaluate_category
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.targets import Category, Target
from anomalib_zsad.evaluation.volumes.cases import Inventory, VolumeSource
from anomalib_zsad.evaluation.volumes.evaluate_volumes import (
    NoVolumeError,
    RecordStore,
    evaluate_volumes,
    make_setup,
    table_row,
)
from anomalib_zsad.evaluation.volumes.score_case import Setup
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet
from anomalib_zsad.models.components.lightning_mixin import DEFAULT_CLASS_NAME
from anomalib_zsad.outputs.output_folder import RunFolder
from anomalib_zsad.outputs.progress import Bar, Progress
from anomalib_zsad.screening.options import volume_fingerprint

TRAINED_ON = "the model was trained on this category: not a zero-shot result"
SLICES_ONLY = "no figures for readers: they are made of the scores a user gets, under the protocol deployable"


class OverlapError(ValueError):
    """A target holds categories that the model was trained on."""


class UnreadableTargetError(ValueError):
    """The images of a category cannot be read."""


@dataclass(frozen=True)
class Subject:
    """A model to be evaluated.

    Attributes:
        model: Torch model of a method.
        transform: Its transform of an image (3, h, w) in [0, 1].
        method: Name of the method, such as "BayesPFL", or of another of anomalib's models.
        checkpoint: Name of the checkpoint's file, or "".
        auxiliary: What it was trained on, where that is known.
        module: The Lightning module that the model is of; without it volumes have no figures for readers, and no
            calibration can be checked.
        backbone: Name of the backbone, where it is known.
        remarks: What a reader of all its figures must know.
    """

    model: Any
    transform: Callable[[torch.Tensor], torch.Tensor]
    method: str
    checkpoint: str = ""
    auxiliary: AuxiliarySet | None = None
    module: Any = None
    backbone: str = ""
    remarks: tuple[str, ...] = ()


@dataclass
class Evaluation:
    """What came of an evaluation.

    Attributes:
        results: One for each model, seed, protocol and category.
        volume_sets: The scored volumes of targets that are volumes, for their figures for readers.
        subjects: What was evaluated, without the models themselves.
        found_done: Whether an earlier run had done all of it.
    """

    results: list[CategoryResult] = field(default_factory=list)
    volume_sets: list[VolumeSet] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    found_done: bool = True


def evaluate(
    subjects: Iterable[Subject],
    targets: Sequence[Target],
    output: Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate models on all categories of all targets.

    With `resume`, a category, or a volume, that an earlier run has finished is not computed again.

    Args:
        subjects: The models; several checkpoints of one method give mean and deviation.
        targets: The sets.
        output: Folder for the results of the categories.
        settings: How to evaluate.
        progress: Who is told how far it is.

    Returns:
        One result for each model, seed, protocol and category; and the scored volumes of targets that are volumes.

    Raises:
        OverlapError: A target holds categories that a model was trained on.
        ForeignResultsError: The output folder holds results of something else.
        UnreadableTargetError: The images of a category cannot be read.
        CalibrationMismatchError: The calibration was made with another model or other settings, or of something else.
        OSError: The output folder cannot be written.
        ValueError: A protocol or seed makes no sense for a model.
    """
    settings, progress = settings or Settings(), progress or Progress(enabled=False)
    evaluation = Evaluation()
    resume = settings.resume or settings.overwrite
    # No settings of the whole: each result knows what decided it.
    with RunFolder(output, "evaluate", {}, source=None, resume=resume):
        for subject in subjects:
            _evaluate_subject(subject, targets, ResultStore(output, settings.overwrite), settings, progress, evaluation)
            evaluation.subjects.append(replace(subject, model=None, module=None))
    return evaluation


def _evaluate_subject(
    subject: Subject,
    targets: Sequence[Target],
    store: ResultStore,
    settings: Settings,
    progress: Progress,
    evaluation: Evaluation,
) -> None:
    """Add all results of one model."""
    overlaps = _check_overlap(subject, targets, settings.allow_overlap)
    noise = SeededNoise(subject.model)
    with _evaluation_mode(subject.model):
        for seed in dict.fromkeys(settings.seeds):
            noise.use(seed)
            identity = model_fingerprint(subject.model)
            _check_calibration(subject, targets, settings)
            for target, category, protocol in _combinations(subject, targets, settings.protocols):
                run = Run(protocol.name, subject.checkpoint, seed)
                work = _Work(subject, target, category, protocol, run, overlaps, identity)
                result, volumes, resumed = work.result(store, settings, progress)
                evaluation.found_done &= resumed
                evaluation.results.append(result)
                evaluation.volume_sets += [] if volumes is None else [volumes]
        noise.use(0)


def _combinations(
    subject: Subject, targets: Sequence[Target], protocols: Sequence[str]
) -> Iterator[tuple[Target, Category, Protocol]]:
    for target in targets:
        made = [make_protocol(name, subject.method, target.name) for name in dict.fromkeys(protocols)]
        for category in target.categories:
            for protocol in made:
                yield target, category, protocol


@dataclass(frozen=True)
class _Work:
    """One category under one protocol."""

    subject: Subject
    target: Target
    category: Category
    protocol: Protocol
    run: Run
    overlaps: set[tuple[str, str]] = field(default_factory=set)
    identity: str = ""

    def result(
        self, store: ResultStore, settings: Settings, progress: Progress
    ) -> tuple[CategoryResult, VolumeSet | None, bool]:
        """The stored result, or a new one, which is stored; the volumes it is of, if any; whether it was found done."""
        volumes = None
        if self._for_readers:
            volumes, resumed = self._of_volumes(store, settings, progress)
            result = table_row(volumes)
        else:
            result, resumed = self._of_images(store, settings, progress)
        state = "found done" if resumed else f"{result.images} images in {result.seconds:.0f} s"
        progress.line(f"{self._label} ({self.run.protocol}, seed {self.run.seed}): {state}")
        if self.category.volumes is not None and not self._for_readers:
            result = replace(result, notes=(*result.notes, SLICES_ONLY))
        if (self.target.name, self.category.name) in self.overlaps:
            result = replace(result, notes=(TRAINED_ON, *result.notes))
        if self.subject.remarks:
            result = replace(result, notes=(*self.subject.remarks, *result.notes))
        return result, volumes, resumed

    def _class_name(self, settings: Settings) -> str:
        """What is said of images that bring no name: the set's, else the one that was given, else the model's."""
        own = getattr(self.subject.module, "class_name", None)
        return self.category.class_name or settings.class_name or own or DEFAULT_CLASS_NAME

    @property
    def _label(self) -> str:
        return f"{self.target.name} / {self.category.name}"

    @property
    def _for_readers(self) -> bool:
        """Whether whole volumes are scored, as a user screens them; published evaluations know slices only."""
        known = self.category.volumes is not None and self.subject.module is not None
        return known and self.protocol.name == DEPLOYABLE

    def _of_images(self, store: ResultStore, settings: Settings, progress: Progress) -> tuple[CategoryResult, bool]:
        dataset = self._load()
        decisive: list[Any] = [
            self._class_name(settings),
            self.identity,
            self.protocol.describe(),
            files_of(dataset),
            self.subject.method,
        ]
        calibration = self._calibration(settings)
        if calibration is not None:
            names = class_names_of(dataset, self._class_name(settings))
            check_images(calibration, self.subject.module, names, settings.false_alarm_rate)
            decisive += self._decided_by_calibration(settings)
        decided_by = fingerprint(decisive)
        paths = () if self.category.volumes is not None else tuple(dataset.samples["image_path"].astype(str))
        result = store.load(self.target.name, self.category.name, self.run, decided_by)
        if result is not None:
            return replace(result, names=paths), True
        bar = progress.bar(f"{self._label} ({self.protocol.name})", len(dataset))
        result = self._compute(dataset, settings, bar)
        bar.remove()
        store.save(result, decided_by)
        return replace(result, names=paths), False

    def _calibration(self, settings: Settings) -> Calibration | None:
        return settings.calibration if self.protocol.name == DEPLOYABLE else None

    @staticmethod
    def _decided_by_calibration(settings: Settings) -> list[Any]:
        return [settings.calibration.sha256 if settings.calibration else None, settings.false_alarm_rate]

    def _of_volumes(self, store: ResultStore, settings: Settings, progress: Progress) -> tuple[VolumeSet, bool]:
        inventory = self._inventory()
        setup = _volume_setup(self.subject, self.target, self.category, settings)
        decided_by = [self.identity, self.protocol.describe(), self.subject.method, setup.decided_by()]
        folder = store.path(self.target.name, self.category.name, self.run).with_suffix("")
        records = RecordStore(folder, decided_by + self._decided_by_calibration(settings), settings.overwrite)
        bar = progress.bar(f"{self._label} (volumes)", len(inventory.cases))
        try:
            return evaluate_volumes(
                inventory,
                setup,
                records,
                target=self.target.name,
                category=self.category.name,
                run=self.run,
                lesion_rules=settings.lesions,
                progress=bar.advance,
            )
        except NoVolumeError as error:
            raise self._unreadable(error) from error
        finally:
            bar.remove()

    def _inventory(self) -> Inventory:
        try:
            return _volumes_of(self.category).inventory()
        except (ValueError, OSError) as error:
            raise self._unreadable(error) from error

    def _load(self) -> AnomalibDataset:
        try:
            return self.category.load()
        except (ValueError, TypeError, KeyError, RuntimeError, OSError) as error:  # datamodules have errors of any kind
            raise self._unreadable(error) from error

    def _compute(self, dataset: AnomalibDataset, settings: Settings, bar: Bar) -> CategoryResult:
        try:
            return evaluate_category(
                self.subject.model,
                self.subject.transform,
                dataset,
                target=self.target.name,
                category=self.category.name,
                class_name=self._class_name(settings),
                protocol=self.protocol,
                run=self.run,
                batch_size=settings.batch_size,
                num_workers=settings.num_workers,
                progress=bar.advance,
                calibration=self._calibration(settings),
                false_alarm_rate=settings.false_alarm_rate,
            )
        except UnreadableImageError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> UnreadableTargetError:
        # A worker process sends its traceback as text; the error itself comes last.
        reason = str(error).strip().rpartition(f"{UnreadableImageError.__name__}: ")[2]
        return UnreadableTargetError(f"{self._label}, from {self.target.source}: {reason}")


def _volumes_of(category: Category) -> VolumeSource:
    if category.volumes is None:
        raise ValueError(f"{category.name} is no set of volumes")
    return category.volumes


def _volume_setup(subject: Subject, target: Target, category: Category, settings: Settings) -> Setup:
    rule = DecisionRule("volumes", settings.calibration, settings.false_alarm_rate)
    resize_mask = make_protocol(DEPLOYABLE, subject.method, target.name).resize_mask
    try:
        source, name = _volumes_of(category), settings.class_name
        return make_setup(source, subject.module, settings.batch_size, rule, resize_mask, name)
    except (ValueError, TypeError) as error:  # an argument of the datamodule makes no sense
        raise UnreadableTargetError(f"{target.name} / {category.name}, from {target.source}: {error}") from error


def _check_calibration(subject: Subject, targets: Sequence[Target], settings: Settings) -> None:
    """Refuse a calibration that does not fit, before anything is computed.

    Raises:
        CalibrationMismatchError: If it does not; says why.
    """
    calibration = settings.calibration
    if calibration is None or DEPLOYABLE not in settings.protocols:
        return
    for target in targets:
        for category in target.categories:
            kind = "images" if category.volumes is None else "volumes"
            if calibration.kind != kind:
                raise CalibrationMismatchError(
                    f"the calibration is of {calibration.kind}, and {target.name} / {category.name} holds {kind}; give "
                    "one of the same kind, or evaluate it in a run of its own"
                )
            if category.volumes is not None:
                if subject.module is None:
                    raise CalibrationMismatchError(NO_MODULE)
                setup = _volume_setup(subject, target, category, settings)
                calibration.check(volume_fingerprint(setup.scorer.describe(), setup.options))


def _check_overlap(subject: Subject, targets: Sequence[Target], allow: bool) -> set[tuple[str, str]]:
    """Pairs of target and category that the model was trained on; an error unless they are allowed."""
    if subject.auxiliary is None:
        return set()
    overlaps = {
        (target.name, name)
        for target in targets
        for name in subject.auxiliary.overlap(target.name, [category.name for category in target.categories])
    }
    if overlaps and not allow:
        listed = ", ".join(sorted({f"{target} / {category}" for target, category in overlaps})[:5])
        raise OverlapError(
            f"the model was trained on {len(overlaps)} of the categories asked for ({listed}"
            f"{' ...' * (len(overlaps) > 5)}); its figures there are not zero-shot. Leave them out, or give "
            "--allow-overlap to have them marked in the table."
        )
    return overlaps


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def model_fingerprint(model: nn.Module) -> str:
    """What decides a model's answers: sums over all its tensors, and its plain settings.

    Sums in double precision, rounded, and not the bytes: a frozen backbone has more than a gigabyte, and the same model
    on another device must have the same fingerprint.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()], key=lambda pair: pair[0]):
        values = tensor.detach()
        values = (values.cpu() if values.device.type == "mps" else values).double().flatten()
        size = float(values.abs().sum())
        # A sum weighed by position, as a share of the whole, tells signs and order.
        places = torch.linspace(0.5, 1, len(values), dtype=torch.float64, device=values.device)
        share = float(values @ places) / size if size else 0.0
        digest.update(f"{name} {tuple(tensor.shape)} {size:.9e} {share:.6f}\n".encode())
    for name, value in sorted(vars(model).items()):
        plain = isinstance(value, str | int | float | bool | tuple) or is_dataclass(value)
        if plain and not name.startswith("_") and name != "training":
            digest.update(f"{name}={value!r}\n".encode())
    return digest.hexdigest()

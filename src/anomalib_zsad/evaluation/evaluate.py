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

from anomalib_zsad.evaluation.loading import UnreadableImageError
from anomalib_zsad.evaluation.names import AuxiliarySet
from anomalib_zsad.evaluation.progress import Progress, SilentProgress
from anomalib_zsad.evaluation.protocols import Protocol, make_protocol
from anomalib_zsad.evaluation.results import CategoryResult, ResultStore, Run, fingerprint
from anomalib_zsad.evaluation.runner import SeededNoise, evaluate_category
from anomalib_zsad.evaluation.targets import Category, Target

TRAINED_ON = "the model was trained on this category: not a zero-shot result"


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
        method: Name of the method, "BayesPFL" or "CoPS".
        checkpoint: Name of the checkpoint's file, or "".
        auxiliary: What it was trained on, where that is known.
    """

    model: Any
    transform: Callable[[torch.Tensor], torch.Tensor]
    method: str
    checkpoint: str = ""
    auxiliary: AuxiliarySet | None = None


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Attributes:
        protocols: Names of the protocols.
        seeds: Seeds of the model's noise.
        batch_size: Images at a time.
        num_workers: Processes that read images.
        allow_overlap: Evaluate on categories that the model was trained on, with a note in the table.
        overwrite: Compute again what another run left in the output folder.
    """

    protocols: Sequence[str] = ("deployable",)
    seeds: Sequence[int] = (0,)
    batch_size: int = 1
    num_workers: int = 0
    allow_overlap: bool = False
    overwrite: bool = False


def evaluate(
    subjects: Iterable[Subject],
    targets: Sequence[Target],
    output: Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> list[CategoryResult]:
    """Evaluate models on all categories of all targets.

    A category that an interrupted run has finished is not computed again.

    Args:
        subjects: The models; several checkpoints of one method give mean and deviation.
        targets: The sets.
        output: Folder for the results of the categories.
        settings: How to evaluate.
        progress: Who is told how far it is.

    Returns:
        One result for each model, seed, protocol and category.

    Raises:
        OverlapError: A target holds categories that a model was trained on.
        ForeignResultsError: The output folder holds results of something else.
        UnreadableTargetError: The images of a category cannot be read.
        OSError: The output folder cannot be written.
        ValueError: A protocol or seed makes no sense for a model.
    """
    settings, progress = settings or Settings(), progress or SilentProgress()
    store = ResultStore(output, settings.overwrite)
    store.prepare()
    results = []
    for subject in subjects:
        overlaps = _check_overlap(subject, targets, settings.allow_overlap)
        noise = SeededNoise(subject.model)
        with _evaluation_mode(subject.model):
            for seed in settings.seeds:
                noise.use(seed)
                identity = model_fingerprint(subject.model)
                for target, category, protocol in _combinations(subject, targets, settings.protocols):
                    run = Run(protocol.name, subject.checkpoint, seed)
                    work = _Work(subject, target, category, protocol, run, overlaps, identity)
                    results.append(work.result(store, settings, progress))
            noise.use(0)
    return results


def _combinations(
    subject: Subject, targets: Sequence[Target], protocols: Sequence[str]
) -> Iterator[tuple[Target, Category, Protocol]]:
    for target in targets:
        made = [make_protocol(name, subject.method, target.name) for name in protocols]
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

    def result(self, store: ResultStore, settings: Settings, progress: Progress) -> CategoryResult:
        """The stored result, or a new one, which is stored."""
        dataset = self._load()
        decided_by = fingerprint([self.identity, self.protocol.describe(), _files_of(dataset), self.subject.method])
        result = store.load(self.target.name, self.category.name, self.run, decided_by)
        resumed = result is not None
        if result is None:
            progress.begin(f"{self.target.name} / {self.category.name} ({self.protocol.name})", len(dataset))
            result = self._compute(dataset, settings, progress)
            store.save(result, decided_by)
        progress.end(result, resumed)
        if (self.target.name, self.category.name) not in self.overlaps:
            return result
        return replace(result, notes=(TRAINED_ON, *result.notes))

    def _load(self) -> AnomalibDataset:
        try:
            return self.category.load()
        except (ValueError, TypeError, KeyError, RuntimeError, OSError) as error:  # datamodules have errors of any kind
            raise self._unreadable(error) from error

    def _compute(self, dataset: AnomalibDataset, settings: Settings, progress: Progress) -> CategoryResult:
        try:
            return evaluate_category(
                self.subject.model,
                self.subject.transform,
                dataset,
                self.category,
                target=self.target.name,
                protocol=self.protocol,
                run=self.run,
                batch_size=settings.batch_size,
                num_workers=settings.num_workers,
                progress=progress.advance,
            )
        except UnreadableImageError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> UnreadableTargetError:
        # A worker process sends its traceback as text; the error itself comes last.
        reason = str(error).strip().rpartition(f"{UnreadableImageError.__name__}: ")[2]
        return UnreadableTargetError(f"{self.target.name} / {self.category.name}, from {self.target.source}: {reason}")


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
        msg = (
            f"The model was trained on {len(overlaps)} of the categories asked for ({listed}"
            f"{' ...' * (len(overlaps) > 5)}); its figures there are not zero-shot. Leave them out, or give "
            "--allow-overlap to have them marked in the table."
        )
        raise OverlapError(msg)
    return overlaps


def _files_of(dataset: AnomalibDataset) -> list[list[str]]:
    """The files that make a dataset, without the folder they share, so that a moved set is still the same set."""
    frame = dataset.samples
    masks = frame["mask_path"] if "mask_path" in frame else [""] * len(frame)
    pairs = zip(frame["image_path"].astype(str), masks, frame["label_index"], strict=True)
    return [[_tail(image), _tail(str(mask or "")), str(label)] for image, mask, label in pairs]


def _tail(path: str) -> str:
    return "/".join(Path(path).parts[-3:])


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

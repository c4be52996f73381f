"""`anomalib-zsad evaluate --models A B C`: each evaluated by itself, then one table."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.model_options import anomalib_model, engine_options, tile_options
from anomalib_zsad.evaluation.model_names import NamedModel, parse_models
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.outputs.exit_codes import ExitCode

if TYPE_CHECKING:
    from anomalib_zsad.evaluation.evaluate import Subject
    from anomalib_zsad.evaluation.targets import Target

_UNTRAINED = "untrained: its prompts are random, and its scores mean nothing"


def checked_models(args: argparse.Namespace, settings: Settings) -> list[NamedModel]:
    """The models that are to be compared.

    Raises:
        ValueError: If options of a single model are given, one is untrained and that was not asked for, or models and
            seeds do not fit a comparison.
        FileNotFoundError: If a checkpoint is missing.
    """
    alone = {"--checkpoint": args.checkpoint, "--model": args.model, "--model.KEY": args.model_arguments}
    given = [option for option, value in alone.items() if value]
    if given:
        raise ValueError(f"{', '.join(given)} and --models exclude each other: say it as NAME=CHECKPOINT?KEY=VALUE")
    if settings.calibration is not None:
        raise ValueError("--calibration is of one model: evaluate the models one by one, each with its own")
    lone = {
        "--lesion-figures": settings.lesions.lesion_figures,
        "--screened": args.screened,
        "--source-names": args.source_names,
        "--strata": args.strata,
        "--claim": args.claim,
    }
    given = [option for option, value in lone.items() if value]
    if given:
        raise ValueError(f"{', '.join(given)} and --models exclude each other: evaluate that model by itself")
    if len(settings.seeds) > 1:
        raise ValueError("--models takes one --seed: differences are those of one run of each model")
    models = parse_models(args.models)
    untrained = [model.label for model in models if model.checkpoint is None and anomalib_model(model.method) is None]
    if untrained and not args.allow_untrained:
        raise ValueError(
            f"no checkpoint was given for {', '.join(untrained)}; an untrained model's scores mean nothing "
            "(NAME=CHECKPOINT, or --allow-untrained)"
        )
    return models


def compare(args: argparse.Namespace, settings: Settings, targets: "Sequence[Target]") -> int:
    """Evaluate all models, print one table, and write the reports."""
    models = checked_models(args, settings)
    say(f"loading models {', '.join(model.label for model in models)} ...")
    from anomalib_zsad.evaluation.comparison import differences, model_rows
    from anomalib_zsad.evaluation.comparison_tables import write_comparison
    from anomalib_zsad.evaluation.evaluate import evaluate
    from anomalib_zsad.outputs.output_folder import RunFolder
    from anomalib_zsad.outputs.progress import Progress

    results, methods, backbones = {}, {}, {}
    resume = settings.resume or settings.overwrite
    # No settings of the whole: each model's own results know what decided them, and models can be added.
    with RunFolder(args.output, "compare", {}, source=None, resume=resume):
        for model in models:
            folder = args.output / "models" / re.sub(r"[^A-Za-z0-9._=-]+", "_", model.label)
            with Progress(enabled=args.progress, reports=True) as progress:
                progress.line(model.label)
                made = evaluate(
                    (_subject(args, model) for _ in (0,)),
                    targets,
                    folder,
                    replace(settings, resume=settings.resume or not folder.is_dir()),
                    progress,
                )
            results[model.label], subject = made.results, made.subjects[0]
            methods[model.label], backbones[model.label] = subject.method, subject.backbone
        rows, found = model_rows(results, methods), differences(results)
        remarks = _remarks(models, backbones)
        files = write_comparison(args.output, rows, found, remarks, _provenance(models, settings))
    _print(args, rows, found, remarks, [file.name for file in files])
    return ExitCode.DONE


def _subject(args: argparse.Namespace, model: NamedModel) -> "Subject":
    """A model that is evaluated, with what must be said of it."""
    from anomalib_zsad.evaluation.subject import build_subject

    how = engine_options(args), tile_options(args)
    subject = build_subject(model.checkpoint, model.method, model.arguments, args.auxiliary, args.device, *how)
    if subject.remarks or getattr(subject.module, "trained", True) or anomalib_model(model.method) is not None:
        return subject
    return replace(subject, remarks=(_UNTRAINED,))


def _remarks(models: Sequence[NamedModel], backbones: dict[str, str]) -> list[str]:
    from anomalib_zsad.scoring.demonstration import demonstration_notice

    told = {
        model.label: demonstration_notice({"backbone": backbones[model.label]})
        for model in models
        if backbones[model.label]
    }
    return [f"{label}: {notice}" for label, notice in told.items() if notice]


def _provenance(models: Sequence[NamedModel], settings: Settings) -> dict[str, object]:
    from anomalib_zsad.outputs.file_hash import file_sha256
    from anomalib_zsad.outputs.versions import versions

    return {
        "models": [
            {
                "label": model.label,
                "model": model.method,
                "checkpoint": None if model.checkpoint is None else model.checkpoint.name,
                "checkpoint_sha256": None if model.checkpoint is None else file_sha256(model.checkpoint),
                "arguments": dict(model.arguments),
            }
            for model in models
        ],
        "protocols": list(settings.protocols),
        "seed": settings.seeds[0],
        **{f"version of {name}": versions()[name] for name in ("anomalib-zsad", "anomalib", "torch")},
    }


def _print(args: argparse.Namespace, rows: list, found: list, remarks: list[str], files: list[str]) -> None:
    from anomalib_zsad.evaluation.comparison_tables import explanation, terminal_tables
    from anomalib_zsad.outputs.terminal import console

    out = console()
    for table in terminal_tables(rows, found):
        out.print(table)
    notes = dict.fromkeys(f"{one.model}: {note}" for one in rows for note in one.row.notes)
    for line in (explanation(found), *remarks, *notes):
        if line:
            out.print(line, markup=False, highlight=False)
    told = f"in percent, - is not defined; written to {args.output}: {', '.join(files)}, and each model's in models/"
    out.print(told, markup=False, highlight=False, soft_wrap=True)

"""`python -m anomalib_zsad.demo.measure_backbone`: what weights of the embedded backbone are worth.

With each of the given weights both methods are trained on the sample set, as in `make demo`, and tested on drawn
categories that were never seen, on real pictures where a folder of them is given, and on new phantoms.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from anomalib_zsad.cli import quieten
from anomalib_zsad.data.auxiliary import AuxiliaryDataModule
from anomalib_zsad.data.sample_set import UNSEEN_CATEGORIES, sample_data_folder
from anomalib_zsad.demo.phantoms import MODALITIES, Kind, make_phantom, write_phantom
from anomalib_zsad.demo.real_pictures import RealSet, write_trees
from anomalib_zsad.demo.train import METHODS, new_model, train
from anomalib_zsad.evaluation.evaluate import Evaluation, Subject, evaluate
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.targets import Target, parse_target
from anomalib_zsad.evaluation.volumes.figures import figures
from anomalib_zsad.scoring.build import build_model

EMBEDDED = "embedded"
PICTURES = ("image_AUROC", "image_AP", "pixel_AUROC", "pixel_AP")
# Far from the seeds of the sample set, of calibration, and of `measure_phantom_rates`.
_FIRST_SEED = 5000
Row = dict[str, float | None]


def write_phantoms(folder: Path, kind: Kind, count: int) -> None:
    """Write `count` phantoms with a lesion and as many of other people without."""
    for number in range(2 * count):
        phantom = make_phantom(kind, _FIRST_SEED + number, lesion=number < count)
        write_phantom(phantom, folder, patient=phantom.name)


def test_pictures(subject: Subject, target: Target, class_name: str | None, output: Path) -> Row:
    """Mean of each metric over the categories of a set of pictures; `None` where one is not defined."""
    results = evaluate([subject], [target], output, Settings(class_name=class_name)).results
    row: Row = {}
    for name in PICTURES:
        values = [result.metrics.get(name) for result in results]
        known = [value for value in values if value is not None]
        row[name] = sum(known) / len(known) if known else None
    return row


def test_volumes(subject: Subject, folder: Path, output: Path) -> Row:
    """Figures for readers on a folder of phantoms."""
    target = parse_target(f"phantoms=VolumeDataModule:{folder}?class_name=brain")
    return _figures(evaluate([subject], [target], output, Settings()))


def _figures(evaluation: Evaluation) -> Row:
    found = figures(evaluation.volume_sets[0])
    wanted = {
        "slices AUROC": found["slices"]["AUROC"],
        "volumes AUROC": found["volumes"]["AUROC"],
        "lesions at 1 FP": found["lesions"]["lesions found at 1 false positive per volume"],
        "best Dice": found["segmentation"]["best Dice (oracle)"],
    }
    return {name: figure.value for name, figure in wanted.items()}


def subject_of(method: str, checkpoint: Path | None, pretrained: str) -> Subject:
    """A trained model, or an untrained one, ready to be evaluated."""
    if checkpoint is None:
        module = new_model(method, pretrained).eval()
    else:
        module = build_model(checkpoint, arguments={"pretrained": pretrained}, device="cpu").module
    return Subject(module.model, module.pre_processor.transform, method, module=module, backbone="demo")


def measure(subject: Subject, sets: dict[str, RealSet], folder: Path, output: Path) -> dict[str, Row]:
    """All figures of one model, by what it was tested on."""
    sample = parse_target(f"sample={sample_data_folder() / 'industrial'}").restricted_to(UNSEEN_CATEGORIES)
    rows = {"drawn, unseen": test_pictures(subject, sample, None, output / "sample")}
    for name, real in sets.items():
        rows[real.name] = test_pictures(
            subject, parse_target(f"{name}={folder / name}"), real.class_name, output / name
        )
    for kind in MODALITIES:
        rows[f"phantoms, {kind}"] = test_volumes(subject, folder / kind, output / kind)
    return rows


def measure_across(
    method: str, pretrained: str, sets: dict[str, RealSet], folder: Path, output: Path
) -> dict[str, Row]:
    """Train on magnetic tiles and test on steel, and the other way."""
    rows = {}
    for known, other in (("magnetic_tile", "neu_steel"), ("neu_steel", "magnetic_tile")):
        data = AuxiliaryDataModule(
            "FolderTree",
            folder / known,
            class_names={known: sets[known].class_name},
            train_batch_size=32,
        )
        checkpoint = train(method, output / known, data, pretrained)
        subject = subject_of(method, checkpoint, pretrained)
        target = parse_target(f"{other}={folder / other}")
        rows[f"{sets[other].name}, after {sets[known].name}"] = test_pictures(
            subject, target, sets[other].class_name, output / f"{known}_{other}"
        )
    return rows


def _per_cent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _print(console: Console, title: str, rows: dict[str, Row]) -> None:
    for names in (PICTURES, ("slices AUROC", "volumes AUROC", "lesions at 1 FP", "best Dice")):
        table = Table("tested on", *names, title=title)
        for name, row in rows.items():
            if set(row) & set(names):
                table.add_row(name, *map(_per_cent, map(row.get, names)))
        if table.row_count:
            console.print(table)


def _measure_all(options: argparse.Namespace, folder: Path, console: Console) -> dict[str, dict[str, dict[str, Row]]]:
    """Every method with all weights; tables are printed as they come."""
    sets = write_trees(options.real, folder) if options.real else {}
    for kind in MODALITIES:
        write_phantoms(folder / kind, kind, options.cases)
    everything = {}
    for weights in options.weights:
        name, _, file = weights.partition("=")
        pretrained = file or "openai"
        for method in options.methods:
            output = folder / "runs" / name / method
            checkpoint = train(method, output / "run", None, pretrained)
            trained = subject_of(method, checkpoint, pretrained)
            found = {"trained": measure(trained, sets, folder, output / "trained")}
            if options.untrained:
                untrained = subject_of(method, None, pretrained)
                found["untrained"] = measure(untrained, sets, folder, output / "untrained")
            if options.across:
                found["across"] = measure_across(method, pretrained, sets, folder, output / "across")
            for state, rows in found.items():
                _print(console, f"{method}, {name}, {state}, %", rows)
            everything[f"{name}, {method}"] = found
    return everything


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table for each model, and write all figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m anomalib_zsad.demo.measure_backbone", description=__doc__)
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[EMBEDDED],
        metavar="NAME=FILE",
        help="weights to compare; default: the package's",
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--untrained", action="store_true", help="also without training of the prompts")
    parser.add_argument(
        "--real", type=Path, help="folder with magnetic_tile, neu_steel, head_ct_png, where there is one"
    )
    parser.add_argument("--across", action="store_true", help="also train on tiles, test on steel, and back")
    parser.add_argument(
        "--cases", type=int, default=12, help="phantoms with a lesion of each kind, and as many without"
    )
    parser.add_argument("--output", type=Path, required=True, help="new JSON file for the figures")
    options = parser.parse_args(arguments)
    if options.output.exists():
        parser.error(f"'{options.output}' exists; give another --output")
    if options.across and not options.real:
        parser.error("--across needs --real")
    quieten()
    with tempfile.TemporaryDirectory() as temporary:
        everything = _measure_all(options, Path(temporary), Console())
    options.output.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

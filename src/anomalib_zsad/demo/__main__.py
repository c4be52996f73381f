"""`python -m anomalib_zsad.demo`: train on drawings, test on categories never seen, calibrate, screen, look at it.

It is a demonstration, not a product: the backbone has seen drawings and pictures of materials alone.
"""

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from anomalib_zsad.cli import quieten
from anomalib_zsad.data.sample_set import UNSEEN_CATEGORIES
from anomalib_zsad.demo.train import METHODS, new_model, train

SHOWN = ("image_AUROC", "image_AP", "pixel_AUROC", "pixel_AP", "pixel_AUPRO")
console = Console()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration and say where to look."""
    parser = argparse.ArgumentParser(prog="python -m anomalib_zsad.demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for everything it writes")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--no-screening", action="store_true", help="leave out calibration, and what follows it")
    options = parser.parse_args(arguments)
    _quieten()
    if options.output.exists() and any(options.output.iterdir()):
        console.print(f"[red]'{options.output}' is not empty; remove it or give another --output.[/]")
        return 2
    rows = []
    for method in options.methods:
        rows += _train_and_test(method, options.output)
    _print_table(rows)
    pages = [] if options.no_screening else _calibrated(options.methods[0], options.output)
    found = [*pages, *sorted(options.output.glob("*.png"))]
    console.print("\n[bold]Done. Look at these first (they open from disk in any browser):[/]")
    console.print(f"  {'  '.join(str(path) for path in found[:2])}", highlight=False, soft_wrap=True)
    console.print(f"Everything is in {options.output}; docs and commands are in README.md.", highlight=False)
    return 0


def _calibrated(method: str, output: Path) -> list[Path]:
    from anomalib_zsad.demo.calibrate_and_screen import calibrated
    from anomalib_zsad.demo.medical_sheet import draw_medical_sheet

    checkpoint = next((output / method).rglob("model.ckpt"))
    draw_medical_sheet(checkpoint, output / "phantoms.png")
    return calibrated(console, checkpoint, output)


def _quieten() -> None:
    quieten()
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("anomalib_zsad").setLevel(logging.ERROR)
    for package in ("lightning.pytorch", "lightning.fabric", "lightning_fabric"):
        for name in (package, f"{package}.utilities.rank_zero"):
            logging.getLogger(name).setLevel(logging.ERROR)


def _train_and_test(method: str, output: Path) -> list[tuple[str, str, dict[str, float]]]:
    """Train one method on the auxiliary categories and test it, untrained and trained, on the unseen ones."""
    import anomalib_zsad

    untrained = new_model(method).model
    console.rule(f"{method} on the demo backbone (a demonstration, not a product)")
    start = time.monotonic()
    checkpoint = train(method, output / method)
    seconds = time.monotonic() - start
    console.print(f"Trained on the auxiliary categories in {seconds:.0f} s: {checkpoint}", highlight=False)
    trained = getattr(anomalib_zsad, method)(backbone="demo", checkpoint=str(checkpoint)).eval()
    rows = []
    for state, model in (("untrained", untrained), ("trained", trained.model)):
        rows.append((method, state, _test(method, model, trained.pre_processor.transform, output / method / state)))
    _heatmaps(method, trained, output / f"{method}_heatmaps.png")
    return rows


def _test(method: str, model: Any, transform: Any, folder: Path) -> dict[str, float]:
    """Mean of each metric over the unseen categories, each tested by itself."""
    from anomalib_zsad.data.sample_set import sample_data_folder
    from anomalib_zsad.evaluation.evaluate import Subject, evaluate
    from anomalib_zsad.evaluation.settings import Settings
    from anomalib_zsad.evaluation.targets import parse_target

    target = parse_target(f"sample={sample_data_folder() / 'industrial'}").restricted_to(UNSEEN_CATEGORIES)
    subject = Subject(model, transform, method)
    results = evaluate([subject], [target], folder, Settings(batch_size=8)).results
    return {name: sum(float(result.metrics[name] or 0) for result in results) / len(results) for name in SHOWN}


def _heatmaps(method: str, model: Any, path: Path) -> None:
    from anomalib_zsad.data.sample_set import sample_data_folder
    from anomalib_zsad.demo.heatmap_sheet import Shown, draw_sheet, read_mask

    shown = []
    for category in UNSEEN_CATEGORIES:
        folder = sample_data_folder() / "industrial" / category
        kinds = sorted(kind.name for kind in (folder / "test").iterdir() if kind.name != "good")
        for kind in ("good", *kinds[:3]):
            image = min((folder / "test" / kind).iterdir())
            mask = folder / "ground_truth" / kind / f"{image.stem}_mask.png"
            finding = model.examine(image, category.replace("_", " "))
            shown.append(Shown(f"{category}: {kind}", finding, read_mask(mask) if mask.is_file() else None))
    draw_sheet(shown, path, f"{method}, demo backbone: categories it never saw (true defects outlined)")


def _print_table(rows: Sequence[tuple[str, str, dict[str, float]]]) -> None:
    table = Table(title=f"Mean over {len(UNSEEN_CATEGORIES)} unseen categories, %")
    for heading in ("method", "prompts", *SHOWN):
        justify: Any = "left" if heading in {"method", "prompts"} else "right"
        table.add_column(heading.replace("_", "\n"), justify=justify)
    for method, state, metrics in rows:
        table.add_row(method, state, *(f"{100 * metrics[name]:.1f}" for name in SHOWN))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())

"""The demonstration's second half: calibrate on normal cases, then inspect, screen and evaluate with the calibration.

All by the commands that a user has. The embedded backbone has seen drawn sections, never a patient nor these phantoms:
the volumes show that the path works and that false alarms keep to their rate, nothing about accuracy on patients.
"""

import csv
from pathlib import Path

from PIL import Image
from rich.console import Console

from anomalib_zsad.cli import main as command_line
from anomalib_zsad.data.sample_set import sample_data_folder
from anomalib_zsad.demo.draw_sample_set import draw_piece
from anomalib_zsad.demo.phantoms import MODALITIES, Kind, normal_phantoms, write_phantom

CATEGORY = "leather"
# Normal cases apart from those of the sample set, whose numbers and seeds are lower.
FIRST_NEW, NORMAL_IMAGES, NORMAL_VOLUMES = 1000, 40, 20
RATE = "0.05"


def calibrated(console: Console, checkpoint: Path, output: Path) -> list[Path]:
    """Run the second half.

    Args:
        console: Where to tell about it.
        checkpoint: Its checkpoint.
        output: Folder for everything it writes.

    Returns:
        What there is to look at, first things first.
    """
    model = ("--checkpoint", str(checkpoint))
    images = _images(console, model, output)
    volumes = [_volumes(console, kind, model, output) for kind in MODALITIES]
    console.rule("A refusal, as planned: one patient, however many slices, cannot calibrate")
    alone = sample_data_folder() / "medical" / "head_ct" / "images" / "normal"
    refused = output / "calibration" / "alone.json"
    code = command_line(["calibrate", "--input", str(alone), "--output", str(refused), *model])
    console.print(
        f"Refused as planned (exit code {int(code)}); nothing is wrong with the demonstration.", highlight=False
    )
    return [*(page for pages in volumes for page in pages[:1]), *images, *(page for own in volumes for page in own[1:])]


def verdict(summary: Path) -> str:
    """What screening said of a lesion and of its twin, in one line, also where it is wrong."""
    with summary.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["volume_p_value"]]
    found = {"normal" in row["source"]: float(row["volume_p_value"]) for row in rows}
    if set(found) != {True, False}:
        return f"Of the two phantoms {len(rows)} could be judged; see {summary}."
    ill, twin = found[False] <= float(RATE), found[True] <= float(RATE)
    lesion = f"The lesion is {'found' if ill else 'NOT found'} (p = {found[False]:.2f})"
    healthy = f"its lesion-free twin is {'flagged, a false alarm' if twin else 'left alone'} (p = {found[True]:.2f})"
    bad = " A bad answer: do not take this backbone for a product." if twin or not ill else ""
    return f"{lesion}, {healthy}.{bad}"


def _images(console: Console, model: tuple[str, ...], output: Path) -> list[Path]:
    """Calibrate on newly drawn normal images of a category, and inspect the sample set's with it."""
    console.rule(f"Calibrating on {NORMAL_IMAGES} normal images of {CATEGORY}, inspecting others")
    normals, file = output / "normal" / CATEGORY, output / "calibration" / f"{CATEGORY}.json"
    normals.mkdir(parents=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    for number in range(FIRST_NEW, FIRST_NEW + NORMAL_IMAGES):
        Image.fromarray(draw_piece(CATEGORY, number).picture).save(normals / f"{number}.jpg", quality=88)
    named = (*model, "--class-name", CATEGORY)
    command_line(["calibrate", "--input", str(normals), "--output", str(file), *named])
    seen = sample_data_folder() / "industrial" / CATEGORY / "test"
    use = ("--calibration", str(file), "--false-alarm-rate", RATE)
    command_line(["inspect", "--input", str(seen), "--output", str(output / "inspected" / CATEGORY), *use, *named])
    return [output / "inspected" / CATEGORY / "report.html"]


def _volumes(console: Console, kind: Kind, model: tuple[str, ...], output: Path) -> list[Path]:
    """Calibrate on phantoms of healthy people, screen the sample volumes with it, and evaluate them for readers."""
    console.rule(f"Calibrating on {NORMAL_VOLUMES} normal phantoms ({kind}), screening the sample volumes")
    normals, file = output / "normal" / kind, output / "calibration" / f"{kind}.json"
    for phantom in normal_phantoms(kind, range(FIRST_NEW, FIRST_NEW + NORMAL_VOLUMES)):
        write_phantom(phantom, normals, patient=phantom.name)
    named = (*model, "--class-name", "brain")
    command_line(["calibrate", "--input", str(normals / "images"), "--output", str(file), *named])
    use = ("--calibration", str(file), "--false-alarm-rate", RATE)
    samples, screened = sample_data_folder() / "medical" / kind, output / "screening" / kind
    command_line(
        ["screen", "--input", str(samples / "images"), "--output", str(screened), "--source-names", *use, *named]
    )
    console.print(verdict(screened / "summary.csv"), highlight=False)
    evaluated = output / "evaluation" / kind
    target = f"phantom_{kind}=VolumeDataModule:{samples}?class_name=brain"
    command_line(["evaluate", "--input", target, "--output", str(evaluated), *use, *model])
    return [screened / "index.html", evaluated / "readers.md"]

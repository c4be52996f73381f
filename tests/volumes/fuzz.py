"""Mutate headers by a seed, read what comes of it, and account for every file.

A script: `python -m tests.volumes.fuzz KIND COUNT SEED FOLDER`, KIND being `dicom`, `nifti` or `images`. It prints one
line of JSON: how many files there were, what became of them, every outcome that names no fault, and its peak memory.
"""

import csv
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from PIL import Image

from anomalib_zsad.volumes.faults import Fault, Finding
from anomalib_zsad.volumes.guard import guarded
from anomalib_zsad.volumes.options import ReadingOptions, SizeBudget
from anomalib_zsad.volumes.reading.discovery import Candidate, discover
from anomalib_zsad.volumes.reading.loading import plan_jobs
from tests.volumes.volume_builders import affines, marked_voxels, write_enhanced, write_series

BATCH = 250
READING = ReadingOptions(budget=SizeBudget(volume_bytes=64 << 20))
# Values that programs stumble over, as text and as bytes.
NASTY_TEXT = (
    b"",
    b"0",
    b"-1",
    b"1e308",
    b"nan",
    b"inf",
    b"9" * 64,
    b"\\\\\\",
    b"1\\2",
    b" ",
    b"ORIGINAL\\PRIMARY\\MOSAIC",
)
NASTY_NUMBERS = (b"\xff" * 8, b"\0" * 8, b"\xff\x7f", b"\0\x80", b"\xff\xff\xff\x7f", b"\0\0\x80\x7f", b"\0\0\xc0\xff")
NASTY = NASTY_TEXT + NASTY_NUMBERS
Bytes = bytes


def flip(content: Bytes, random: np.random.Generator, end: int) -> Bytes:
    """Some bytes before `end` take any value."""
    changed = bytearray(content)
    for place in random.integers(0, end, random.integers(1, 6)):
        changed[place] = random.integers(256)
    return bytes(changed)


def overwrite(content: Bytes, random: np.random.Generator, end: int) -> Bytes:
    """A nasty value over what stands before `end`; the length stays."""
    value, place = NASTY[random.integers(len(NASTY))], int(random.integers(end))
    return content[:place] + value + content[place + len(value) :]


def cut(content: Bytes, random: np.random.Generator, end: int) -> Bytes:
    """A piece before `end` is missing, or all from there on."""
    place = int(random.integers(end))
    return content[:place] + (content[place + int(random.integers(1, 40)) :] if random.random() < 0.7 else b"")


def double(content: Bytes, random: np.random.Generator, end: int) -> Bytes:
    """A piece before `end` stands there twice."""
    start, length = int(random.integers(end)), int(random.integers(1, 200))
    return content[: start + length] + content[start:]


MUTATIONS = (flip, overwrite, cut, double)


def change_element(path: Path, random: np.random.Generator) -> Bytes:
    """A DICOM file in which one or two elements have nasty values, of the right length and form."""
    dataset = pydicom.dcmread(path)
    tags = [element.tag for element in dataset if element.tag != 0x7FE00010 and element.VR != "SQ"]
    for place in random.choice(len(tags), random.integers(1, 3), replace=False):
        value = NASTY[random.integers(len(NASTY))]
        value += b" " * (len(value) % 2)
        vr = dataset[tags[place]].VR
        dataset[tags[place]] = pydicom.dataelem.RawDataElement(tags[place], vr, len(value), value, 0, False, True)
    changed = path.with_suffix(".changed")
    dataset.save_as(changed)
    return changed.read_bytes()


def dicom_templates(folder: Path) -> list[Path]:
    """A slice of a series, an enhanced file, and one of another modality."""
    paths = [min(write_series(folder / name, modality=name).iterdir()) for name in ("CT", "MR")]
    return [*paths, write_enhanced(folder / "enhanced.dcm", affines()["oblique"], order=[2, 0, 1])]


def dicom_file(template: Path, number: int, random: np.random.Generator) -> Bytes:
    """A mutated file of a series of its own."""
    content = change_element(template, random) if random.random() < 0.5 else template.read_bytes()
    uid = str(pydicom.dcmread(template, stop_before_pixels=True).SeriesInstanceUID).encode()
    content = content.replace(uid, uid[:-6] + f"{100_000 + number:06d}"[-6:].encode())
    if random.random() < 0.6:
        header = max(1, content.rfind(b"\xe0\x7f\x10\x00"))
        content = MUTATIONS[random.integers(len(MUTATIONS))](content, random, header)
    return content


def nifti_templates(folder: Path) -> list[Path]:
    """NIfTI-1 and NIfTI-2, of whole numbers and of floats."""
    paths = []
    for name, kind, dtype in (("one", nibabel.Nifti1Image, np.int16), ("two", nibabel.Nifti2Image, np.float32)):
        paths.append(folder / f"{name}.nii")
        nibabel.save(kind(marked_voxels().astype(dtype), affines()["ras"]), paths[-1])
    return paths


def nifti_file(template: Path, _number: int, random: np.random.Generator) -> Bytes:
    """A mutated header before its voxels."""
    content = template.read_bytes()
    return MUTATIONS[random.integers(len(MUTATIONS))](content, random, 348)


def image_templates(folder: Path) -> list[Path]:
    """Every format that is read, in several modes."""
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 20), np.uint8))
    pictures = {"rgb.png": grey.convert("RGB"), "grey.png": grey, "palette.png": grey.convert("P"), "a.jpg": grey}
    pictures |= {"a.tiff": grey, "a.bmp": grey.convert("RGB"), "a.webp": grey.convert("RGB")}
    pictures["deep.png"] = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for name, picture in pictures.items():
        picture.save(folder / name)
    return [folder / name for name in pictures]


def image_file(template: Path, _number: int, random: np.random.Generator) -> Bytes:
    """A picture with mutations anywhere."""
    content = template.read_bytes()
    return MUTATIONS[random.integers(len(MUTATIONS))](content, random, len(content))


def read_volumes(folder: Path, count: int, outcomes: Counter[str], unnamed: list[str]) -> None:
    """Read every volume of a folder of `count` files; each file is in a series, or in a finding, once."""
    found = discover(folder, READING.budget)
    listed = [file.name for candidate in found.candidates for file in candidate.files]
    listed += [name for finding in found.findings for name in finding.files]
    others = [finding for finding in found.findings if finding.fault is Fault.OTHER_FILE and not finding.files]
    loose = sum(int(re.match(r"\d+", finding.message)[0]) for finding in others)  # type: ignore[index]
    if len(set(listed)) != len(listed) or len(listed) + loose != count:
        unnamed.append(f"{count} files, {len(listed)} listed, {len(set(listed))} of them once, {loose} of no kind")
    _count(outcomes, unnamed, found.findings)
    for candidate in found.candidates:
        _count(outcomes, unnamed, _read(candidate, outcomes))


def _read(candidate: Candidate, outcomes: Counter[str]) -> list[Finding]:
    planned = guarded(lambda: plan_jobs(candidate, READING))
    if isinstance(planned, Finding):
        return [planned]
    jobs, findings = planned
    for job in jobs:
        volume = guarded(lambda job=job: job.read(READING))  # type: ignore[misc]
        if isinstance(volume, Finding):
            findings.append(volume)
        else:
            outcomes["read"] += 1
    return findings


def _count(outcomes: Counter[str], unnamed: list[str], findings: list[Finding]) -> None:
    outcomes.update(finding.fault.code for finding in findings)
    unnamed += [finding.message for finding in findings if finding.fault is Fault.FAILED]


def read_images(folder: Path, count: int, outcomes: Counter[str], unnamed: list[str]) -> None:
    """Inspect every picture of a folder of `count`; each is in the records, once."""
    # Here, so that the memory of reading volumes is told without torch.
    from anomalib_zsad.inspection.inspect_images import inspect_images
    from anomalib_zsad.inspection.options import InspectionOptions
    from tests.inspection.bright_image import BrightImageScorer

    output = folder.with_name("inspected")
    inspect_images(folder, output, BrightImageScorer(), InspectionOptions(progress=False))
    with (output / "images.csv").open(newline="") as stream:
        records = list(csv.DictReader(stream))
    if len(records) != count or len({record["image"] for record in records}) != count:
        unnamed.append(f"{count} pictures, {len(records)} records")
    outcomes.update("read" if record["score"] else "unreadable" for record in records)
    unnamed += [record["reason"] for record in records if "unexpected" in record["reason"]]
    shutil.rmtree(output)


KINDS: dict[str, tuple[Callable, Callable, Callable]] = {
    "dicom": (dicom_templates, dicom_file, read_volumes),
    "nifti": (nifti_templates, nifti_file, read_volumes),
    "images": (image_templates, image_file, read_images),
}


def main(kind: str, count: int, seed: int, folder: Path) -> None:
    """Mutate, read, and tell."""
    templates_of, make, read = KINDS[kind]
    (folder / "templates").mkdir(parents=True)
    templates, random = templates_of(folder / "templates"), np.random.default_rng(seed)
    outcomes: Counter[str] = Counter()
    unnamed: list[str] = []
    for start in range(0, count, BATCH):
        batch = folder / "batch"
        batch.mkdir()
        numbers = range(start, min(start + BATCH, count))
        for number in numbers:
            template = templates[random.integers(len(templates))]
            (batch / f"{number:06d}{template.suffix}").write_bytes(make(template, number, random))
        read(batch, len(numbers), outcomes, unnamed)
        shutil.rmtree(batch)
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]
    told = {"files": count, "outcomes": dict(outcomes.most_common()), "unnamed": unnamed, "mebibytes": round(peak)}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))

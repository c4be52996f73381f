"""What is written for readers: complete, valid, legible, and without names."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from anomalib_zsad.evaluation.evaluation_page import write_page
from anomalib_zsad.evaluation.result_tables import Cell, Row
from anomalib_zsad.evaluation.results import Run
from anomalib_zsad.evaluation.volumes import curve_pictures
from anomalib_zsad.evaluation.volumes.cases import Failure
from anomalib_zsad.evaluation.volumes.curve_pictures import pictures
from anomalib_zsad.evaluation.volumes.definitions import DEFINITIONS, definition
from anomalib_zsad.evaluation.volumes.figures import figures
from anomalib_zsad.evaluation.volumes.lesion_rules import LesionRules
from anomalib_zsad.evaluation.volumes.readers_report import curve_folder, write_readers
from anomalib_zsad.evaluation.volumes.terminal import reader_tables
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet
from anomalib_zsad.metrics import METRICS
from tests.evaluation.volumes.volume_samples import flat_calibration, record, simulated_set

FILES = ("readers.json", "readers.md", "volumes.csv", "lesions.csv")
CURVES = ("slice_roc.png", "volume_roc.png", "froc.png", "recall_by_size.png", "dice.png")


def sample(*, calibrated: bool = True) -> VolumeSet:
    volumes = simulated_set(24, 0, flat_calibration(0.62) if calibrated else None)
    failures = (Failure("series-bad", "the file is truncated", "SECRET"),)
    return replace(volumes, failures=failures, sources={one.name: "SECRET" for one in volumes.records})


def one_class(abnormal: bool) -> VolumeSet:
    volumes = simulated_set(6, 0)
    chosen = tuple(one for one in volumes.records if one.abnormal == abnormal)
    return replace(volumes, records=chosen)


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def refuse(constant: str) -> None:
    raise AssertionError(constant)


def test_all_files_are_written_and_agree(tmp_path: Path) -> None:
    volumes = sample()
    written = write_readers(tmp_path, [volumes], {"model": "BayesPFL"})
    folder = tmp_path / "curves" / curve_folder(volumes)
    assert set(written) == {*(tmp_path / name for name in FILES), *(folder / name for name in CURVES)}
    content = json.loads((tmp_path / "readers.json").read_text(), parse_constant=refuse)
    (one,) = content["sets"]
    assert content["provenance"] == {"model": "BayesPFL"}
    assert one["counts"]["volumes found"] == 25
    assert one["failures"] == [{"volume": "series-bad", "reason": "the file is truncated"}]
    assert one["calibration"]["false_alarm_rate"] == 0.05
    assert one["figures"]["volumes"]["AUROC"]["low"] < one["figures"]["volumes"]["AUROC"]["value"]
    rows = read(tmp_path / "volumes.csv")
    assert len(rows) == 25
    assert [row["status"] for row in rows].count("failed") == 1
    assert rows[-1]["reason"] == "the file is truncated"
    lesions = read(tmp_path / "lesions.csv")
    assert len(lesions) == one["counts"]["lesions"] == 24
    assert {lesion["volume_mm3"] for lesion in lesions} == {"256", "1176"}
    found = sum(lesion["found_at_1_fp"] == "true" for lesion in lesions)
    assert found == one["figures"]["lesions"]["lesions found at 1 false positive per volume"]["count"]
    assert found == sum(int(row["lesions_found_at_1_fp"]) for row in rows[:-1])
    dice = [float(row["dice_calibrated"]) for row in rows if row["dice_calibrated"]]
    assert np.mean(dice) == pytest.approx(one["figures"]["calibrated"]["Dice"]["value"], abs=1e-4)
    oracle = [float(row["dice_oracle"]) for row in rows if row["dice_oracle"]]
    assert np.mean(oracle) == pytest.approx(one["figures"]["segmentation"]["best Dice (oracle)"]["value"], abs=1e-4)


def test_every_figure_has_its_definition_in_plain_words(tmp_path: Path) -> None:
    volumes = replace(sample(), lesion_rules=LesionRules(("iou", "dice", "panoptic")))
    write_readers(tmp_path, [volumes], {})
    text = (tmp_path / "readers.md").read_text()
    for group in figures(volumes).values():
        for name in group:
            assert definition(name) in text
            assert f"| {name} |" in text
    assert "Volumes that failed are in no figure but these counts" in text
    assert "- series-bad: the file is truncated" in text
    used = {definition(name) for group in figures(volumes).values() for name in group}
    assert used == set(DEFINITIONS.values())


def test_names_of_cases_are_shown_on_request_only(tmp_path: Path) -> None:
    volumes = sample()
    write_readers(tmp_path, [volumes], {})
    assert not any("SECRET" in path.read_text() for name in FILES for path in [tmp_path / name])
    write_readers(tmp_path, [volumes], {}, source_names=True)
    rows = read(tmp_path / "volumes.csv")
    assert {row["source"] for row in rows} == {"SECRET"}
    assert not any("SECRET" in (tmp_path / name).read_text() for name in FILES if name != "volumes.csv")


@pytest.mark.parametrize("abnormal", [True, False])
def test_one_class_is_said_to_be_so_everywhere(tmp_path: Path, abnormal: bool) -> None:
    volumes = one_class(abnormal)
    write_readers(tmp_path, [volumes], {})
    content = json.loads((tmp_path / "readers.json").read_text(), parse_constant=refuse)
    auroc = content["sets"][0]["figures"]["volumes"]["AUROC"]
    assert auroc["value"] is None
    assert auroc["note"] == f"only {'abnormal' if abnormal else 'normal'} ones"
    text = (tmp_path / "readers.md").read_text()
    assert f"| AUROC | not defined |  | only {'abnormal' if abnormal else 'normal'} ones |" in text
    assert "nan" not in text.lower()
    if not abnormal:
        assert "| best Dice (oracle) | not defined |  | there is no lesion |" in text
        assert read(tmp_path / "lesions.csv") == []


@pytest.mark.parametrize(
    "make", [sample, lambda: sample(calibrated=False), lambda: one_class(True), lambda: one_class(False)]
)
def test_pictures_are_drawn_whatever_is_defined(make) -> None:
    drawn = pictures(make())
    assert tuple(drawn) == CURVES
    for content in drawn.values():
        image = Image.open(io.BytesIO(content)).convert("L")
        assert min(image.size) > 500
        assert np.asarray(image).min() < 100  # something is on it


def test_pictures_of_equal_sets_are_equal() -> None:
    assert pictures(sample()) == pictures(sample())


def test_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    first = sample()
    second = replace(first, run=Run("deployable", "b.ckpt", 1))
    write_readers(tmp_path, [first, second], {})
    assert curve_folder(first) != curve_folder(second)
    rows = read(tmp_path / "volumes.csv")
    assert {(row["checkpoint"], row["seed"]) for row in rows} == {("", "0"), ("b.ckpt", "1")}
    assert len(list((tmp_path / "curves").iterdir())) == 2


def test_unknown_size_is_a_class_of_its_own(tmp_path: Path) -> None:
    heat, mask = np.full((8, 8, 4), 0.2), np.zeros((8, 8, 4), bool)
    mask[2:4, 2:4, 1] = True
    heat[mask] = 0.9
    volumes = VolumeSet("set", "brain", Run("deployable", "", 0), (record("a", heat, mask, voxel_mm3=None),))
    write_readers(tmp_path, [volumes], {})
    assert "| size unknown | 1 | 1 of 1 |" in (tmp_path / "readers.md").read_text()
    (lesion,) = read(tmp_path / "lesions.csv")
    assert (lesion["volume_mm3"], lesion["diameter_mm"], lesion["size"]) == ("", "", "")


def test_terminal_shows_figures_counts_and_failures() -> None:
    console = Console(width=220, record=True, file=io.StringIO())
    for table in reader_tables(sample()):
        console.print(table)
    text = console.export_text()
    assert "volumes scored: 24, volumes with a lesion: 12, patients: 24" in text
    assert "1 of 25 volumes failed" in text
    assert "sensitivity at 95 % specificity" in text
    assert "10 to 20 mm" in text


def page_of(folder: Path, volumes: VolumeSet, screened: Path | None = None) -> str:
    files = write_readers(folder, [volumes], {})
    row = Row("set", "brain", "deployable", dict.fromkeys(METRICS, Cell(0.9)), 10, 1, ("a <note>",))
    provenance = {"model": "BayesPFL", "protocols": []}
    path = write_page(folder, "BayesPFL, model.ckpt", "ViT-L-14-336", [row], [volumes], provenance, files, screened)
    return path.read_text()


def test_the_page_shows_figures_curves_failures_and_hardest_cases(tmp_path: Path) -> None:
    volumes = sample()
    hardest = min((one for one in volumes.records if one.abnormal), key=lambda one: one.score)
    loudest = max((one for one in volumes.records if not one.abnormal), key=lambda one: one.score)
    pages = tmp_path / "screened" / hardest.name
    pages.mkdir(parents=True)
    (pages / "report.html").write_text("")
    (tmp_path / "out").mkdir()
    text = page_of(tmp_path / "out", volumes, tmp_path / "screened")
    for group in figures(volumes).values():
        for name, one in group.items():
            assert name in text
            assert one.text() in text
    assert text.count('src="data:image/png') == 5
    assert "<b>series-bad</b> the file is truncated" in text
    assert "a &lt;note&gt;" in text
    missed = text[text.index("with a lesion and the lowest scores") : text.index("without a lesion and the highest")]
    lesion = int(hardest.slices.index[np.where(hardest.slices.abnormal, hardest.slices.score, -1).argmax()])
    assert f'<a href="../screened/{hardest.name}/report.html#slice={lesion}">{hardest.name}</a>' in missed
    assert missed.index(hardest.name) < missed.index("lesions pointed to at 1 false positive")
    alarms = text[text.index("without a lesion and the highest") :]
    assert f'<th scope="row">{loudest.name}</th>' in alarms
    assert "SECRET" not in text


def test_the_page_of_few_patients_has_counts_and_no_curves(tmp_path: Path) -> None:
    text = page_of(tmp_path, few_patients())
    assert "data:image/png" not in text
    assert "No curves: there are too few patients" in text
    assert "too few patients" in text


def few_patients() -> VolumeSet:
    volumes = sample()
    abnormal = [one for one in volumes.records if one.abnormal][:2]
    normal = [one for one in volumes.records if not one.abnormal]
    return replace(volumes, records=(*abnormal, *normal), failures=())


def test_below_five_patients_of_a_class_people_see_counts_only(tmp_path: Path) -> None:
    volumes = few_patients()
    write_readers(tmp_path, [volumes], {})
    text = (tmp_path / "readers.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| volumes with a lesion flagged by their score"))
    assert " of 2 |" in row
    assert "patients with a lesion: 2 (percentages need 5)" in row
    ranking = text[text.index("## Volumes") : text.index("## Lesions pointed to")].partition("\n\n- ")[0]
    assert "| AUROC | too few patients |" in ranking
    assert not re.search(r"\d %.*\[", ranking)
    normal = next(line for line in text.splitlines() if line.startswith("| normal volumes flagged by their score"))
    assert re.search(r"\d % \(", normal)  # of normal patients there are twelve
    (one,) = json.loads((tmp_path / "readers.json").read_text())["sets"]
    auroc = one["figures"]["volumes"]["AUROC"]
    assert auroc["few"] == "patients: 2 with a lesion, 12 without (percentages need 5 of each)"
    assert auroc["low"] is None
    console = Console(width=80, file=io.StringIO())
    for part in reader_tables(volumes):
        console.print(part)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Volumes" in shown
    assert "counts only" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_no_curve_of_two_points(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(
        curve_pictures, "_empty", lambda _, reason, what="not defined": drawn.append(f"{what}: {reason}")
    )
    pictures(few_patients())
    assert sum(text.startswith(("no curve", "counts only")) for text in drawn) == 5
    drawn.clear()
    tied = sample()
    pictures(replace(tied, records=tuple(replace(one, score=0.5) for one in tied.records)))
    assert drawn == ["no curve: all volumes have the same score"]

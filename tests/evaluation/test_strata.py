"""Strata by a table of the user's: what is matched, what is counted, what is shown, and what is refused."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.cli import main
from anomalib_zsad.evaluation.evaluate import Evaluation
from anomalib_zsad.evaluation.results import CategoryResult, Run
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.strata.make_strata import make_strata
from anomalib_zsad.evaluation.strata.strata_report import write_strata
from anomalib_zsad.evaluation.strata.strata_table import StrataTable, read_strata
from anomalib_zsad.evaluation.volumes.cases import Failure
from anomalib_zsad.evaluation.volumes.figures import figures
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet
from tests.evaluation.evaluation_samples import write_tree
from tests.evaluation.volumes.volume_samples import flat_calibration, simulated_set


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def volumes(*, calibrated: bool = False) -> VolumeSet:
    """Forty patients v0 to v39, those with odd numbers with lesions, and one whose volume failed."""
    made = simulated_set(40, 0, flat_calibration(0.62) if calibrated else None)
    owners = {one.name: (one.patient, f"Doe {one.name}") for one in made.records}
    return replace(
        made,
        failures=(Failure("v99", "the file is truncated", "Doe-99"),),
        sources={**{one.name: f"case-{one.name}" for one in made.records}, "v99": "case-v99"},
        owners={**owners, "v99": ("v99", "Doe v99")},
    )


def table(path: Path, key: str, names: Sequence[str]) -> StrataTable:
    """Scanner A for the first half, B for the rest; the site of nobody is told."""
    lines = [f"{key},scanner,site", *(f"{name},{'A' if n < len(names) / 2 else 'B'}," for n, name in enumerate(names))]
    return read_strata(write(path / "strata.csv", "\n".join(lines)), ["scanner", "site"])


@pytest.mark.parametrize(
    ("key", "name"), [("volume", "v{}"), ("series", "case-v{}"), ("patient", "v{}"), ("patient", "Doe v{}")]
)
def test_volumes_are_found_by_pseudonym_and_by_the_data_sets_own_names(key: str, name: str, tmp_path: Path) -> None:
    strata = table(tmp_path, key, [name.format(number) for number in [*range(40), 99]])
    made = make_strata(Evaluation(volume_sets=[volumes()]), strata, Settings())
    assert [(one.column, one.value) for one in made] == [
        ("scanner", "A"),
        ("scanner", "B"),
        ("site", "(not told)"),
    ]
    assert [one.counts["volumes scored"] for one in made] == [21, 19, 40]
    assert [one.counts["volumes failed"] for one in made] == [0, 1, 1]
    assert strata.unused == 0


def test_figures_of_a_stratum_are_those_of_its_volumes_alone(tmp_path: Path) -> None:
    whole = volumes(calibrated=True)
    strata = table(tmp_path, "volume", [*(one.name for one in whole.records), "v99"])
    first, second, everything = make_strata(Evaluation(volume_sets=[whole]), strata, Settings())
    alone = figures(replace(whole, records=whole.records[:21], failures=()))
    assert first.figures["AUROC of volumes"] == alone["volumes"]["AUROC"]
    assert first.figures["average precision of places"] == alone["lesions"]["average precision"]
    flagged = "normal volumes flagged by their score"
    assert first.figures[flagged] == alone["calibrated"][flagged]
    common = "lesions found at the common threshold"
    assert everything.figures[common].count == first.figures[common].count + second.figures[common].count
    assert everything.figures[common].value == pytest.approx(
        figures(whole)["lesions"]["lesions found at 1 false positive per volume"].value
    )
    assert first.figures[common].low < first.figures[common].value < first.figures[common].high
    wrong = "false positives at the common threshold"
    assert everything.counts[wrong] == first.counts[wrong] + second.counts[wrong] <= 40


def test_below_five_patients_of_a_class_there_are_counts_alone_everywhere(tmp_path: Path) -> None:
    whole = volumes(calibrated=True)
    whole = replace(whole, records=whole.records[:15])
    strata = table(tmp_path, "volume", [*(one.name for one in whole.records), "v99"])
    made = make_strata(Evaluation(volume_sets=[whole]), strata, Settings())
    write_strata(tmp_path, made, {"model": "BayesPFL"})
    content = json.loads((tmp_path / "strata.json").read_text())
    first = content["strata"][0]
    assert first["counts"]["volumes with a lesion"] == 4
    for figure in first["figures"].values():
        assert figure["value"] is None
        assert figure["low"] is None
    common = first["figures"]["lesions found at the common threshold"]
    assert common["of"] == 8  # two lesions each
    assert "percentages need 5" in common["few"]
    rows = list(csv.DictReader((tmp_path / "strata.csv").open()))
    few = [row for row in rows if row["value"] == "A" and row["few"]]
    assert few
    assert not any(row["result"] or row["low"] for row in few)
    assert f"{common['count']} of 8" in (tmp_path / "strata.md").read_text()
    whole_set = content["strata"][-1]["figures"]["AUROC of volumes"]
    assert whole_set["low"] < whole_set["value"] < whole_set["high"]


def images(count: int = 40, patients: bool = False) -> CategoryResult:
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2 == 1
    return CategoryResult(
        "parts", "bolt", Run("deployable", "a.ckpt", 0), {}, count, count // 2, 0, 1.0,
        scores=tuple((random.normal(0, 1, count) + 1.5 * labels).tolist()),
        labels=tuple(labels.tolist()),
        units=tuple(str(number // 2 if patients else number) for number in range(count)),
        names=tuple(f"/data/parts/bolt/test/{'bad' if label else 'good'}/{n:03}.png" for n, label in enumerate(labels)),
    )  # fmt: skip


def test_images_are_found_by_the_end_of_their_path(tmp_path: Path) -> None:
    names = [name.removeprefix("/data/parts/") for name in images().names]
    strata = table(tmp_path, "image", [name.replace("/", "\\") for name in names[:20]] + names[20:])
    first, second, _ = make_strata(Evaluation([images()]), strata, Settings())
    assert first.counts == {"images": 20, "abnormal": 10, "normal": 10}
    auroc = first.figures["image AUROC"]
    assert auroc.low < auroc.value < auroc.high
    assert second.figures["image AUROC"].value != auroc.value


def test_images_of_a_patient_are_counted_once(tmp_path: Path) -> None:
    strata = table(tmp_path, "patient", [str(number) for number in range(20)])
    scores = tuple((value,) for value in np.linspace(-2, 2, 40, dtype=np.float32).tolist())
    settings = Settings(calibration=Calibration("images", {"image": scores, "mask": scores}, {}), false_alarm_rate=0.1)
    first, *_ = make_strata(Evaluation([images(patients=True)]), strata, settings)
    assert first.counts["patients"] == 10
    flagged = first.figures["abnormal images flagged by their score"]
    assert (flagged.of, flagged.low) == (10, 0) or flagged.low is not None
    few = replace(images(patients=True), **{
        name: getattr(images(patients=True), name)[:8] for name in ("scores", "labels", "units", "names")
    })  # fmt: skip
    first, *_ = make_strata(Evaluation([few]), strata, settings)
    assert first.figures["image AUROC"].few == "patients: 4 abnormal, 4 normal (percentages need 5 of each)"
    assert first.figures["normal images flagged by their score"].few == "images: 4 (percentages need 5)"


def test_a_name_of_several_images_is_no_name(tmp_path: Path) -> None:
    result = replace(images(4), names=("/a/x/0.png", "/a/y/0.png", "/a/x/1.png", "/a/y/2.png"))
    strata = read_strata(write(tmp_path / "s.csv", "image;sex\n0.png;F\n"), ["sex"])
    with pytest.raises(ValueError, match=r"the image '0.png' of the strata is 2 images of the data set"):
        make_strata(Evaluation([result]), strata, Settings())


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    strata = read_strata(write(tmp_path / "s.csv", "patient\tsex\nnobody\tF\n"), ["sex"])
    with pytest.raises(ValueError, match="none of the 1 rows of the strata is of anything that was evaluated"):
        make_strata(Evaluation(volume_sets=[volumes()]), strata, Settings())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,scanner\na,A\n", "needs a column image, volume, series or patient; it has name, scanner"),
        ("patient,site\na,A\n", "has no column scanner to make strata of; it has site"),
        ("patient,scanner\na,A\na,B\n", "row 3 says otherwise than an earlier row of the same name"),
        ("patient,scanner\na\n", "row 2 has 1 cells, fewer than the header"),
        ("patient,scanner\n\n", "has a header and no rows"),
        ("", "needs a column"),
        ("patient,scanner\n" + "".join(f"{n},{n}\n" for n in range(40)), "has 40 different values"),
    ],
)
def test_tables_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_strata(write(tmp_path / "s.csv", text), ["scanner"])


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes("patient,scanner\nMüller,A\n".encode("latin-1"))
    with pytest.raises(ValueError, match="is no text in UTF-8"):
        read_strata(tmp_path / "s.csv", ["scanner"])
    with pytest.raises(FileNotFoundError, match="there is no table of strata"):
        read_strata(tmp_path / "none.csv", ["scanner"])


def test_what_a_table_holds_acts_nowhere(tmp_path: Path) -> None:
    whole = volumes()
    value = "=1+1|<script>\x1b[31m"
    text = "volume,site\n" + "".join(f"{one.name},{value}\n" for one in whole.records[1:])
    strata = read_strata(write(tmp_path / "s.csv", text), ["site"])
    made = make_strata(Evaluation(volume_sets=[whole]), strata, Settings())
    write_strata(tmp_path, made, {})
    markdown = (tmp_path / "strata.md").read_text()
    assert "<script>" not in markdown
    assert "\x1b" not in markdown
    assert "'=1+1" in (tmp_path / "strata.csv").read_text()
    assert [one.value for one in made] == [value, "(not told)"]


def test_the_command_writes_strata_of_images(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tree = write_tree(tmp_path / "parts", ["bolt"])
    names = sorted(str(path.relative_to(tree)) for path in tree.rglob("test/*/*.png"))
    lines = ["image,line", *(f"{name},{'old' if n % 2 else 'new'}" for n, name in enumerate(names)), "other.png,old"]
    strata = write(tmp_path / "lines.csv", "\n".join(lines))
    options = [
        "evaluate",
        "--allow-untrained",
        "--model.backbone",
        "demo",
        "--model.num_samples",
        "1",
        "--device",
        "cpu",
    ]
    options += ["-i", str(tree), "-o", str(tmp_path / "out")]
    assert main([*options, "--strata", str(strata)]) == 2
    assert "--strata FILE and --stratum COLUMN go together" in capsys.readouterr().err
    assert main([*options, "--strata", str(strata), "--stratum", "line", "--claim"]) == 0
    printed = capsys.readouterr().out
    assert "parts / bolt by line (no checkpoint, deployable, seed 0)" in printed
    assert "1 of the" in printed
    content = json.loads((tmp_path / "out" / "strata.json").read_text())
    assert [one["value"] for one in content["strata"]][:2] == ["new", "old"]
    assert sum(one["counts"]["images"] for one in content["strata"]) == len(names)
    assert content["provenance"]["strata columns"] == ["line"]
    assert "parts / bolt, line new: images" in (tmp_path / "out" / "claim.md").read_text()
    assert "Strata: parts / bolt by line" in (tmp_path / "out" / "report.html").read_text()
    stored = next((tmp_path / "out" / "categories").rglob("*.json")).read_text()
    assert str(tmp_path) not in stored  # names of images are not kept
    assert main([*options, "--strata", str(strata), "--stratum", "line", "--resume"]) == 0
    assert json.loads((tmp_path / "out" / "strata.json").read_text()) == content

"""The draft of a CLAIM checklist: all items in order, the run's own facts, nothing that it cannot know, no names."""

import re
from dataclasses import replace
from pathlib import Path

from anomalib_zsad.data.set_names import AuxiliarySet
from anomalib_zsad.evaluation.claim.draft import write_claim
from anomalib_zsad.evaluation.claim.facts import facts_of
from anomalib_zsad.evaluation.claim.items import ITEMS
from anomalib_zsad.evaluation.evaluate import TRAINED_ON, Evaluation, Subject
from anomalib_zsad.evaluation.results import CategoryResult, Run
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.strata.make_strata import make_strata
from anomalib_zsad.evaluation.strata.strata_table import read_strata
from anomalib_zsad.evaluation.volumes.cases import Failure
from anomalib_zsad.evaluation.volumes.evaluate_volumes import table_row
from anomalib_zsad.evaluation.volumes.figures import figures
from anomalib_zsad.evaluation.volumes.lesion_rules import LesionRules
from tests.evaluation.volumes.volume_samples import flat_calibration, simulated_set

PROVENANCE = {
    "model": "BayesPFL",
    "backbone": "ViT-L-14-336",
    "arguments": {"num_samples": 5},
    "checkpoints": {"model.ckpt": "ab12"},
    "auxiliary set": "VisA",
    "auxiliary categories": [],
    "version of anomalib-zsad": "0.2.0",
    "version of anomalib": "2.7.0",
    "version of torch": "2.10",
}


def evaluation(count: int = 24) -> Evaluation:
    volumes = replace(
        simulated_set(count, 0, flat_calibration(0.62)),
        lesion_rules=LesionRules(("iou",)),
        failures=(Failure("series-bad", "the file is truncated", "SECRET"),),
        sources={"v1": "SECRET"},
    )
    subject = Subject(None, lambda image: image, "BayesPFL", "model.ckpt", AuxiliarySet("VisA"))
    return Evaluation([table_row(volumes)], [volumes], [subject])


def sections(text: str) -> dict[int, str]:
    """Text of each item, by number."""
    parts = re.split(r"^### (\d+)\. .*$", text, flags=re.MULTILINE)
    return {int(number): body for number, body in zip(parts[1::2], parts[2::2], strict=True)}


def test_every_item_is_there_in_order_with_what_authors_must_write(tmp_path: Path) -> None:
    text = write_claim(tmp_path, evaluation(), Settings(), PROVENANCE).read_text()
    found = sections(text)
    assert list(found) == [item.number for item in ITEMS] == list(range(1, 45))
    assert all("- [ ] **To be written:**" in body for body in found.values())
    known = facts_of(evaluation(), Settings(), PROVENANCE, ())
    assert f"The run says something of {len(known)} of the 44 items." in text
    assert {number for number, body in found.items() if "From the run:" in body} == set(known)
    assert not set(known) & {2, 3, 4, 5, 6, 8, 15, 16, 17, 18, 34, 40, 41, 42, 44}  # what no run can know


def test_what_the_run_knows_is_what_its_reports_say(tmp_path: Path) -> None:
    made = evaluation()
    found = sections(write_claim(tmp_path, made, Settings(lesions=LesionRules(("iou",))), PROVENANCE).read_text())
    assert "1 of 25 volumes failed" in found[12]
    assert "volumes scored 24" in found[35]
    assert "model.ckpt (SHA-256 ab12)" in found[25]
    assert "VisA" in found[25]
    assert "anomalib 2.7.0" in found[23]
    assert "num_samples=5" in found[22]
    assert "by overlap: iou" in found[28]
    auroc = figures(made.volume_sets[0])["volumes"]["AUROC"].text()
    assert f"volumes, AUROC: {auroc}" in found[37]
    flagged = figures(made.volume_sets[0])["calibrated"]["normal volumes flagged by their score"].text()
    assert f"normal volumes flagged by their score: {flagged}" in found[38]
    assert "series-bad: the file is truncated" in found[39]
    assert "SECRET" not in "".join(found.values())


def test_few_patients_have_no_percentages_in_it(tmp_path: Path) -> None:
    found = sections(write_claim(tmp_path, evaluation(6), Settings(), PROVENANCE).read_text())
    told = re.sub("at 9[05] % (sensitivity|specificity)", "", found[37] + found[38])  # names of figures
    assert "volumes, sensitivity" in told
    assert "%" not in told


def test_training_on_what_is_tested_is_told(tmp_path: Path) -> None:
    made = evaluation()
    overlapping = Evaluation([replace(made.results[0], notes=(TRAINED_ON,))], made.volume_sets, made.subjects)
    found = sections(write_claim(tmp_path, overlapping, Settings(), PROVENANCE).read_text())
    assert "trained on, and so not zero-shot: brain" in found[19]
    assert "From the run:" not in found[33]
    unknown = Evaluation(made.results, made.volume_sets, [replace(made.subjects[0], auxiliary=None)])
    found = sections(write_claim(tmp_path, unknown, Settings(), PROVENANCE).read_text())
    assert "it is not known to the run what the prompts were trained on" in found[19]


def test_strata_are_characteristics_of_the_cases(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("volume,sex\n" + "".join(f"v{n},{'FM'[n % 2]}\n" for n in range(24)))
    made = evaluation()
    strata = make_strata(made, read_strata(tmp_path / "s.csv", ["sex"]), Settings())
    found = sections(write_claim(tmp_path, made, Settings(), PROVENANCE, strata).read_text())
    assert "sex F: volumes scored 12" in found[36]
    assert "strata by sex" in found[30]


def test_a_run_over_images_says_less(tmp_path: Path) -> None:
    result = CategoryResult("<b>set", "bolt", Run("deployable", "", 0), {"image_AUROC": 0.5}, 10, 5, 0, 1.0)
    known = {**PROVENANCE, "notice": "weights of a demonstration", "checkpoints": {}}
    text = write_claim(tmp_path, Evaluation([result]), Settings(), known).read_text()
    found = sections(text)
    assert "**weights of a demonstration**" in text
    assert "<b>" not in text
    assert "images 10, abnormal 5" in found[35]
    assert "image AUROC 50.0 %" in found[37]
    assert "From the run:" not in found[11]
    assert "From the run:" not in found[25]

"""Whole evaluations with a model whose answers can be computed by hand."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from anomalib_zsad.data.set_names import AuxiliarySet
from anomalib_zsad.evaluation import score_category as runner
from anomalib_zsad.evaluation.evaluate import OverlapError, Subject, evaluate, model_fingerprint
from anomalib_zsad.evaluation.published_figures import published_figures
from anomalib_zsad.evaluation.result_tables import make_rows, markdown, rich_tables, write_reports
from anomalib_zsad.evaluation.results import CategoryResult, ForeignResultsError, Run
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.targets import Target, path_target
from anomalib_zsad.metrics import IMAGE_METRICS, PIXEL_METRICS
from tests.evaluation.evaluation_samples import FakeModel, write_image, write_meta, write_tree


@pytest.fixture
def subject(fake_model: FakeModel, identity: Callable[[Tensor], Tensor]) -> Subject:
    return Subject(fake_model, identity, "BayesPFL", "weights.ckpt", AuxiliarySet("VisA"))


def run(subject: Subject, target: Target, output: Path, **settings: object) -> list[CategoryResult]:
    return evaluate([subject], [target], output, Settings(**{"resume": True, **settings})).results


def test_perfect_maps_have_perfect_metrics(subject: Subject, tmp_path: Path) -> None:
    """Every spot is brighter than every background, and every abnormal image brighter than its normal twin."""
    target = path_target(write_tree(tmp_path / "parts", ["bolt", "nut"]))
    results = run(subject, target, tmp_path / "out")
    assert [result.category for result in results] == ["bolt", "nut"]
    for result in results:
        assert (result.images, result.abnormal, result.masked) == (6, 3, 3)
        assert [result.metrics[name] for name in PIXEL_METRICS] == pytest.approx([1, 1, 1, 1])
        # score = mean of the image + 0.1 * corner: backgrounds 40 50 60, with spots of 200 210 220 on 1/16 of the area
        assert result.metrics["image_AUROC"] == pytest.approx(1.0)


def test_answers_do_not_depend_on_the_batch_size(subject: Subject, tmp_path: Path) -> None:
    target = path_target(write_tree(tmp_path / "parts", ["bolt"], normal=4, abnormal=5))
    one = run(subject, target, tmp_path / "a", batch_size=1, protocols=("deployable", "paper"))
    four = run(subject, target, tmp_path / "b", batch_size=4, protocols=("deployable", "paper"))
    for first, second in zip(one, four, strict=True):
        assert first.metrics == pytest.approx(second.metrics, abs=1e-6)


def test_processes_that_read_images_change_nothing(subject: Subject, tmp_path: Path) -> None:
    target = path_target(write_tree(tmp_path / "parts", ["bolt"]))
    alone = run(subject, target, tmp_path / "a")
    helped = run(subject, target, tmp_path / "b", num_workers=1, batch_size=2)
    assert alone[0].metrics == pytest.approx(helped[0].metrics)


def test_images_of_different_sizes_are_brought_to_one_before_batching(tmp_path: Path, fake_model: FakeModel) -> None:
    for index, side in enumerate((24, 48, 40)):
        write_image(tmp_path / "parts" / "good" / f"{index}.png", 50, side=side)
        write_image(tmp_path / "parts" / "bad" / f"{index}.png", 50, 200, side=side)
    shrink = torch.nn.Upsample(size=(16, 16), mode="nearest")
    subject = Subject(fake_model, lambda image: shrink(image[None])[0], "BayesPFL")
    result = run(subject, path_target(tmp_path / "parts"), tmp_path / "out", batch_size=6)[0]
    assert result.images == 6
    assert result.metrics["image_AUROC"] == 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_pictures_that_were_turned_are_told_in_a_note(subject: Subject, tmp_path: Path, num_workers: int) -> None:
    tree = write_tree(tmp_path / "parts", ["bolt"])
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in sorted((tree / "bolt" / "test").glob("*/000.png")):
        with Image.open(path) as picture:
            picture.load()
        picture.save(path, exif=exif)
    results = run(
        subject, path_target(tree), tmp_path / "out", num_workers=num_workers, protocols=("deployable", "paper")
    )
    for result in results:
        assert "turned upright, as their EXIF orientation says: 2 of 6 images" in result.notes


@pytest.mark.parametrize("style", ["empty", "directory", "absent file"])
def test_sets_without_masks_get_image_metrics_only(style: str, subject: Subject, tmp_path: Path) -> None:
    result = run(subject, path_target(write_meta(tmp_path / "brain", ["brain"], style)), tmp_path / "out")[0]
    assert result.metrics["image_AUROC"] == 1
    assert [result.metrics[name] for name in PIXEL_METRICS] == [None] * 4
    assert "pixel metrics not defined: no masks" in result.notes


def test_sets_with_abnormal_images_only_get_pixel_metrics_only(subject: Subject, tmp_path: Path) -> None:
    target = path_target(write_tree(tmp_path / "colon", ["colon"], normal=0))
    result = run(subject, target, tmp_path / "out")[0]
    assert [result.metrics[name] for name in IMAGE_METRICS] == [None] * 3
    assert result.metrics["pixel_AUROC"] == 1
    assert "image metrics not defined: only abnormal images" in result.notes


def test_sets_with_normal_images_only_get_nothing(subject: Subject, tmp_path: Path) -> None:
    target = path_target(write_tree(tmp_path / "clean", ["clean"], abnormal=0))
    result = run(subject, target, tmp_path / "out")[0]
    assert set(result.metrics.values()) == {None}
    assert "image metrics not defined: only normal images" in result.notes


def test_interrupted_run_goes_on_where_it_stopped(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = path_target(write_tree(tmp_path / "parts", ["bolt", "nut", "screw"]))
    whole = run(subject, target, tmp_path / "whole")
    original, calls = runner.evaluate_category, []

    def stop_at_the_second(*args: object, **kwargs: object) -> CategoryResult:
        calls.append(kwargs["category"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr("anomalib_zsad.evaluation.evaluate.evaluate_category", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(subject, target, tmp_path / "broken")
    resumed = run(subject, target, tmp_path / "broken")
    assert calls == ["bolt", "nut", "nut", "screw"]
    assert [one.metrics for one in resumed] == [one.metrics for one in whole]
    assert not list((tmp_path / "broken").rglob("*.part"))


def test_results_of_another_model_are_refused_unless_overwritten(subject: Subject, tmp_path: Path) -> None:
    target = path_target(write_tree(tmp_path / "parts", ["bolt"]))
    run(subject, target, tmp_path / "out")
    subject.model.weight.data.neg_()
    with pytest.raises(ForeignResultsError, match="was made by another model, of other images or with other settings"):
        run(subject, target, tmp_path / "out")
    assert run(subject, target, tmp_path / "out", overwrite=True)[0].metrics["pixel_AUROC"] == 0


def test_results_of_other_images_are_refused(subject: Subject, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "parts", ["bolt"])
    run(subject, path_target(root), tmp_path / "out")
    write_image(root / "bolt" / "test" / "good" / "009.png", 10)
    with pytest.raises(ForeignResultsError):
        run(subject, path_target(root), tmp_path / "out")


def test_target_that_was_trained_on_is_refused_unless_allowed(subject: Subject, tmp_path: Path) -> None:
    target = path_target(write_tree(tmp_path / "visa", ["candle"]))
    with pytest.raises(OverlapError, match=r"trained on 1 of the categories asked for \(VisA / candle\)"):
        run(subject, target, tmp_path / "out")
    for _ in ("computed", "found done"):
        result = run(subject, target, tmp_path / "out", allow_overlap=True)[0]
        assert result.notes == ("the model was trained on this category: not a zero-shot result",)


def test_seeds_change_the_noise_and_leave_the_model_as_it_was(subject: Subject, tmp_path: Path) -> None:
    target = path_target(write_tree(tmp_path / "parts", ["bolt"]))
    before = model_fingerprint(subject.model)
    results = run(subject, target, tmp_path / "out", seeds=(0, 1, 2))
    assert [result.run.seed for result in results] == [0, 1, 2]
    assert model_fingerprint(subject.model) == before


def test_seeds_of_a_model_without_noise_are_refused(subject: Subject, tmp_path: Path) -> None:
    del subject.model.noise
    target = path_target(write_tree(tmp_path / "parts", ["bolt"]))
    with pytest.raises(ValueError, match="draws no noise: seed 1 would change nothing"):
        run(subject, target, tmp_path / "out", seeds=(1,))


def test_model_is_evaluated_in_evaluation_mode_and_given_back_as_it_was(subject: Subject, tmp_path: Path) -> None:
    subject.model.train()
    run(subject, path_target(write_tree(tmp_path / "parts", ["bolt"])), tmp_path / "out")
    assert subject.model.training


def result_of(category: str, seed: int, protocol: str = "deployable", **metrics: float | None) -> CategoryResult:
    return CategoryResult("MVTecAD", category, Run(protocol, "a.ckpt", seed), metrics, 10, 5, 5, 1.0)


def test_mean_is_over_categories_and_deviation_over_runs() -> None:
    """Means of the runs: (.8 + .6) / 2 = .7 and (.9 + .7) / 2 = .8; mean .75, sample deviation .0707."""
    results = [
        result_of("bottle", 0, image_AUROC=0.8),
        result_of("cable", 0, image_AUROC=0.6),
        result_of("bottle", 1, image_AUROC=0.9),
        result_of("cable", 1, image_AUROC=0.7),
    ]
    rows = make_rows(results, "BayesPFL", None)
    assert [row.category for row in rows] == ["bottle", "cable", "mean"]
    mean = rows[-1].cells["image_AUROC"]
    assert (mean.mean, mean.deviation) == pytest.approx((0.75, math.sqrt(0.005)))
    assert mean.percent() == "75.0 ± 7.1"
    assert rows[-1].cells["pixel_AUROC"].percent() == "-"
    assert rows[-1].images == 20


def test_mean_over_some_categories_says_so() -> None:
    rows = make_rows([result_of("a", 0, pixel_AUROC=0.5), result_of("b", 0, pixel_AUROC=None)], "CoPS", None)
    assert rows[-1].cells["pixel_AUROC"].mean == 0.5
    assert "pixel AUROC over 1 of 2 categories" in rows[-1].notes


def test_published_figures_stand_beside_ours_where_both_sets_match() -> None:
    results = [result_of("bottle", 0, image_AUROC=0.9)]
    rows = make_rows(results, "CoPS", "visa")
    assert [table.row_count for table in rich_tables(rows)] == [3]
    row = rows[-1]
    assert row.category == "published (CoPS)"
    assert row.cells["image_AUROC"].percent() == "95.0"
    assert row.cells["pixel_AUPRO"].percent() == "-"
    assert make_rows(results, "CoPS", "MVTecAD")[-1].category == "mean"
    assert make_rows(results, "CoPS", None)[-1].category == "mean"


def test_published_figures_of_visa_are_those_trained_on_mvtec() -> None:
    assert published_figures("BayesPFL", "visa", "mvtec")["pixel_AUPRO"] == 0.889
    assert published_figures("BayesPFL", "visa", "visa") == {}
    assert published_figures("BayesPFL", "DTD", "VisA").get("pixel_AUPRO") is None
    assert published_figures("BayesPFL", "our_set", "VisA") == {}


def test_reports_say_the_same_in_every_format(subject: Subject, tmp_path: Path) -> None:
    target = path_target(write_tree(tmp_path / "a|b", ["bolt", "nut"]))
    results = run(subject, target, tmp_path / "out", protocols=("deployable", "paper"))
    rows = make_rows(results, "BayesPFL", "VisA")
    files = write_reports(tmp_path / "out", results, rows, "Title", {"model": "BayesPFL"})
    assert [file.name for file in files] == ["results.json", "results.csv", "results.md"]
    content = json.loads(files[0].read_text())
    assert len(content["results"]) == 4
    table = list(csv.DictReader(files[1].read_text().splitlines()))
    assert [line["category"] for line in table] == ["bolt", "bolt", "nut", "nut", "mean", "mean"]
    assert float(table[0]["pixel_AUROC"]) == pytest.approx(content["results"][0]["metrics"]["pixel_AUROC"], abs=1e-6)
    text = files[2].read_text()
    assert text == markdown(rows, "Title", ["model: BayesPFL  "])
    assert "| a\\|b | bolt | deployable | 6 |" in text
    assert sum(table.row_count for table in rich_tables(rows)) == len(rows)


def test_names_of_categories_cannot_leave_the_output_folder(subject: Subject, tmp_path: Path) -> None:
    file = write_meta(tmp_path / "set", ["bolt"])
    content = json.loads(file.read_text())
    content["test"] = {"../../escaped": content["test"]["bolt"]}
    file.write_text(json.dumps(content))
    run(subject, path_target(file), tmp_path / "out" / "deep")
    written = [path for path in tmp_path.rglob("*.json") if path not in (file, tmp_path / "out" / "deep" / "run.json")]
    assert all((tmp_path / "out" / "deep" / "categories") in path.parents for path in written)
    assert len(written) == 1

"""The streaming metrics against scikit-learn and a brute-force per-region overlap."""

import math

import numpy as np
import pytest
import torch
from anomalib.data import ImageBatch
from scipy import integrate, ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torch import Tensor

from anomalib_zsad.metrics import (
    ImageMetrics,
    PixelMetrics,
    StreamingAUPRO,
    StreamingAUROC,
    streaming_evaluator,
    streaming_metrics,
)
from anomalib_zsad.metrics import score_summary as summary_module
from anomalib_zsad.metrics.region_weights import region_weights

TOLERANCE = 1e-3


def sample_masks(count: int, side: int) -> Tensor:
    """Masks with regions of very different size; every third image is normal."""
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    for index in range(count):
        if index % 3:
            masks[index, 2 : 6 + index % 7, 3:20] = True
            masks[index, -8:-6, -9 : -6 + index % 3] = True
    return masks


def sample_maps(distribution: str, masks: Tensor) -> Tensor:
    """Scores in [0, 1] whose order carries some information, crowded in different places."""
    generator = torch.Generator().manual_seed(3)
    latent = torch.randn(masks.shape, generator=generator) + 1.3 * masks
    drift = torch.arange(len(masks)).view(-1, 1, 1)
    return {
        "spread": torch.sigmoid(latent),
        "narrow": 0.5 + 1e-4 * torch.tanh(latent),
        "narrow and drifting": 0.3 + 2e-4 * drift + 1e-5 * torch.tanh(latent),
        "near zero": torch.exp(4 * latent - 20).clamp(max=1),
        "near one": 1 - torch.exp(-2 * latent - 9).clamp(max=1),
        "eight bits": (torch.sigmoid(latent) * 255).round() / 255,
        "mostly zero": (torch.sigmoid(latent) - 0.8).clamp(min=0),
    }[distribution]


def exact_aupro(maps: Tensor, masks: Tensor, limit: float = 0.3) -> float:
    """By definition: for every threshold, the mean overlap over regions and the false positive rate."""
    regions = []
    for index, mask in enumerate(masks.numpy()):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [maps[index].numpy()[labels == region] for region in range(1, count + 1)]
    normal = np.sort(maps[~masks].numpy())
    regions = [np.sort(region) for region in regions]
    thresholds = np.unique(maps.numpy())[::-1]
    rate = np.concatenate([[0], 1 - np.searchsorted(normal, thresholds) / len(normal)])
    overlap = np.mean([1 - np.searchsorted(region, thresholds) / len(region) for region in regions], axis=0)
    overlap = np.concatenate([[0], overlap])
    at_limit = np.interp(limit, rate, overlap)
    inside = rate <= limit
    return float(integrate.trapezoid(np.append(overlap[inside], at_limit), np.append(rate[inside], limit)) / limit)


def exact_ranking(scores: Tensor, labels: Tensor) -> list[float]:
    scores, labels = scores.flatten().numpy(), labels.flatten().numpy()
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-30)
    return [roc_auc_score(labels, scores), average_precision_score(labels, scores), f1.max()]


@pytest.mark.parametrize(
    "distribution",
    ["spread", "narrow", "narrow and drifting", "near zero", "near one", "eight bits", "mostly zero"],
)
@pytest.mark.parametrize("cells", [1 << 16, 1 << 12])
def test_pixel_metrics_agree_with_exact_values(distribution: str, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with sixteen times fewer cells than used, so that merging happens at every level."""
    monkeypatch.setattr(summary_module, "CELLS", cells)
    masks = sample_masks(40, 64)
    maps = sample_maps(distribution, masks)
    metrics = PixelMetrics()
    for batch_maps, batch_masks in zip(maps.split(2), masks.split(2), strict=True):
        metrics.update(batch_maps, batch_masks)
    values = list(metrics.compute().values())
    assert values == pytest.approx([*exact_ranking(maps, masks), exact_aupro(maps, masks)], abs=TOLERANCE)


def test_memory_does_not_grow_with_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_module, "CELLS", 256)
    metric = StreamingAUROC(fields=["anomaly_map", "gt_mask"])
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[0, :4] = True
    for seed in range(300):
        maps = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(seed))
        metric.update(ImageBatch(image=torch.zeros(1, 3, 32, 32), anomaly_map=maps, gt_mask=mask))
    assert len(metric.summaries) <= 3 * math.log(300, 4) + 3
    assert sum(len(summary) for summary in metric.summaries) < 16 * 2 * 256


def test_small_numbers_of_scores_are_exact() -> None:
    scores = torch.tensor([0.1, 0.4, 0.35, 0.8, 0.8, 0.2])
    labels = torch.tensor([0, 0, 1, 1, 0, 1])
    metrics = ImageMetrics()
    metrics.update(scores[:4], labels[:4])
    metrics.update(scores[4:], labels[4:])
    assert list(metrics.compute().values()) == pytest.approx(exact_ranking(scores, labels), abs=1e-12)


def test_scores_outside_the_unit_interval_get_no_sigmoid() -> None:
    """A sigmoid in single precision makes 40 and 60 equal, and would be applied batch by batch."""
    metrics = ImageMetrics()
    metrics.update(torch.tensor([40.0, 60.0]), torch.tensor([0, 1]))
    metrics.update(torch.tensor([0.2, 0.7]), torch.tensor([0, 0]))
    assert metrics.compute() == {"image_AUROC": 1.0, "image_AP": 1.0, "image_F1Max": 1.0}


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_defines_no_image_metric(label: int) -> None:
    metrics = ImageMetrics()
    metrics.update(torch.rand(5), torch.full((5,), label))
    assert all(math.isnan(value) for value in metrics.compute().values())


@pytest.mark.parametrize("mask", [torch.zeros(2, 8, 8), torch.ones(2, 8, 8)])
def test_masks_of_one_class_define_no_pixel_metric(mask: Tensor) -> None:
    metrics = PixelMetrics()
    metrics.update(torch.rand(2, 8, 8), mask)
    assert all(math.isnan(value) for value in metrics.compute().values())


def test_no_masks_at_all_define_no_pixel_metric() -> None:
    assert all(math.isnan(value) for value in PixelMetrics().compute().values())


def test_constant_scores_are_chance() -> None:
    metrics = ImageMetrics()
    metrics.update(torch.full((4,), 0.5), torch.tensor([0, 0, 0, 1]))
    assert metrics.compute()["image_AUROC"] == 0.5
    assert metrics.compute()["image_AP"] == 0.25


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are not a number"):
        ImageMetrics().update(torch.tensor([0.1, float("nan")]), torch.tensor([0, 1]))


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\) do not fit a ground truth of shape \(1, 9, 9\)"):
        PixelMetrics().update(torch.rand(1, 1, 8, 8), torch.zeros(1, 9, 9))


def test_fpr_limit_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fpr_limit must lie in \(0, 1\], got 0"):
        StreamingAUPRO(fpr_limit=0)


def test_aupro_over_the_whole_range_of_equal_regions_is_the_auroc() -> None:
    masks = torch.zeros(3, 16, 16, dtype=torch.bool)
    masks[:, 4:8, 4:8] = True
    maps = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    metrics = PixelMetrics(fpr_limit=1.0)
    metrics.update(maps, masks)
    values = metrics.compute()
    assert values["pixel_AUPRO"] == pytest.approx(values["pixel_AUROC"], abs=1e-9)


def test_each_region_counts_the_same() -> None:
    """Corners touch: one region. Neighbouring images never do."""
    masks = torch.zeros(2, 5, 5, dtype=torch.bool)
    masks[0, 0, 0] = masks[0, 1, 1] = True
    masks[0, 4, 3:] = True
    masks[1, 0, 0] = True
    weights = region_weights(masks)
    assert weights[0, 0, 0] == weights[0, 1, 1] == weights[0, 4, 4] == 0.5
    assert weights[1, 0, 0] == 1
    assert weights.sum() == 3


def test_evaluator_of_anomalib_takes_the_metrics() -> None:
    evaluator = streaming_evaluator()
    masks = sample_masks(6, 32)
    maps = sample_maps("spread", masks)
    labels = masks.flatten(1).any(1)
    for index in range(6):
        batch = ImageBatch(
            image=torch.zeros(1, 3, 32, 32),
            anomaly_map=maps[index : index + 1],
            gt_mask=masks[index : index + 1],
            pred_score=maps[index].amax().view(1),
            gt_label=labels[index : index + 1],
        )
        evaluator.on_test_batch_end(None, None, None, batch, index)
    values = {metric.name: float(metric.compute()) for metric in evaluator.test_metrics}
    assert values["image_StreamingAUROC"] == pytest.approx(exact_ranking(maps.amax((1, 2)), labels)[0], abs=1e-6)
    assert values["pixel_StreamingAUPRO"] == pytest.approx(exact_aupro(maps, masks), abs=1e-6)
    assert len(values) == 7


@pytest.mark.filterwarnings("ignore:The `compute` method of metric:UserWarning")
def test_batches_without_masks_are_passed_over() -> None:
    metrics = streaming_metrics()
    batch = ImageBatch(image=torch.zeros(2, 3, 8, 8), pred_score=torch.rand(2), gt_label=torch.tensor([0, 1]))
    for metric in metrics:
        metric.update(batch)
    assert [metric.compute() is None for metric in metrics] == [False] * 3 + [True] * 4


def test_reset_and_forward_behave_as_torchmetrics_promises() -> None:
    metric = StreamingAUROC(fields=["pred_score", "gt_label"])
    first = ImageBatch(
        image=torch.zeros(2, 3, 8, 8), pred_score=torch.tensor([0.1, 0.9]), gt_label=torch.tensor([0, 1])
    )
    second = ImageBatch(
        image=torch.zeros(2, 3, 8, 8), pred_score=torch.tensor([0.95, 0.2]), gt_label=torch.tensor([0, 1])
    )
    assert metric(first) == 1
    assert metric(second) == 0  # of that batch alone
    assert metric.compute() == 0.5
    metric.reset()
    assert metric.summaries == []


def test_state_joined_from_two_processes_gives_the_common_value() -> None:
    """torchmetrics joins list states to one tensor when it synchronises."""
    masks = sample_masks(8, 32)
    maps = sample_maps("spread", masks)
    halves = [PixelMetrics(), PixelMetrics()]
    for half, part in zip(halves, (slice(0, 4), slice(4, 8)), strict=True):
        half.update(maps[part], masks[part])
    joined = PixelMetrics()
    joined.update(maps[:1], masks[:1])
    joined._summary.summaries = torch.cat([summary for half in halves for summary in half._summary.summaries])
    assert list(joined.compute().values())[:3] == pytest.approx(exact_ranking(maps, masks), abs=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_metrics_on_a_cuda_device_keep_their_state_where_asked() -> None:
    metric = StreamingAUROC(fields=["anomaly_map", "gt_mask"], compute_on_cpu=True).to("cuda")
    masks = sample_masks(4, 32)
    maps = sample_maps("spread", masks)
    for index in range(4):
        part = slice(index, index + 1)
        batch = ImageBatch(
            image=torch.zeros(1, 3, 32, 32).cuda(), anomaly_map=maps[part].cuda(), gt_mask=masks[part].cuda()
        )
        metric.update(batch)
    assert metric.compute().item() == pytest.approx(exact_ranking(maps, masks)[0], abs=1e-6)

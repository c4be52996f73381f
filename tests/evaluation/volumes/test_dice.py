"""Dice against MONAI, at thresholds and over all of them."""

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric

from anomalib_zsad.evaluation.volumes.dice import POINTS, dice, dice_curve, mean_dice
from anomalib_zsad.evaluation.volumes.figures import oracle_dice
from tests.evaluation.volumes.volume_samples import simulated_set


def exact(heat: np.ndarray, mask: np.ndarray, threshold: float) -> float:
    """MONAI's Dice of a map at a threshold."""
    metric = DiceMetric(include_background=True)
    metric(torch.from_numpy(heat >= threshold)[None, None].float(), torch.from_numpy(mask)[None, None].float())
    return float(metric.aggregate())


def maps(seed: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = np.zeros((40, 40, 30), bool, order="F")
    mask[5:15, 8:20, 4:16] = True
    heat = np.asfortranarray(0.5 + scale * (random.random(mask.shape) + 0.4 * mask), np.float32)
    return heat, mask


@pytest.mark.parametrize("scale", [0.3, 1e-4])
def test_curve_is_monais_dice_at_every_threshold(scale: float) -> None:
    """Also where all values lie in a sliver, and though 48,000 voxels are summed up in some 2,000 numbers."""
    heat, mask = maps(0, scale)
    curve = dice_curve(heat, mask)
    assert curve is not None
    assert len(curve.thresholds) <= 2 * POINTS
    for threshold in 0.5 + scale * np.array([0.0, 0.2, 0.55, 0.8, 0.95, 1.1, 1.3]):
        assert float(curve.at(np.array(threshold))) == pytest.approx(exact(heat, mask, threshold), abs=2e-3)


def test_dice_of_counts_is_monais() -> None:
    heat, mask = maps(1, 0.3)
    shown = heat >= 0.7
    value = dice(int((shown & mask).sum()), int(shown.sum()), int(mask.sum()))
    assert value == pytest.approx(exact(heat, mask, 0.7), abs=1e-6)
    assert dice(0, 5, 0) is None


def test_best_dice_takes_one_threshold_for_all_volumes() -> None:
    """Each map is perfect at a threshold of its own; no threshold is perfect for both."""
    mask = np.zeros((10, 10, 10), bool, order="F")
    mask[:5] = True
    first = np.where(mask, 0.4, 0.2).astype(np.float32)
    second = np.where(mask, 0.8, 0.6).astype(np.float32)
    curves = [dice_curve(heat, mask) for heat in (first, second)]
    thresholds, means = mean_dice([curve for curve in curves if curve is not None])
    # At 0.4 the second map marks everything: Dice 2/3; above 0.4 the first marks nothing.
    assert means.max() == pytest.approx((1 + 2 / 3) / 2)
    assert thresholds[means.argmax()] == pytest.approx(0.4)
    assert all(curve.at(thresholds).max() == 1.0 for curve in curves if curve is not None)


def test_volumes_without_lesions_have_no_dice() -> None:
    assert dice_curve(np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 4), bool)) is None
    only_normal = simulated_set(1, 0)
    assert oracle_dice(only_normal).value is None
    assert oracle_dice(only_normal).note == "there is no lesion"
    assert "mean over 5 volumes with lesions" in oracle_dice(simulated_set(10, 0)).note


def test_figure_is_the_highest_mean_over_all_thresholds() -> None:
    volumes = simulated_set(10, 0)
    curves = [record.dice for record in volumes.records if record.dice is not None]
    best = oracle_dice(volumes)
    everywhere = np.mean([curve.at(np.linspace(0, 1, 2001)) for curve in curves], axis=0)
    assert best.value == pytest.approx(everywhere.max(), abs=2e-3)
    assert best.value >= everywhere.max() - 1e-3
    assert np.mean([curve.at(np.array(best.threshold)) for curve in curves]) == pytest.approx(best.value)

"""Counting errors among uncertain decisions on drawn pieces."""

from types import SimpleNamespace

import torch

from anomalib_zsad.demo.measure_phantom_rates import rates_of, score_phantom
from anomalib_zsad.demo.measure_uncertainty import judge_category
from tests.screening.bright_spot import BrightSpotScorer


class _Darkness:
    """Scores a picture by its darkest pixel, with a deviation of its own."""

    def __call__(self, images: torch.Tensor, names: list[str]) -> SimpleNamespace:
        assert set(names) == {"leather"}
        score = 1 - images.flatten(1).amin(1)
        return SimpleNamespace(pred_score=score, score_std=torch.full_like(score, 0.02))


def test_every_piece_is_judged_once_and_false_alarms_are_few() -> None:
    module = SimpleNamespace(model=_Darkness(), pre_processor=SimpleNamespace(transform=lambda images: images))
    judged = judge_category(module, "leather", pieces=12, rate=0.1)
    found = judged.certainty
    assert found.certain + found.uncertain == 36
    assert judged.false_alarms <= 0.4
    assert 0 <= judged.found <= 1
    wrong = round(24 * judged.false_alarms + 12 * (1 - judged.found))
    assert found.certain_errors + found.uncertain_errors == wrong
    assert found.nearest_errors <= found.uncertain


def test_rates_are_measured_on_phantoms_as_screening_scores_them() -> None:
    scorer = BrightSpotScorer()
    known, normal, abnormal = (
        [score_phantom(scorer, "head_ct", seed, lesion=lesion) for seed in range(first, first + number)]
        for first, number, lesion in ((0, 9, False), (20, 4, False), (30, 4, True))
    )
    assert all(one.lesion.any() for one in abnormal)
    assert not any(one.lesion.any() for one in normal)
    found = rates_of(known, normal, abnormal, 0.1)
    assert found.certainty.certain + found.certainty.uncertain == sum(len(one.scores) for one in [*normal, *abnormal])
    for share in (found.volumes, found.volumes_with_marked_pixel, found.slices, found.volumes_with_flagged_slice):
        assert 0 <= share <= 1
    assert rates_of(known, known, abnormal, 0.1).volumes == 0

"""What the stage rule goes by is the published validation, written out plainly with scikit-learn."""

from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from sklearn.metrics import average_precision_score

from anomalib_zsad import BayesPFL
from anomalib_zsad.models.bayes_pfl.validation import IMAGE_FIGURE, PIXEL_FIGURE, StageFigures, validation_noise
from anomalib_zsad.models.components.prediction import Evidence
from tests.models.tester import SIDE, engine, squares


class Validations(Callback):
    """Keeps what each validation logged, and the weights it looked at."""

    def __init__(self) -> None:
        self.values: list[dict[str, float]] = []
        self.states: list[dict[str, Any]] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.values.append({name: float(trainer.callback_metrics[name]) for name in (PIXEL_FIGURE, IMAGE_FIGURE)})
        state = pl_module.state_dict().items()
        self.states.append({name: value.clone() for name, value in state if "extra" not in name})


@torch.no_grad()
def plain_validation(model: BayesPFL, seed: int, epoch: int) -> dict[str, float]:
    """Image by image: five draws, the map before smoothing, the image probability alone, category by category."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for place, batch in enumerate(squares(1)):
        model.pre_processor.on_validation_batch_start(None, None, batch, 0)
        context, normal, abnormal = validation_noise(seed, epoch, [place], 192, torch.device("cpu"))
        assert context.shape[1] == len(normal) == len(abnormal) == 5
        evidence = model.eval().model.evidence(batch.image, batch.class_name, (context[0], normal, abnormal))
        row = (evidence.unsmoothed_map[0, 0].numpy(), evidence.image_probability.item(), batch.gt_mask[0].numpy())
        found.setdefault(batch.class_name[0], []).append((*row, bool(batch.gt_label[0])))
    precisions = []
    for rows in found.values():
        maps, scores, masks, labels = (np.array(column) for column in zip(*rows, strict=True))
        pixels = average_precision_score(masks.ravel() > 0, maps.ravel())
        precisions.append((pixels, average_precision_score(labels, scores)))
    return dict(zip((PIXEL_FIGURE, IMAGE_FIGURE), np.mean(precisions, axis=0), strict=True))


@pytest.mark.parametrize("stage", [1, 2])
def test_figures_of_a_run_are_those_of_the_published_validation(small_backbone, tmp_path, stage) -> None:
    def build() -> BayesPFL:
        torch.manual_seed(0)
        model = BayesPFL(**small_backbone, image_size=SIDE, visualizer=False, map_weight=1.0, num_samples=3)
        model.model.stage = stage  # which decides the image feature
        return model

    model, seen = build(), Validations()
    run = engine(tmp_path, epochs=2, callbacks=[seen], num_sanity_val_steps=0, limit_train_batches=1)
    run.fit(model, squares(), squares(3))
    assert len(seen.values) == 2
    for epoch, (values, state) in enumerate(zip(seen.values, seen.states, strict=True)):
        again = build()
        again.load_state_dict(state, strict=False)
        assert values == pytest.approx(plain_validation(again, model.run_seed, epoch), abs=1e-5)


def test_draws_for_the_states_are_made_once_a_validation_and_those_for_the_context_an_image() -> None:
    place = torch.device("cpu")
    together, alone = validation_noise(7, 3, [0, 1, 2], 8, place), validation_noise(7, 3, [2], 8, place)
    assert torch.equal(together[0][2], alone[0][0])
    assert torch.equal(together[1], alone[1])
    assert torch.equal(together[2], alone[2])
    assert len({float(row.sum()) for row in together[0]}) == 3
    other = validation_noise(7, 4, [2], 8, place)
    assert not any(torch.equal(first, second) for first, second in zip(alone, other, strict=True))


def test_a_category_where_a_figure_is_not_defined_does_not_count() -> None:
    figures = StageFigures()
    maps = torch.tensor([0.9, 0.1, 0.2, 0.8]).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    evidence = Evidence(torch.tensor([0.9, 0.1, 0.2, 0.8]), maps, torch.zeros(4, 1), maps)
    labels = torch.tensor([1, 0, 0, 0])
    masks = labels[:, None, None].expand(4, 2, 2)
    figures.update(evidence, ["bolt", "bolt", "gear", "gear"], labels, masks)
    assert figures.compute() == {PIXEL_FIGURE: 1.0, IMAGE_FIGURE: 1.0}
    without_masks = StageFigures()
    without_masks.update(evidence, ["bolt"] * 4, labels, None)
    found = without_masks.compute()
    assert np.isnan(found[PIXEL_FIGURE])
    assert found[IMAGE_FIGURE] == 1.0
    assert np.isnan(StageFigures().compute()[IMAGE_FIGURE])

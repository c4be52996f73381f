"""When a training stage ends and which weights come back: the published cases, through a real Trainer."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from anomalib_zsad.models.bayes_pfl.stages import NoValidationFigureError, TwoStageTraining
from anomalib_zsad.models.bayes_pfl.validation import IMAGE_FIGURE, PIXEL_FIGURE

CASES = json.loads((Path(__file__).parents[2] / "golden" / "stages.json").read_text())["cases"]


class Weights(nn.Module):
    """One weight, which holds the number of the epoch that wrote it, and the stage."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))
        self.stage = 1


class StandIn(LightningModule):
    """Validates with scripted figures; an epoch writes its number into the weight."""

    def __init__(self, case: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.case = Weights(), case
        self.automatic_optimization = False
        self.stage_of_epoch: list[int] = []
        self.at_begin: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        self.stage_of_epoch.append(self.model.stage)
        self.at_begin.append(float(self.model.value))
        with torch.no_grad():
            self.model.value.fill_(self.current_epoch + 1)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        for name, key in ((PIXEL_FIGURE, "pixel_ap"), (IMAGE_FIGURE, "image_ap")):
            self.log(name, float(self.case[key][self.current_epoch]))

    def start_stage_2(self) -> None:
        self.model.stage = 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def trainer(epochs: int, callback: Callback, folder: Path, **options: Any) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )


def batches() -> DataLoader:
    return DataLoader(torch.zeros(1, 1))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_published_cases(case: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module, callback = StandIn(case), TwoStageTraining()
    run = trainer(case["epochs_at_most"], callback, tmp_path)
    if case["error"]:  # the published run dies of an assertion; this one says why
        with pytest.raises(NoValidationFigureError, match="validation gave no pixel AP in 4 epochs"):
            run.fit(module, batches(), batches())
        assert module.stage_of_epoch == case["stage_of_epoch"]
        return
    run.fit(module, batches(), batches())
    assert module.stage_of_epoch == case["stage_of_epoch"]
    assert len(module.stage_of_epoch) == case["last_epoch"]
    assert float(module.model.value) == case["in_memory_at_end"]
    if case["stage_2_first_epoch"] is not None:
        assert module.at_begin[case["stage_2_first_epoch"] - 1] == case["restored_epoch"]
    else:
        assert "Training ended in stage 1 after" in caplog.text


def test_a_run_that_is_resumed_in_either_stage_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    case = next(case for case in CASES if case["name"] == "zigzag")
    for stop in range(1, case["last_epoch"]):
        first, callback = StandIn(case), TwoStageTraining()
        run = trainer(stop, callback, tmp_path)
        run.fit(first, batches(), batches())
        if stop >= case["stage_2_first_epoch"] - 1 and first.model.stage == 1:
            continue  # the last epoch of stage 1 brought its best weights back, as a run's last epoch does
        run.save_checkpoint(tmp_path / "half.ckpt")
        second, again = StandIn(case), TwoStageTraining()
        second.model.stage = first.model.stage  # the models keep it in their extra state
        trainer(case["epochs_at_most"], again, tmp_path).fit(
            second, batches(), batches(), ckpt_path=tmp_path / "half.ckpt", weights_only=False
        )
        assert first.stage_of_epoch + second.stage_of_epoch == case["stage_of_epoch"], stop
        assert float(second.model.value) == case["in_memory_at_end"]


def test_stage_1_can_be_limited(tmp_path: Path) -> None:
    rising = {"pixel_ap": [0.1, 0.2, 0.3, 0.4, 0.5], "image_ap": [0.5] * 5}
    module = StandIn(rising)
    trainer(5, TwoStageTraining(stage_1_epochs=3), tmp_path).fit(module, batches(), batches())
    assert module.stage_of_epoch == [1, 1, 1, 2, 2]
    assert module.at_begin[3] == 3


def test_without_validation_stage_2_never_begins_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = StandIn({})
    trainer(2, TwoStageTraining(patience=0), tmp_path).fit(module, batches())
    assert module.stage_of_epoch == [1, 1]
    assert "the image head was never trained" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"), [({"patience": -1}, "patience is -1"), ({"stage_1_epochs": 0}, "stage_1_epochs is 0")]
)
def test_numbers_that_make_no_sense(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TwoStageTraining(**arguments)

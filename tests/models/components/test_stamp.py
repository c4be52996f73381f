"""What a checkpoint says of the data it was trained on."""

import pytest
import torch

from anomalib_zsad import BayesPFL
from anomalib_zsad.data import AuxiliaryDataModule
from tests.data.conftest import write_mvtec_category
from tests.models.tester import SIDE, engine


@pytest.mark.parametrize(("dataset", "name"), [("MVTecAD", "MVTecAD"), ("FolderTree", None)])
def test_a_checkpoint_names_the_auxiliary_set_and_its_categories(small_backbone, tmp_path, dataset, name) -> None:
    for category in ("bottle", "cable", "tile"):
        write_mvtec_category(tmp_path / "set" / category)
    data = AuxiliaryDataModule(dataset, tmp_path / "set", categories=["bottle", "cable", "tile"])
    model = BayesPFL(**small_backbone, image_size=SIDE, visualizer=False)
    run = engine(tmp_path / "run")
    run.fit(model, datamodule=data)
    stamp = torch.load(run.trainer.checkpoint_callback.best_model_path, weights_only=True)["anomalib_zsad"]
    assert stamp["auxiliary_set"] == name
    assert stamp["auxiliary"] == ["bottle", "cable"]

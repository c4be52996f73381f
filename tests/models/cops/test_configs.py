"""The configs of the published settings say what the published implementation does."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from anomalib_zsad.models.cops.constants import Constants

CONFIGS = Path(__file__).parents[3] / "configs"
# Neighbourhood, alpha and beta at test time, those of training, epochs.
PUBLISHED = {
    "cops_visa": (Constants(5, 0.26, 0.9, training_neighbourhood=5, reconstruction=False), 10),
    "cops_mvtec": (Constants(3, 0.35, 1.0, training_neighbourhood=3, reconstruction=True), 5),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_config_is_the_published_setting(name) -> None:
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    for part in ("model", "data"):
        module, _, class_name = config[part]["class_path"].rpartition(".")
        signature = inspect.signature(getattr(importlib.import_module(module), class_name))
        signature.bind(**config[part]["init_args"])
    constants, epochs = PUBLISHED[name]
    arguments = config["model"]["init_args"]
    assert {field: arguments[field] for field in vars(constants)} == vars(constants)
    assert arguments["learning_rate"] == 1e-3
    assert config["trainer"]["max_epochs"] == epochs
    assert config["data"]["init_args"]["train_batch_size"] == 8

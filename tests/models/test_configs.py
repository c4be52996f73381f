"""Every config is one that `anomalib train --config` takes, and those of Bayes-PFL are the published setting."""

import re
from pathlib import Path
from typing import Any

import pytest
from anomalib.cli import AnomalibCLI

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def parse(monkeypatch):
    """Parses a command line as anomalib's entry point does, and builds nothing."""
    monkeypatch.setattr(AnomalibCLI, "before_instantiate_classes", lambda _self: None)
    monkeypatch.setattr(AnomalibCLI, "instantiate_classes", lambda _self: None)

    def parse(*arguments: Any) -> Any:
        return AnomalibCLI([*map(str, arguments)], run=False).config["train"]

    return parse


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_command_line_takes_a_config(parse, path) -> None:
    parsed = parse("train", "--config", path)
    assert parsed.model.class_path.startswith("anomalib_zsad.")
    assert parsed.data.class_path.startswith("anomalib_zsad.data.")
    assert parsed.trainer.max_epochs >= 1


@pytest.mark.parametrize(("name", "auxiliary", "mosaic"), [("visa", "Visa", 0.0), ("mvtec", "MVTecAD", 0.4)])
def test_bayes_pfl_trains_as_published(parse, name, auxiliary, mosaic) -> None:
    parsed = parse("train", "--config", CONFIGS / f"bayes_pfl_{name}.yaml")
    model, data = parsed.model.init_args, parsed.data.init_args
    assert (model.backbone, model.num_samples, model.num_prompts) == ("ViT-L-14-336", 10, 3)
    assert (model.context_length, model.state_length, model.num_flows) == (5, 5, 10)
    assert (model.learning_rate, model.schedule_epochs, model.patience) == (1e-3, 30, 3)
    assert (data.dataset, data.mosaic_probability, data.train_batch_size) == (auxiliary, mosaic, 32)
    assert data.train_augmentations.class_path == "anomalib_zsad.data.augmentation.BayesPFLAugmentation"
    assert parsed.trainer.max_epochs == 30
    # Held-out categories validate unless the published, leaky choice is uncommented.
    assert data.published_validation is None


@pytest.mark.parametrize(("name", "benchmark"), [("visa", "MVTecAD"), ("mvtec", "Visa")])
def test_the_published_validation_can_be_uncommented(parse, tmp_path, name, benchmark) -> None:
    text = (CONFIGS / f"bayes_pfl_{name}.yaml").read_text()
    text, lines = re.subn(r"(?m)^    # (published_validation:|  dataset: \w+$|  root: \S+$)", r"    \1", text)
    assert lines == 3
    (tmp_path / "leaky.yaml").write_text(text)
    parsed = parse("train", "--config", tmp_path / "leaky.yaml")
    assert parsed.data.init_args.published_validation.dataset == benchmark

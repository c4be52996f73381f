"""Every config is one that `anomalib train --config` takes, those without held-out categories the published setting."""

import pytest
import torch

import anomalib_zsad
from tests.models.configs import CONFIGS, parse

# All but the rules of a DICOM node, which its own tests read.
TRAINING = sorted(path for path in CONFIGS.glob("*.yaml") if path.name != "node.yaml")


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_the_command_line_takes_a_config(path) -> None:
    parsed = parse("train", "--config", path)
    assert parsed.model.class_path.startswith("anomalib_zsad.")
    assert parsed.data.class_path.startswith("anomalib_zsad.data.")
    assert parsed.trainer.max_epochs >= 1


@pytest.mark.parametrize(("name", "auxiliary", "mosaic"), [("visa", "Visa", 0.0), ("mvtec", "MVTecAD", 0.4)])
def test_bayes_pfl_trains_as_published(name, auxiliary, mosaic) -> None:
    parsed = parse("train", "--config", CONFIGS / f"bayes_pfl_{name}.yaml")
    model, data = parsed.model.init_args, parsed.data.init_args
    assert (model.backbone, model.num_samples, model.num_prompts) == ("ViT-L-14-336", 10, 3)
    assert (model.context_length, model.state_length, model.num_flows) == (5, 5, 10)
    assert (model.learning_rate, model.schedule_epochs, model.patience) == (1e-3, 30, 3)
    assert model.stage_1_epochs is None
    assert (data.dataset, data.mosaic_probability, data.train_batch_size) == (auxiliary, mosaic, 32)
    assert data.train_augmentations.class_path == "anomalib_zsad.data.augmentation.BayesPFLAugmentation"
    assert (parsed.trainer.max_epochs, model.seed, data.seed) == (30, 333, 333)
    assert data.validation == "published"
    assert (data.categories, data.validation_categories) == (None, None)
    assert data.validation_set.dataset == {"Visa": "MVTecAD", "MVTecAD": "Visa"}[auxiliary]


@pytest.mark.parametrize(
    ("name", "auxiliary", "epochs", "constants"),
    [("visa", "Visa", 10, (5, 0.26, 0.9, 5, False)), ("mvtec", "MVTecAD", 5, (3, 0.35, 1.0, 3, True))],
)
def test_cops_trains_as_published(name, auxiliary, epochs, constants) -> None:
    parsed = parse("train", "--config", CONFIGS / f"cops_{name}.yaml")
    model, data = parsed.model.init_args, parsed.data.init_args
    assert (model.backbone, model.learning_rate) == ("ViT-L-14-336", 1e-3)
    chosen = (model.neighbourhood, model.alpha, model.beta, model.training_neighbourhood, model.reconstruction)
    assert chosen == constants
    assert (data.dataset, data.train_batch_size, data.train_augmentations) == (auxiliary, 8, None)
    assert (parsed.trainer.max_epochs, model.seed, data.seed) == (epochs, 0, 0)
    assert (data.validation, data.categories, data.validation_categories) == ("held_out", None, [])


@pytest.mark.parametrize("name", ["bayes_pfl_visa", "bayes_pfl_mvtec", "cops_visa", "cops_mvtec"])
def test_a_held_out_config_differs_in_validation_alone(name) -> None:
    published, held_out = (
        parse("train", "--config", CONFIGS / f"{name}{kind}.yaml").as_dict() for kind in ("", "_held_out")
    )
    data = held_out["data"]["init_args"]
    assert (data["validation"], data["validation_categories"], data["validation_set"]) == ("held_out", None, None)
    for parsed in (published, held_out):
        del parsed["config"]
        for key in ("validation", "validation_categories", "validation_set"):
            del parsed["data"]["init_args"][key]
    assert published == held_out


SMALLER = [(method, backbone) for method in ("bayes_pfl", "cops") for backbone in ("vit_b_16", "vit_b_16_plus_240")]


@pytest.mark.parametrize(("method", "backbone"), SMALLER)
def test_a_smaller_backbone_is_all_that_differs(method, backbone) -> None:
    small, large = (
        parse("train", "--config", CONFIGS / f"{method}_{kind}.yaml").as_dict() for kind in (backbone, "visa_held_out")
    )
    arguments = small["model"]["init_args"]
    assert arguments["backbone"].lower().replace("-", "_") == backbone
    assert "no figures to expect" in (CONFIGS / f"{method}_{backbone}.yaml").read_text()
    for parsed in (small, large):
        del parsed["config"]
        for key in ("backbone", "pretrained", "extractor_heads"):
            parsed["model"]["init_args"].pop(key, None)
    assert small == large


@pytest.mark.slow
@pytest.mark.parametrize(("method", "backbone"), SMALLER)
def test_a_smaller_backbone_answers(method, backbone) -> None:
    """Over random weights: every part fits the backbone's widths."""
    parsed = parse("train", "--config", CONFIGS / f"{method}_{backbone}.yaml").model
    arguments = {**parsed.init_args.as_dict(), "pretrained": None, "visualizer": False}
    arguments = {name: value for name, value in arguments.items() if value is not None or name == "pretrained"}
    model = getattr(anomalib_zsad, parsed.class_path.rpartition(".")[2])(**arguments).eval()
    with torch.inference_mode():
        answer = model.model(torch.randn(1, 3, 512, 512), "object")
    assert answer.anomaly_map.shape[-2:] == (512, 512)
    assert 0 <= float(answer.pred_score) <= 1

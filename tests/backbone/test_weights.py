"""Configurations and weights: from files of every kind, from a folder, and errors that say what to do."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from anomalib_zsad.backbone import (
    WEIGHTS_VARIABLE,
    FrozenCLIP,
    WeightsMismatchError,
    WeightsUnavailableError,
    load_config,
)
from anomalib_zsad.backbone.config import DEMO_FOLDER
from anomalib_zsad.backbone.transformer import QUICK_GELU_SCALE
from anomalib_zsad.backbone.weights import find_weights, load_weights, weights_version
from anomalib_zsad.outputs.file_hash import file_sha256


class Archive(torch.nn.Module):
    """Weights under OpenAI's names, to be saved as TorchScript the way OpenAI published them."""

    def __init__(self, weights) -> None:
        super().__init__()
        for name, value in weights.items():
            *path, leaf = name.split(".")
            module = self
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, torch.nn.Module())
                module = getattr(module, part)
            module.register_buffer(leaf, value.half() if value.is_floating_point() else value)
        self.register_buffer("input_resolution", torch.tensor(56))

    def forward(self, x):
        return x


def equal(loaded, weights) -> None:
    assert set(loaded) == set(weights) - {"logit_scale"}
    for name, value in loaded.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, weights[name])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_every_kind_of_file_is_read(config, weights, tmp_path) -> None:
    save_file(weights, tmp_path / "weights.safetensors")
    torch.save(weights, tmp_path / "plain.pt")
    wrapped = {"state_dict": {f"module.{name}": value for name, value in weights.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "wrapped.pth")
    torch.jit.trace(Archive(weights), torch.zeros(1), check_trace=False).save(str(tmp_path / "archive.pt"))
    for path in sorted(tmp_path.iterdir()):
        equal(load_weights(config, str(path)), weights)


def test_a_tag_is_found_in_the_folder_that_the_variable_names(tmp_path, monkeypatch) -> None:
    config = load_config("ViT-B-32")
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    (tmp_path / "ViT-B-32-laion2b_e16.safetensors").write_bytes(b"x")
    assert find_weights(config, "laion2b_e16") == tmp_path / "ViT-B-32-laion2b_e16.safetensors"
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(NotADirectoryError, match=r"ANOMALIB_ZSAD_WEIGHTS names .*absent', which is not a folder"):
        find_weights(config, "openai")


def test_a_published_file_is_checked(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    (tmp_path / "ViT-L-14-336px.pt").write_bytes(b"half a download")
    with pytest.raises(WeightsMismatchError, match=r"SHA-256 .* and the published file .* damaged or incomplete"):
        find_weights(load_config("ViT-L-14-336"), "openai")
    assert len(file_sha256(tmp_path / "ViT-L-14-336px.pt")) == 64


def test_an_unknown_tag_says_which_there_are() -> None:
    with pytest.raises(WeightsUnavailableError, match=r"weights 'nonsense'.*it knows: .*openai.*Three remedies"):
        find_weights(load_config("ViT-B-32"), "nonsense")


def test_an_absent_file_is_not_taken_for_a_tag(config) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights file at 'some/where.pt'"):
        load_weights(config, "some/where.pt")


def test_weights_of_something_else_are_refused(config, weights, tmp_path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsMismatchError, match=r"lacks \d+ of the \d+ tensors"):
        load_weights(config, str(tmp_path / "other.safetensors"))
    save_file({**weights, "visual.proj": torch.zeros(128, 32)}, tmp_path / "wide.safetensors")
    with pytest.raises(WeightsMismatchError, match=r"'visual.proj' of shape \(128, 32\), and .* needs \(128, 64\)"):
        load_weights(config, str(tmp_path / "wide.safetensors"))


def test_code_in_a_file_is_not_run(config, tmp_path) -> None:
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsMismatchError, match="cannot be read as weights"):
        load_weights(config, str(tmp_path / "evil.pt"))


def test_random_weights_are_the_same_every_time(config, caplog) -> None:
    first, second = load_weights(config, None), load_weights(config, None)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert "its answers mean nothing" in caplog.text


def test_the_published_backbone_has_the_published_shape() -> None:
    config = load_config("ViT-L-14-336")
    assert (config.default_image_size, config.default_layers) == (518, (6, 12, 18, 24))
    assert (config.vision.heads, config.text.heads, config.embed_dim) == (16, 12, 768)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is not a JSON file"),
        (json.dumps({"embed_dim": 8}), "lacks vision_cfg, text_cfg"),
        (
            json.dumps({"embed_dim": 8, "vision_cfg": {"timm_model_name": "vit"}, "text_cfg": {}}),
            "sets vision_cfg.timm_model_name = 'vit'; the methods need a plain CLIP ViT",
        ),
        (json.dumps({"embed_dim": 8, "vision_cfg": {"layers": [3, 4]}, "text_cfg": {}}), "is a ResNet"),
    ],
)
def test_configurations_that_do_not_fit_are_errors(tmp_path, content, message) -> None:
    (tmp_path / "clip.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_config(str(tmp_path / "clip.json"))


def test_unknown_names_are_errors(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"unknown backbone 'ViT-Z'.*'demo'.*ViT-L-14"):
        load_config("ViT-Z")
    with pytest.raises(FileNotFoundError, match="no backbone configuration at"):
        load_config(str(tmp_path / "absent.json"))


def test_the_version_is_that_of_the_weights_in_use(tmp_path) -> None:
    package = DEMO_FOLDER / "weights.safetensors"
    own = tmp_path / "own.safetensors"
    save_file(load_file(package), own, metadata={"version": "7"})
    assert FrozenCLIP("demo").version == weights_version(package)
    assert FrozenCLIP("demo", pretrained=str(own)).version == "7"
    assert FrozenCLIP("demo", pretrained=None).version is None


def test_what_is_done_to_weights_of_a_file_stays_in_memory(files, weights, tmp_path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(weights, path)
    before = file_sha256(path)
    first, second = (FrozenCLIP(files["backbone"], str(path), activation="quick_gelu") for _ in range(2))
    assert file_sha256(path) == before
    name = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    for backbone in (first, second):
        weight = backbone.vision.blocks[0].mlp_in.weight
        torch.testing.assert_close(weight, weights[name] * QUICK_GELU_SCALE, atol=0, rtol=0)
    torch.testing.assert_close(load_file(path)[name], weights[name], atol=0, rtol=0)

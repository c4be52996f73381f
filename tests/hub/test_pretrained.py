"""Models as folders: what is saved answers as what it came from, bit for bit, and says what it is."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.fingerprint import CalibrationMismatchError, image_fingerprint
from anomalib_zsad.cli import main
from anomalib_zsad.data.sample_set import sample_data_folder
from anomalib_zsad.models.components.checkpoint import STAMP, CheckpointError
from anomalib_zsad.models.components.safe_checkpoint import write_safe_checkpoint
from tests.models.small import write_backbone
from tests.models.tester import CLIP

FILES = {"model.safetensors", "config.json", "README.md"}


def checkpoint(folder: Path, cls: Any, **arguments: Any) -> Path:
    """A checkpoint of a model with random prompts."""
    torch.manual_seed(1)
    module = cls(**{"backbone": "demo", **arguments})
    stamp = module.stamp() | {"auxiliary": ["fabric", "tile"], "auxiliary_set": "drawings"}
    state = {f"model.{name}": value for name, value in module.model.state_dict().items()}
    state["post_processor._image_threshold"] = torch.tensor(0.37)
    write_safe_checkpoint(folder / f"{cls.__name__}.safetensors", {"state_dict": state, STAMP: stamp})
    return folder / f"{cls.__name__}.safetensors"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[type, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {cls: checkpoint(folder, cls) for cls in (BayesPFL, CoPS)}


def an_image() -> Path:
    return next((sample_data_folder() / "industrial" / "leather" / "test" / "good").iterdir())


def calibration_of(module: Any, path: Path) -> Path:
    units = tuple((0.01 * number,) for number in range(1, 41))
    Calibration("images", {"image": units, "mask": units}, image_fingerprint(module, "leather")).save(path)
    return path


@pytest.mark.parametrize("cls", [BayesPFL, CoPS])
def test_a_folder_answers_as_the_model_that_was_saved(checkpoints: Any, cls: Any, tmp_path: Path) -> None:
    arguments = {"num_samples": 3, "blur_sigma": 1.5, "class_name": "leather"}
    bare = cls(checkpoint=str(checkpoints[cls]), **arguments)
    file = calibration_of(bare, tmp_path / "calibration.json")
    model = cls(checkpoint=str(checkpoints[cls]), **arguments, calibration=str(file), false_alarm_rate=0.1).eval()
    model.load_thresholds()
    model.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == FILES | {"calibration.json"}
    (tmp_path / "saved").rename(tmp_path / "elsewhere")
    loaded = cls.from_pretrained(tmp_path / "elsewhere")
    images = torch.rand(2, 3, 192, 192, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        before, after = model.model(images), loaded.model(images)
        for name in ("pred_score", "anomaly_map", "score_std", "map_std"):
            assert torch.equal(getattr(before, name), getattr(after, name)), name
        assert torch.equal(model(images).pred_label, loaded(images).pred_label)
    ours, theirs = model.examine(an_image()), loaded.examine(an_image())
    assert (ours.score, ours.p_value, ours.flagged) == (theirs.score, theirs.p_value, theirs.flagged)
    assert theirs.p_value is not None
    assert loaded.calibration.rule.false_alarm_rate == 0.1
    assert float(loaded.post_processor.image_threshold) == pytest.approx(0.37)
    assert loaded.stamp()["auxiliary"] == ["fabric", "tile"]
    assert cls.from_pretrained(tmp_path / "elsewhere", calibration=None).calibration is None
    assert cls.from_pretrained(tmp_path / "elsewhere", num_samples=2, calibration=None).model.num_samples == 2
    with pytest.raises(CalibrationMismatchError, match="num_samples was 3 and is 2 now"):
        cls.from_pretrained(tmp_path / "elsewhere", num_samples=2)
    # Once more saved it says the same.
    loaded.save_pretrained(tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "elsewhere" / name).read_bytes()


def test_the_weights_file_is_a_checkpoint_for_every_command(checkpoints: Any, tmp_path: Path) -> None:
    CoPS(checkpoint=str(checkpoints[CoPS])).save_pretrained(tmp_path / "saved")
    weights = tmp_path / "saved" / "model.safetensors"
    command = ["inspect", "-i", str(an_image()), "-o", str(tmp_path / "out"), "--checkpoint", str(weights)]
    assert main([*command, "--class-name", "leather", "--no-progress"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"]["model"] == "CoPS"


def test_a_backbone_of_files_is_found_again_and_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "of alice").mkdir()
    files = write_backbone(tmp_path / "of alice", 20, CLIP)
    path = checkpoint(tmp_path, BayesPFL, **files, image_size=56)
    BayesPFL(checkpoint=str(path)).save_pretrained(tmp_path / "saved")
    for file in (tmp_path / "saved").rglob("*"):
        assert file.is_dir() or b"of alice" not in file.read_bytes(), file
    model = BayesPFL.from_pretrained(tmp_path / "saved", pretrained=files["pretrained"])
    assert model.model.backbone.fingerprint == BayesPFL(checkpoint=str(path)).model.backbone.fingerprint
    with pytest.raises(
        CheckpointError, match=r"'clip.safetensors', and there is no such file here; give its new place"
    ):
        BayesPFL.from_pretrained(tmp_path / "saved")


def test_the_card_says_what_the_checkpoint_knows(checkpoints: Any, tmp_path: Path) -> None:
    model = BayesPFL(checkpoint=str(checkpoints[BayesPFL]))
    kwargs = {"figures": {"image_AUROC": 0.921}, "figures_of": "the sample set", "protocol": "deployable"}
    model.save_pretrained(tmp_path / "saved", model_card_kwargs={**kwargs, "license": "cc0-1.0"})
    card = ModelCard.load(tmp_path / "saved" / "README.md")
    assert (card.data.library_name, card.data.license) == ("anomalib_zsad", "cc0-1.0")
    for text in (
        *("drawings: fabric, tile", "| image_AUROC | 92.1 |", "protocol `deployable`, on the sample set"),
        *(
            "arXiv:2503.10080",
            "Of these weights: cc0-1.0",
            "not a medical device",
            "drawings and pictures of materials",
        ),
        "There is no calibration in it",
    ):
        assert text in card.text, text
    plain = str(model.generate_model_card())
    assert "None are known for these weights" in plain
    assert "not stated by who saved them" in plain


def test_a_trained_model_saves_what_training_left(tmp_path: Path) -> None:
    from anomalib.engine import Engine

    model = CoPS(backbone="demo", seed=1)
    limits = {f"limit_{kind}_batches": 1 for kind in ("train", "val", "test")}
    engine = Engine(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, logger=False, **limits)
    engine.fit(model)
    engine.test(model)
    model.save_pretrained(tmp_path / "saved")
    loaded = CoPS.from_pretrained(tmp_path / "saved")
    assert loaded.stamp()["auxiliary"] == model.stamp()["auxiliary"] != []
    images = torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.equal(model.eval().model(images).anomaly_map, loaded.model(images).anomaly_map)
    assert "image_AUROC" in (tmp_path / "saved" / "README.md").read_text()


def test_what_cannot_be_saved_or_loaded_says_why(checkpoints: Any, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(ValueError, match="this CoPS was not trained, so there is nothing to save"):
        CoPS(backbone="demo").save_pretrained(tmp_path / "never")
    assert not (tmp_path / "never").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    model = CoPS(checkpoint=str(checkpoints[CoPS]))
    with pytest.raises(FileExistsError, match="mine exists already and is not overwritten"):
        model.save_pretrained(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(FileNotFoundError, match=r"holds no model\.safetensors; give a folder that save_pretrained"):
        CoPS.from_pretrained(tmp_path / "mine")
    model.save_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match="is a checkpoint of CoPS; BayesPFL cannot use it"):
        BayesPFL.from_pretrained(tmp_path / "saved")
    weights = tmp_path / "saved" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint: it is damaged"):
        CoPS.from_pretrained(tmp_path / "saved")

    def unreachable(*_args: Any, **_kwargs: Any) -> str:
        raise ConnectionError

    monkeypatch.setattr("anomalib_zsad.models.components.hub.snapshot_download", unreachable)
    with pytest.raises(FileNotFoundError, match="'me/model' is no folder here, and it could not be fetched"):
        CoPS.from_pretrained("me/model")


def test_push_sends_the_whole_folder(checkpoints: Any, monkeypatch: Any) -> None:
    sent: dict[str, Any] = {}

    class Api:
        def __init__(self, **_options: Any) -> None: ...

        def create_repo(self, repo_id: str, **_options: Any) -> Any:
            return type("Repository", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id: str, folder_path: Path, **_options: Any) -> str:
            sent[repo_id] = {path.name for path in Path(folder_path).iterdir()}
            return f"https://hub/{repo_id}"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    model = CoPS(checkpoint=str(checkpoints[CoPS]))
    assert model.push_to_hub("me/cops") == "https://hub/me/cops"
    assert sent == {"me/cops": FILES}

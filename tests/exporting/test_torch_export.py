"""The export to torch: a pickle that tells nothing of the machine, and no weights twice."""

import pickletools
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.models.components.export_metadata import KEY
from anomalib_zsad.outputs.file_hash import file_sha256
from tests.exporting.test_exported_model import build
from tests.models.tester import photographs


@pytest.fixture(params=[BayesPFL, CoPS])
def trained(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A model that was built from a checkpoint; both lie in a folder with a name that would tell."""
    folder = tmp_path / "of-a-person"
    folder.mkdir()
    more = {"extractor_heads": 4} if request.param is CoPS else {}
    first = build(request.param, folder, **more)
    first.trained = True
    first.save_pretrained(folder / "saved")
    return build(request.param, folder, checkpoint=str(folder / "saved" / "model.safetensors"))


def test_it_tells_no_folder_and_holds_weights_once(trained: Any, tmp_path: Path) -> None:
    path = trained.to_torch(tmp_path / "exported", class_name="bolt")
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        words = [str(argument) for _, argument, _ in pickletools.genops(archive.read(name)) if argument is not None]
    assert [word for word in words if "of-a-person" in word or "Posix" in word or "pathlib" in word] == []
    tensors = [*trained.model.parameters(), *trained.model.buffers()]
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    learned = sum(tensor.numel() * tensor.element_size() for tensor in trained.model.parameters())
    assert path.stat().st_size < held + learned / 2
    # The model itself is as it was.
    assert trained.checkpoint_path.is_file()
    assert trained.built_from is not None
    assert Path(trained.pretrained).is_file()
    assert Path(trained.hparams["checkpoint"]).is_file()
    assert Path(trained.model.backbone.config.name).is_file()


def test_it_answers_as_the_model_and_knows_its_checkpoint(trained: Any, tmp_path: Path) -> None:
    content = torch.load(trained.to_torch(tmp_path, class_name="bolt"), weights_only=False)
    assert content[KEY]["checkpoint_sha256"] == file_sha256(trained.checkpoint_path)
    pictures = photographs()[0]
    with torch.no_grad():
        prepared = trained.pre_processor.transform(pictures)
        found, expected = content["model"].model(prepared, "bolt"), trained.model(prepared, "bolt")
    torch.testing.assert_close(found.pred_score, expected.pred_score)
    torch.testing.assert_close(found.anomaly_map, expected.anomaly_map)

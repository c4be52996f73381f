"""Exports run in Python: several class names in one, and tiles by a loop around it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.callbacks import TilerConfigurationCallback

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.models.components.tiled_model import TiledModel
from anomalib_zsad.scoring.exported_model import ExportedModel
from tests.models.small import write_backbone
from tests.models.tester import CLIP, SIDE, engine, photographs, squares

NAMES = ["bolt", "a rather long name of some part"]


def build(cls: type, folder: Path, **more: Any) -> Any:
    torch.manual_seed(0)
    model = cls(**write_backbone(folder, 20, CLIP), image_size=SIDE, visualizer=False, **more).eval()
    for parameter in model.model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build(BayesPFL, tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def several(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.to_onnx(tmp_path_factory.mktemp("several"), class_names=NAMES)


def expected_of(model: Any, picture: torch.Tensor, name: str) -> Any:
    with torch.no_grad():
        return model.model(model.pre_processor.transform(picture[None]), name)


def test_one_export_answers_for_each_of_its_names(model: Any, several: Path) -> None:
    export, (picture, *_) = ExportedModel(several), photographs()[0]
    scores = []
    for name in NAMES:
        answer, expected = export(picture, name), expected_of(model, picture, name)
        assert answer.score == pytest.approx(float(expected.pred_score), abs=1e-4)
        torch.testing.assert_close(answer.anomaly_map, expected.anomaly_map[0, 0], atol=1e-3, rtol=0)
        assert answer.abnormal is (float(expected.pred_score) > 0.5)
        scores.append(answer.score)
    assert scores[0] != pytest.approx(scores[1], abs=1e-5)  # the name matters


def test_a_batch_of_several_classes_takes_an_index_for_each_image(model: Any, several: Path) -> None:
    import onnxruntime

    pictures = photographs()[0]
    session = onnxruntime.InferenceSession(several, providers=["CPUExecutionProvider"])
    index = torch.tensor([1, 0], dtype=torch.int64).numpy()
    (scores,) = session.run(["pred_score"], {"input": pictures.numpy(), "class_index": index})
    for score, picture, place in zip(scores, pictures, index, strict=True):
        assert score == pytest.approx(float(expected_of(model, picture, NAMES[place]).pred_score), abs=1e-4)


def test_a_list_of_one_name_is_an_export_of_one_class(model: Any, tmp_path: Path) -> None:
    export, (picture, *_) = ExportedModel(model.to_onnx(tmp_path, class_names=["bolt"])), photographs()[0]
    expected = float(expected_of(model, picture, "bolt").pred_score)
    assert export(picture).score == pytest.approx(expected, abs=1e-4)
    assert export(picture, "bolt").score == pytest.approx(expected, abs=1e-4)


def test_names_that_an_export_does_not_know(several: Path) -> None:
    export, picture = ExportedModel(several), torch.rand(3, 60, 60)
    with pytest.raises(ValueError, match="the export knows no class 'nut'; it knows bolt, a rather long"):
        export(picture, "nut")
    with pytest.raises(ValueError, match="the export knows several classes; say which: bolt"):
        export(picture)


def test_tiles_by_a_loop_around_the_export(model: Any, tmp_path: Path) -> None:
    path = model.to_onnx(tmp_path, class_name="bolt")
    export, picture = ExportedModel(path, tile_size=40, tile_batch=3), torch.rand(3, 90, 110)
    answer = export(picture)
    tiled = TiledModel(model.model, model.pre_processor.transform, 40)
    expected = tiled(picture[None], "bolt")
    assert answer.score == pytest.approx(float(expected.pred_score), abs=1e-4)
    assert answer.anomaly_map.shape == (90, 110)
    torch.testing.assert_close(answer.anomaly_map, expected.anomaly_map[0, 0], atol=1e-3, rtol=0)
    assert answer.abnormal is None  # the threshold is of whole pictures


def test_a_model_examines_a_large_picture_by_tiles(model: Any, tmp_path: Path) -> None:
    from torchvision.utils import save_image

    save_image(torch.rand(3, 90, 110), tmp_path / "sheet.png")
    found = model.examine(tmp_path / "sheet.png", "bolt", tile_size=40)
    whole = model.examine(tmp_path / "sheet.png", "bolt")
    assert found.anomaly_map.shape == found.map_std.shape == whole.anomaly_map.shape == (90, 110)
    assert 0 <= found.score <= 1
    assert found.score != whole.score
    with pytest.raises(ValueError, match="tiles have a side of at least 16 pixels, not 8"):
        model.examine(tmp_path / "sheet.png", tile_size=8)


@pytest.mark.parametrize("cls", [BayesPFL, CoPS])
def test_anomalibs_tiling_says_what_to_use_instead(cls: type, tmp_path: Path) -> None:
    made = build(cls, tmp_path, **({"extractor_heads": 4} if cls is CoPS else {}))
    tiling = TilerConfigurationCallback(enable=True, tile_size=28, stride=28)
    with pytest.raises(ValueError, match=r"already squeezed .* Use tiles of the picture itself: .*--tiles 518"):
        engine(tmp_path, callbacks=[tiling]).test(made, squares())
    engine(tmp_path, callbacks=[TilerConfigurationCallback(enable=False)]).test(made, squares())

"""Large pictures in tiles: where windows lie, that no seam shows, what a score is, and what a calibration knows."""

import csv
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from anomalib_zsad.cli import main
from anomalib_zsad.models.components.prediction import ZeroShotPrediction
from anomalib_zsad.models.components.tiled_model import TiledModel, WorkingSize, tile_places
from anomalib_zsad.models.components.windows import window_starts
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.scoring.build import build_model, build_scorer
from anomalib_zsad.scoring.engine_options import EngineOptions
from anomalib_zsad.scoring.image_scorer import ModelImageScorer
from anomalib_zsad.scoring.tile_options import TileOptions
from tests.models.small import write_backbone
from tests.models.tester import CLIP, SIDE


class Bright(nn.Module):
    """The map is the mean of the colours, the score its maximum; notes how many tiles it saw at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, images: Tensor, class_names: list[str] | None = None) -> ZeroShotPrediction:
        assert class_names == ["part"] * len(images)
        self.seen.append(len(images))
        maps = images.mean(1, keepdim=True)
        score = maps.flatten(1).amax(1)
        return ZeroShotPrediction(score, None, maps, None, score / 10, maps / 10)


def bright(window: int, overlap: float = 0.25, batch: int = 3) -> TiledModel:
    return TiledModel(Bright(), lambda tiles: tiles, window, overlap, batch)


@pytest.mark.parametrize(
    ("length", "window", "overlap", "expected"),
    [
        (64, 64, 0.25, [0]),
        (40, 64, 0.25, [0]),
        (65, 64, 0.25, [0, 1]),
        (128, 64, 0, [0, 64]),
        (160, 64, 0.25, [0, 48, 96]),
        (161, 64, 0.25, [0, 32, 65, 97]),
    ],
)
def test_windows_cover_an_axis(length: int, window: int, overlap: float, expected: list[int]) -> None:
    starts = window_starts(length, window, overlap)
    assert starts == expected
    reach = np.zeros(length, int)
    for start in starts:
        reach[start : start + window] += 1
    assert reach.min() >= 1
    assert all(later - earlier <= max(1, window * (1 - overlap)) for earlier, later in itertools.pairwise(starts))


@pytest.mark.parametrize("shape", [(100, 230), (64, 64), (20, 300), (65, 129)])
@pytest.mark.parametrize("overlap", [0, 0.1, 0.25, 0.5, 0.75])
def test_weights_have_the_sum_one_everywhere(shape: tuple[int, int], overlap: float) -> None:
    total = torch.zeros(shape)
    for place in tile_places(shape, 64, overlap):
        total[place.rows, place.columns] += place.row_weights[:, None] * place.column_weights
    torch.testing.assert_close(total, torch.ones(shape), atol=1e-6, rtol=0)


def test_what_depends_on_pixels_alone_has_no_seams() -> None:
    """Tiles of a model that answers pixel by pixel give back the whole picture's map, with any overlap and batch."""
    picture = torch.rand(1, 3, 150, 211, generator=torch.Generator().manual_seed(0))
    for overlap, batch in ((0, 1), (0.25, 4), (0.6, 100)):
        answer = bright(48, overlap, batch)(picture, ["part"])
        torch.testing.assert_close(answer.anomaly_map, picture.mean(1, keepdim=True), atol=1e-6, rtol=0)
        torch.testing.assert_close(answer.map_std, picture.mean(1, keepdim=True) / 10, atol=1e-6, rtol=0)
        torch.testing.assert_close(answer.pred_score, picture.mean(1).amax().reshape(1))
        torch.testing.assert_close(answer.score_std, answer.pred_score / 10)


def test_levels_of_neighbouring_tiles_go_over_into_each_other() -> None:
    """Where two tiles answer differently, the map has no step larger than the weights' own slope."""

    class Level(Bright):
        def forward(self, images: Tensor, class_names: list[str] | None = None) -> ZeroShotPrediction:
            answer = super().forward(images, class_names)
            level = images.amax((1, 2, 3))[:, None, None, None].expand_as(answer.anomaly_map)
            return answer._replace(anomaly_map=level)

    picture = torch.zeros(1, 3, 64, 112)
    picture[..., 100:] = 1
    model = TiledModel(Level(), lambda tiles: tiles, 64)
    row = model(picture, ["part"]).anomaly_map[0, 0, 30]
    assert row[0] == 0
    assert row[-1] == 1
    assert row.diff().min() >= 0
    assert row.diff().max() < 0.16  # 16 pixels of overlap; without blending it is 1


def test_memory_is_bounded_by_the_batch() -> None:
    model = bright(32, 0, 5)
    model(torch.rand(1, 3, 320, 320), ["part"])
    assert max(model.tile_model.seen) == 5
    assert sum(model.tile_model.seen) == 100


def test_the_score_is_that_of_the_most_abnormal_tile() -> None:
    picture = torch.full((1, 3, 200, 200), 0.2)
    picture[:, :, 150:160, 150:160] = 0.9
    answer = bright(50, 0)(picture, ["part"])
    assert float(answer.pred_score) == pytest.approx(0.9)
    row, column = divmod(int(answer.anomaly_map.argmax()), 200)
    assert 150 <= row < 160
    assert 150 <= column < 160


def test_pictures_are_brought_to_the_models_resolution() -> None:
    picture = torch.rand(3, 400, 600)
    assert WorkingSize(50, 100)(picture) is picture  # tiles smaller than the model's side are native
    assert WorkingSize(50, 100).window == 50
    reduced = WorkingSize(200, 100)
    assert reduced(picture).shape == (3, 200, 300)
    assert reduced.window == 100
    assert 0 <= float(reduced(picture).min()) <= float(reduced(picture).max()) <= 1


def test_models_without_maps_or_deviations() -> None:
    class Mapless(nn.Module):
        def forward(self, images: Tensor, class_names: Any = None) -> Any:
            return SimpleNamespace(pred_score=images.mean((1, 2, 3)), anomaly_map=None, score_std=None, map_std=None)

    answer = TiledModel(Mapless(), lambda tiles: tiles, 32)(torch.rand(2, 3, 64, 64), "part")
    assert answer.pred_score.shape == (2,)
    assert (answer.anomaly_map, answer.score_std, answer.map_std) == (None, None, None)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="tiles have a side of at least 16 pixels, not 4"):
        TileOptions(4)
    with pytest.raises(ValueError, match=r"tiles overlap by a share from 0 to 0\.75, not 1"):
        TileOptions(64, 1)
    with pytest.raises(ValueError, match="at least one tile is scored at a time"):
        TileOptions(64, 0.25, 0)
    with pytest.raises(ValueError, match="scores of tiles have no parts"):
        bright(32).evidence()


# Real models, small, with random weights


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = write_backbone(tmp_path_factory.mktemp("clip"), 20, CLIP)
    return {**found, "image_size": SIDE, "extractor_heads": 4}


@pytest.fixture(scope="module")
def words(arguments: dict[str, Any]) -> list[str]:
    given = [word for key, value in arguments.items() for word in (f"--model.{key}", str(value))]
    return ["--model", "CoPS", "--allow-untrained", *given]


def pictures(folder: Path, seeds: range) -> Path:
    """Pictures of sizes of their own."""
    folder.mkdir()
    for seed in seeds:
        random = np.random.default_rng(seed)
        pixels = random.integers(60, 255, (90 + seed, 140 - seed, 3)) * random.uniform(0.4, 1)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{seed:03}.png")
    return folder


def test_a_tile_is_scored_as_an_image_of_its_own(arguments: dict[str, Any]) -> None:
    whole = build_model(None, "CoPS", arguments, "cpu").module
    scorer = ModelImageScorer(build_scorer(None, "CoPS", arguments, "cpu", tiles=TileOptions(56, 0)))
    assert scorer.one_by_one
    picture = torch.rand(3, 112, 168, generator=torch.Generator().manual_seed(1))
    answer = scorer(scorer.prepare(picture)[None])
    assert answer.anomaly_map.shape == (1, 112, 168)
    with torch.no_grad():
        tiles = [picture[:, row : row + 56, column : column + 56] for row in (0, 56) for column in (0, 56, 112)]
        expected = whole.model(whole.pre_processor.transform(torch.stack(tiles)), "object")
    torch.testing.assert_close(answer.score, expected.pred_score.max().reshape(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(answer.anomaly_map[0, 56:, 112:], expected.anomaly_map[5, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(answer.map_std[0, :56, :56], expected.map_std[0, 0], atol=1e-5, rtol=0)


def test_tiles_work_with_every_engine(arguments: dict[str, Any], tmp_path: Path) -> None:
    picture, tiles = torch.rand(3, 120, 150), TileOptions(56)
    plain = ModelImageScorer(build_scorer(None, "CoPS", arguments, "cpu", tiles=tiles))
    options = EngineOptions("onnxruntime", engine_cache=tmp_path)
    other = ModelImageScorer(build_scorer(None, "CoPS", arguments, "cpu", engine=options, tiles=tiles))
    expected, answer = (scorer(scorer.prepare(picture)[None]) for scorer in (plain, other))
    torch.testing.assert_close(answer.score, expected.score, atol=1e-4, rtol=0)
    torch.testing.assert_close(answer.anomaly_map, expected.anomaly_map, atol=1e-3, rtol=0)


def test_calibrations_know_tiles(words: list[str], tmp_path: Path, capsys: Any) -> None:
    normal, seen = pictures(tmp_path / "normal", range(20)), pictures(tmp_path / "seen", range(30, 33))
    tiles, file = ["--tiles", "56", "--tile-overlap", "0.1"], str(tmp_path / "c.json")
    assert main(["calibrate", "-i", str(normal), "-o", file, *words, *tiles]) == ExitCode.DONE
    judged = ["inspect", "-i", str(seen), *words, "--calibration", file]
    assert main([*judged, "-o", str(tmp_path / "out"), *tiles]) == ExitCode.DONE
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"]["tiles"] == "56 px, overlapping by 0.1"
    with (tmp_path / "out" / "images.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["width"] for row in rows} == {"110", "109", "108"}
    assert all(0 <= float(row["peak_x"]) <= float(row["width"]) and row["p_value"] for row in rows)
    capsys.readouterr()
    for other in ([], ["--tiles", "56"], ["--tiles", "28", "--tile-overlap", "0.1"]):
        assert main([*judged, "-o", str(tmp_path / "other"), *other]) == ExitCode.USAGE
        assert "model.tiles was '56 px, overlapping by 0.1' and is" in capsys.readouterr().err


def test_evaluation_takes_tiles(words: list[str], tmp_path: Path, capsys: Any) -> None:
    pictures(tmp_path / "good", range(2))
    pictures(tmp_path / "spot", range(2, 4))
    root = tmp_path / "part" / "test"
    root.mkdir(parents=True)
    for kind in ("good", "spot"):
        (tmp_path / kind).rename(root / kind)
    masks = tmp_path / "part" / "ground_truth" / "spot"
    masks.mkdir(parents=True)
    for path in (root / "spot").iterdir():
        mask = np.zeros(np.asarray(Image.open(path)).shape[:2], np.uint8)
        mask[10:30, 10:40] = 255
        Image.fromarray(mask).save(masks / f"{path.stem}_mask.png")
    given = ["evaluate", "-i", str(tmp_path / "part"), "-o", str(tmp_path / "out"), *words, "--tiles", "56"]
    assert main([*given, "--protocol", "paper"]) == ExitCode.USAGE
    assert "--tiles goes with --protocol deployable" in capsys.readouterr().err
    assert main(given) == ExitCode.DONE
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["provenance"]["tiles"] == 56
    assert content["results"][0]["masked"] == 2
    assert content["results"][0]["metrics"]["pixel_AUROC"] is not None


def test_options_that_do_nothing_are_refused(words: list[str], tmp_path: Path, capsys: Any) -> None:
    normal = pictures(tmp_path / "normal", range(2))
    assert main(["inspect", "-i", str(normal), "-o", str(tmp_path / "o"), *words, "--tile-overlap", "0.5"]) == 2
    assert "--tile-overlap needs --tiles" in capsys.readouterr().err
    given = ["calibrate", "-i", str(normal), "-o", str(tmp_path / "c.json"), *words, "--tiles", "64"]
    assert main([*given, "--kind", "volumes"]) == ExitCode.USAGE
    assert "--tiles is for images" in capsys.readouterr().err

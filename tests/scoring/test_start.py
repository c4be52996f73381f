"""A command that scores with a trained model imports what it needs for that, and answers as the whole module does."""

import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.calibration import image_fingerprint
from anomalib_zsad.models.components.checkpoint import STAMP, CheckpointError
from anomalib_zsad.scoring import build
from anomalib_zsad.scoring.build import build_scorer
from anomalib_zsad.scoring.engine_options import EngineOptions
from anomalib_zsad.scoring.engines import build_engine, runtimes
from anomalib_zsad.scoring.image_scorer import ModelImageScorer
from anomalib_zsad.scoring.tile_options import WHOLE, TileOptions
from anomalib_zsad.scoring.trained_model import TrainedModel, trained_model

METHODS = {"BayesPFL": BayesPFL, "CoPS": CoPS}
# What takes long to import, and what an answer needs none of.
HEAVY = (
    *("anomalib.models", "anomalib.data", "lightning", "torchmetrics", "torchvision", "open_clip", "timm", "kornia"),
    *("sklearn", "pandas", "monai", "skimage", "transformers", "torch._dynamo", "sympy", "huggingface_hub"),
    *("scipy", "matplotlib", "ftfy"),
)
_RUN = """
import json, sys
from anomalib_zsad.cli import main
code = main(sys.argv[2:])
print(json.dumps([code, [name for name in json.loads(sys.argv[1]) if name in sys.modules]]))
"""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: save(folder / f"{name}.ckpt", cls) for name, cls in METHODS.items()}


def save(path: Path, cls: Any) -> Path:
    module = cls(backbone="demo", class_name="washer", seed=5)
    state = {f"model.{name}": value for name, value in module.model.state_dict().items()}
    torch.save({"state_dict": state, STAMP: module.stamp()}, path)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


def answered(checkpoint: Path, folder: Path, *words: object) -> list[Any]:
    """Exit code of `inspect`, and what of the heavy is imported at its end."""
    (folder / "in").mkdir(exist_ok=True)
    picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    Image.fromarray(picture).save(folder / "in" / "part.png")
    command = ["inspect", "-i", folder / "in", "--checkpoint", checkpoint, *words]
    said = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(HEAVY), *map(str, command)], capture_output=True, text=True, check=True
    )
    found: list[Any] = json.loads(said.stdout.splitlines()[-1])
    assert found[0] == 0, said.stderr
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_first_answer_imports_no_model_of_anomalibs(name: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    assert answered(checkpoints[name], tmp_path, "-o", tmp_path / "out") == [0, []]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"]["model"] == name


@pytest.mark.parametrize(("name", "engine"), [("BayesPFL", "onnxruntime"), ("CoPS", "openvino")])
def test_an_engine_whose_model_is_there_imports_no_more(
    name: str, engine: str, checkpoints: dict[str, Path], cache: Path, tmp_path: Path
) -> None:
    words = ("--engine", engine, "--engine-cache", cache)
    answered(checkpoints[name], tmp_path, "-o", tmp_path / "first", *words)
    before = sorted(cache.iterdir())
    assert answered(checkpoints[name], tmp_path, "-o", tmp_path / "second", *words) == [0, []]
    assert sorted(cache.iterdir()) == before
    first, second = ((tmp_path / out / "images.csv").read_bytes() for out in ("first", "second"))
    assert first == second


@pytest.mark.parametrize("name", METHODS)
def test_an_engine_of_a_light_model_is_that_of_the_whole_module(
    name: str, checkpoints: dict[str, Path], cache: Path
) -> None:
    engine = EngineOptions("onnxruntime", engine_cache=cache)
    whole, light = (
        build_scorer(checkpoints[name], device="cpu", engine=engine, only_scores=only_scores)
        for only_scores in (False, True)
    )
    assert whole.describe() == light.describe()
    image = torch.rand(2, 3, 70, 90, generator=torch.Generator().manual_seed(2))
    assert torch.equal(whole.predict(image).anomaly_map, light.predict(image).anomaly_map)


def test_the_torch_model_is_gone_before_an_engines_is_loaded(
    checkpoints: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = EngineOptions("onnxruntime", engine_cache=cache)
    build_scorer(checkpoints["CoPS"], device="cpu", engine=engine, only_scores=True)  # so that the cache has it
    made: list[Any] = []
    loaded: list[Any] = []

    def watched(*args: Any) -> TrainedModel:
        module = trained_model(*args)
        made.append(weakref.ref(module.model))
        return module

    def load(*args: Any) -> Any:
        loaded.extend(model() for model in made)
        return runtimes.load(*args)

    monkeypatch.setattr(build, "trained_model", watched)
    monkeypatch.setattr(build_engine, "load", load)
    scorer = build_scorer(checkpoints["CoPS"], device="cpu", engine=engine, only_scores=True)
    assert loaded == [None]
    assert scorer.predict(torch.zeros(1, 3, 64, 64)).pred_score.shape == (1,)


def test_a_class_name_that_does_not_fit_is_told_before_an_engines_model_is_made(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    engine = EngineOptions("onnxruntime", engine_cache=tmp_path / "engines")
    with pytest.raises(ValueError, match="the model cannot score on cpu: a prompt of 102 tokens"):
        build_scorer(checkpoints["BayesPFL"], class_name="nut " * 90, device="cpu", engine=engine, only_scores=True)
    assert not (tmp_path / "engines").exists()


@pytest.mark.parametrize("tiles", [WHOLE, TileOptions(96)])
@pytest.mark.parametrize("name", METHODS)
def test_answers_and_descriptions_are_those_of_the_whole_module(
    name: str, tiles: TileOptions, checkpoints: dict[str, Path]
) -> None:
    whole, light = (
        build_scorer(checkpoints[name], device="cpu", tiles=tiles, only_scores=only_scores)
        for only_scores in (False, True)
    )
    assert whole.describe() == light.describe()
    assert image_fingerprint(whole.module, "washer") == image_fingerprint(light.module, "washer")
    image = torch.rand(3, 150, 130, generator=torch.Generator().manual_seed(1))
    answers = [scorer(scorer.prepare(image)[None]) for scorer in map(ModelImageScorer, (whole, light))]
    for field in ("score", "anomaly_map", "score_std", "map_std"):
        assert torch.equal(getattr(answers[0], field), getattr(answers[1], field)), field


def test_the_whole_module_is_built_where_more_is_asked_for(checkpoints: dict[str, Path]) -> None:
    path = checkpoints["CoPS"]
    assert isinstance(build_scorer(path, device="cpu").module, CoPS)
    assert isinstance(build_scorer(path, "co_ps", device="cpu", only_scores=True).module, TrainedModel)
    given = build_scorer(path, None, {"num_samples": 2}, device="cpu", only_scores=True).module
    assert isinstance(given, CoPS)
    assert given.model.num_samples == 2
    untrained = build_scorer(None, "CoPS", {"backbone": "demo"}, device="cpu", only_scores=True).module
    assert isinstance(untrained, CoPS)


def test_errors_are_those_of_the_whole_module(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    content = torch.load(checkpoints["BayesPFL"], weights_only=True)
    stamp = content[STAMP]
    foreign = {**content, STAMP: {**stamp, "method": "Other"}}
    other_backbone = {**content, STAMP: {**stamp, "backbone": {**stamp["backbone"], "fingerprint": "0" * 16}}}
    lacking = {**content, "state_dict": {}}
    made = {"foreign": foreign, "backbone": other_backbone, "lacking": lacking, "empty": {}}
    for name, entries in made.items():
        torch.save(entries, tmp_path / f"{name}.ckpt")
    (tmp_path / "damaged.ckpt").write_bytes(b"no checkpoint")
    cases = [(tmp_path / f"{name}.ckpt", None) for name in (*made, "damaged")]
    cases += [(checkpoints["CoPS"], "BayesPFL"), (tmp_path / "none.ckpt", None), (checkpoints["CoPS"], "Best")]
    for path, method in cases:
        said = []
        for only_scores in (False, True):
            with pytest.raises((ValueError, FileNotFoundError, KeyError)) as raised:
                build_scorer(path, method, device="cpu", only_scores=only_scores)
            said.append((type(raised.value), str(raised.value)))
        assert said[0] == said[1], (path.name, method)
    with pytest.raises(CheckpointError, match="checkpoint of Other, which is not known here"):
        build_scorer(tmp_path / "foreign.ckpt", device="cpu", only_scores=True)

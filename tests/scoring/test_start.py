"""A command that scores with a trained model imports what it needs for that, and answers as the whole module does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.calibration import image_fingerprint
from anomalib_zsad.models.components.checkpoint import STAMP, CheckpointError
from anomalib_zsad.scoring.build import build_scorer
from anomalib_zsad.scoring.image_scorer import ModelImageScorer
from anomalib_zsad.scoring.tile_options import WHOLE, TileOptions
from anomalib_zsad.scoring.trained_model import TrainedModel

METHODS = {"BayesPFL": BayesPFL, "CoPS": CoPS}
# What takes long to import, and what an answer needs none of.
HEAVY = (
    *("anomalib.models", "anomalib.data", "lightning", "torchmetrics", "torchvision", "open_clip", "timm", "kornia"),
    *("sklearn", "pandas", "monai", "skimage", "transformers", "torch._dynamo", "sympy", "huggingface_hub"),
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


@pytest.mark.parametrize("name", METHODS)
def test_a_first_answer_imports_no_model_of_anomalibs(name: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(picture).save(tmp_path / "in" / "part.png")
    command = ["inspect", "-i", tmp_path / "in", "-o", tmp_path / "out", "--checkpoint", checkpoints[name]]
    words = [sys.executable, "-c", _RUN, json.dumps(HEAVY), *map(str, command)]
    said = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout.splitlines()[-1]) == [0, []], said.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"]["model"] == name


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

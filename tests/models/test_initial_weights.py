"""Every parameter of a new model starts by the published law, at a small and at the published width."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.models.bayes_pfl import published as bayes_pfl
from anomalib_zsad.models.cops import published as cops

INITIAL = json.loads((Path(__file__).parents[1] / "golden" / "initial.json").read_text())
METHODS = {"bayes_pfl": (BayesPFL, bayes_pfl.published_name, 2), "cops": (CoPS, cops.published_name, 9)}
CASES = [(method, width) for method in METHODS for width in INITIAL[method]]
SEEDS = 6


@pytest.fixture(scope="module", params=CASES, ids=[f"{method}-{width}" for method, width in CASES])
def started(request, tmp_path_factory) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A model's first parameters from several seeds, (seeds, ...) by published name, and what is published of them."""
    method, width = request.param
    facts = INITIAL[method][width]
    build, published_name, text_layers = METHODS[method]
    widths = {"embed_dim": facts["embed_dim"], "vision": facts.get("vision_width", 128), "text": facts["text_width"]}
    config = {
        "embed_dim": widths["embed_dim"],
        "vision_cfg": {"image_size": 28, "layers": 4, "width": widths["vision"], "patch_size": 14},
        "text_cfg": {"width": widths["text"], "layers": text_layers, "heads": widths["text"] // 64},
    }
    path = tmp_path_factory.mktemp("clip") / "clip.json"
    path.write_text(json.dumps(config))
    draws = []
    for seed in range(SEEDS if int(width) < 768 else 1):
        torch.manual_seed(seed)
        model = build(backbone=str(path), pretrained=None, visualizer=False).model
        draws.append({published_name(name): value.detach() for name, value in model.named_parameters()})
    return {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}, facts["parameters"]


def test_the_parameters_are_the_published_ones_that_are_used(started) -> None:
    ours, published = started
    used = {name for name, facts in published.items() if facts["used"]}
    untied = {name for name in used if ".encoder." not in name}  # the encoders under second names
    assert set(ours) == untied
    for name, values in ours.items():
        wanted = [side for side in published[name]["shape"] if side > 1]
        assert [side for side in values.shape[1:] if side > 1] == wanted, name


def test_each_has_the_published_law(started) -> None:
    ours, published = started
    for name, values in ours.items():
        law = published[name]["distribution"]
        kind, flat = law["name"], values.double().flatten()
        if kind in {"zeros", "ones", "constant"}:
            constant = {"zeros": 0.0, "ones": 1.0}.get(kind, law.get("value"))
            assert float((flat - constant).abs().max()) < 1e-5, name
            continue
        mean, deviation = law.get("mean", 0.0), law.get("sd")
        if kind == "uniform":
            deviation = law["bound"] / math.sqrt(3)
            assert float(flat.abs().max()) <= law["bound"] * (1 + 1e-6), name
            assert float(flat.abs().max()) > 0.9 * law["bound"], name
        assert abs(float(flat.mean()) - mean) <= 5 * deviation / math.sqrt(len(flat)), name
        assert abs(float(flat.std()) - deviation) <= 5 * deviation / math.sqrt(2 * len(flat)), name

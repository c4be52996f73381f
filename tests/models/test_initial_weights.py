"""Every parameter of a new model is drawn as the published code draws it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.models.bayes_pfl import published as bayes_pfl_names
from anomalib_zsad.models.cops import published as cops_names
from tests.models.small import write_backbone

GOLDEN = Path(__file__).parents[1] / "golden"
PUBLISHED = json.loads((GOLDEN / "initial.json").read_text())
SEEDS = 6
METHODS = {"bayes_pfl": (BayesPFL, bayes_pfl_names, "64"), "cops": (CoPS, cops_names, "192")}


def check(name: str, drawn: Tensor, law: dict[str, Any]) -> None:
    """Compare all numbers of a tensor with its published distribution, within five standard errors."""
    kind = law["name"]
    if kind in {"zeros", "ones", "constant"}:
        value = {"zeros": 0.0, "ones": 1.0}.get(kind, law.get("value"))
        assert drawn.tolist() == pytest.approx([value] * drawn.numel(), abs=1e-5), name
        return
    uniform = kind == "uniform"
    mean, sd = (0.0, law["bound"] / 3**0.5) if uniform else (law["mean"], law["sd"])
    count = drawn.numel()
    assert float(drawn.mean()) == pytest.approx(mean, abs=5 * sd / count**0.5), name
    assert float(drawn.std()) == pytest.approx(sd, abs=5 * sd / (2 * count) ** 0.5), name
    if uniform:
        assert float(drawn.abs().max()) <= law["bound"], name
        assert float(drawn.abs().max()) > law["bound"] * (1 - 30 / count), name


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_new_model_is_drawn_as_published(method: str, tmp_path: Path) -> None:
    model_class, names, width = METHODS[method]
    facts = json.loads((GOLDEN / f"training_{method}.json").read_text())
    expected = PUBLISHED[method][width]["parameters"]
    clip = facts["clip"] | {"vision_layers": 4}
    files = write_backbone(tmp_path, facts["seed"], clip)
    layers = (1, 2, 3, 4) if method == "bayes_pfl" else (4,)
    draws: dict[str, list[Tensor]] = {}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        model = model_class(**files, image_size=clip["grid"] * clip["patch_size"], layers=layers).model
        for name, value in model.named_parameters():
            if not name.startswith("backbone."):
                draws.setdefault(names.published_name(name), []).append(value.detach().flatten())
    missing = {name for name, law in expected.items() if law["used"]} - set(draws)
    assert not missing
    for name, values in draws.items():
        check(name, torch.cat(values), expected[name]["distribution"])

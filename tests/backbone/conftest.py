"""A small CLIP as files, and as open_clip builds it."""

import pytest
import torch

from anomalib_zsad.backbone import load_config
from tests.golden import seeded_weights
from tests.models.small import write_backbone

CLIP = {
    "embed_dim": 64,
    "vision_width": 128,
    "vision_layers": 3,
    "patch_size": 14,
    "grid": 4,
    "text_width": 64,
    "text_layers": 3,
}


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Arguments `backbone` and `pretrained`."""
    return write_backbone(tmp_path_factory.mktemp("backbone"), 3, CLIP)


@pytest.fixture(scope="session")
def weights():
    return seeded_weights.clip_state_dict(3, **CLIP)


@pytest.fixture(scope="session")
def config(files):
    return load_config(files["backbone"])


@pytest.fixture(scope="session")
def reference(files, weights):
    """open_clip's own model over the same weights."""
    import json
    from pathlib import Path

    from open_clip import model as open_clip_model

    model = open_clip_model.CLIP(**json.loads(Path(files["backbone"]).read_text()))
    missing = model.load_state_dict(weights, strict=False)
    assert not missing.missing_keys
    with torch.no_grad():
        model.logit_scale.zero_()
    return model.eval()

"""What a backbone's name means."""

import json

import open_clip
import pytest

from anomalib_zsad.backbone.config import load_config
from anomalib_zsad.backbone.open_clip_files import open_clip_file


def test_names_mean_what_they_mean_to_open_clip() -> None:
    """Its files are read without importing it; what it says of them is the same."""
    found = 0
    for name in open_clip.list_models():
        path = open_clip_file(f"model_configs/{name}.json")
        if path is not None:
            found += 1
            assert json.loads(path.read_text()) == open_clip.get_model_config(name)
    assert found > 50
    assert load_config("ViT-L-14-336").vision.width == 1024


def test_names_lead_to_no_other_folder() -> None:
    with pytest.raises(ValueError, match="unknown backbone"):
        load_config("../model_configs/ViT-L-14-336")

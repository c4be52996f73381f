"""A small CLIP with the golden files' seeded weights, written as files the way a user would have them."""

import json
from pathlib import Path

from safetensors.torch import save_file

from tests.golden import seeded_weights


def write_backbone(folder: Path, seed: int, clip: dict[str, int]) -> dict[str, str]:
    """Write an open_clip configuration and its weights; returns `backbone` and `pretrained` arguments."""
    config = {
        "embed_dim": clip["embed_dim"],
        "vision_cfg": {
            "image_size": clip["grid"] * clip["patch_size"],
            "layers": clip["vision_layers"],
            "width": clip["vision_width"],
            "patch_size": clip["patch_size"],
        },
        "text_cfg": {
            "width": clip["text_width"],
            "layers": clip["text_layers"],
            "heads": clip["text_width"] // 64,
        },
    }
    (folder / "clip.json").write_text(json.dumps(config))
    save_file(seeded_weights.clip_state_dict(seed, **clip), folder / "clip.safetensors")
    return {"backbone": str(folder / "clip.json"), "pretrained": str(folder / "clip.safetensors")}

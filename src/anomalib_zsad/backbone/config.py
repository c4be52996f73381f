"""What a backbone is: its shape, read from open_clip's model configurations, and what suits it by default."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .open_clip_files import open_clip_file

Activation = Literal["gelu", "quick_gelu"]
PositionResize = Literal["bicubic_antialias", "bilinear"]

_PLAIN_NAME = re.compile(r"\w[\w.-]*")
DEMO = "demo"
DEMO_FOLDER = Path(__file__).parent / "demo"

# Side in pixels that both methods were published with; other backbones of 224 px and more get the largest multiple of
# their patch size below it.
PUBLISHED_IMAGE_SIZE = 518

# Options of open_clip that change the forward pass in ways the frozen backbone does not reproduce, with the only
# value it accepts for each.
_PLAIN_VISION = {
    "timm_model_name": None,
    "ls_init_value": None,
    "attentional_pool": False,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "final_ln_after_pool": False,
    "pool_type": "tok",
    "block_type": None,
    "qk_norm": False,
    "scaled_cosine_attn": False,
    "scale_heads": False,
    "scale_attn_inner": False,
    "scale_attn": False,
    "scale_fc": False,
}
_PLAIN_TEXT = {
    "hf_model_name": None,
    "hf_tokenizer_name": None,
    "ls_init_value": None,
    "embed_cls": False,
    "no_causal_mask": False,
    "pool_type": "argmax",
    "proj_bias": False,
    "proj_type": "linear",
    "final_ln_after_pool": False,
    "block_type": None,
}


@dataclass(frozen=True)
class TowerConfig:
    """Shape of one transformer tower: width, number of blocks, attention heads and width of the MLP."""

    width: int
    layers: int
    heads: int
    mlp_width: int


@dataclass(frozen=True)
class BackboneConfig:
    """Shape of a CLIP ViT.

    Attributes:
        name: Name the backbone was asked for by.
        embed_dim: Width of the joint embedding (D).
        vision: Vision tower (its width is Dv).
        text: Text tower (its width is Dt).
        patch_size: Side of a patch in pixels.
        native_image_size: Side in pixels of the images the weights were pretrained on.
        context_length: Longest token sequence of the text tower.
        vocab_size: Number of token embeddings.
        activation: Activation that these weights need whatever the method says; `None` leaves it to the method.
    """

    name: str
    embed_dim: int
    vision: TowerConfig
    text: TowerConfig
    patch_size: int
    native_image_size: int
    context_length: int
    vocab_size: int
    activation: Activation | None = None

    @property
    def default_image_size(self) -> int:
        """Side of the square input that suits the backbone, in pixels."""
        if self.native_image_size < 224:
            return self.native_image_size
        return PUBLISHED_IMAGE_SIZE // self.patch_size * self.patch_size

    @property
    def default_layers(self) -> tuple[int, ...]:
        """Four blocks (counted from 1) at equal distances, the last one included."""
        depth = self.vision.layers
        return tuple(sorted({max(1, round(depth * quarter / 4)) for quarter in (1, 2, 3, 4)}))

    def check_image_size(self, image_size: int) -> None:
        """Raise `ValueError` unless the patches tile an image of this side."""
        if image_size < self.patch_size or image_size % self.patch_size:
            nearest = max(1, round(image_size / self.patch_size)) * self.patch_size
            raise ValueError(
                f"image_size {image_size} is not a multiple of the patch size {self.patch_size} of backbone "
                f"'{self.name}'; the nearest that is: {nearest}"
            )

    def check_layers(self, layers: tuple[int, ...]) -> None:
        """Raise `ValueError` unless every layer (counted from 1) is one of the vision tower's blocks."""
        depth = self.vision.layers
        absent = [layer for layer in layers if not 1 <= layer <= depth]
        if absent or not layers or len(set(layers)) != len(layers):
            raise ValueError(
                f"layers {tuple(layers)} does not fit backbone '{self.name}', whose vision tower has blocks 1 to "
                f"{depth}; name each block once, for example {self.default_layers}"
            )


def load_config(backbone: str) -> BackboneConfig:
    """Read a backbone's configuration.

    Args:
        backbone: `"demo"`, a model name that open_clip knows, or the path of an open_clip JSON configuration.

    Raises:
        FileNotFoundError: A path was given and there is no file.
        ValueError: The name is unknown, the file is no configuration, or it describes something else than a plain
            CLIP ViT.
    """
    if backbone == DEMO:
        config = _parse(DEMO, _read_json(DEMO_FOLDER / "open_clip_config.json"))
        return BackboneConfig(**{**config.__dict__, "activation": "gelu"})
    if backbone.endswith(".json") or Path(backbone).is_file():
        return _parse(backbone, _read_json(Path(backbone)))
    known = open_clip_file(f"model_configs/{backbone}.json") if _PLAIN_NAME.fullmatch(backbone) else None
    if known is not None:
        return _parse(backbone, _read_json(known))

    from open_clip.factory import get_model_config, list_models

    # An hf-hub or local-dir schema would reach the network or another folder: only plain names are looked up.
    raw = None if ":" in backbone else get_model_config(backbone)
    if raw is None:
        plain = ", ".join(name for name in list_models() if name.startswith("ViT-L-14"))
        raise ValueError(
            f"unknown backbone '{backbone}'. Give '{DEMO}', the path of an open_clip JSON configuration, or a name "
            f"that open_clip lists (open_clip.list_models()), such as {plain}."
        )
    return _parse(backbone, raw)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no backbone configuration at '{path}'")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"'{path}' is not a JSON file ({error}); an open_clip model configuration is expected"
        ) from error
    return raw.get("model_cfg", raw) if isinstance(raw, dict) else {}


def _parse(name: str, raw: dict[str, Any]) -> BackboneConfig:
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in raw]
    if missing:
        raise ValueError(
            f"the configuration of backbone '{name}' lacks {', '.join(missing)}; an open_clip one has them"
        )
    vision, text = raw["vision_cfg"], raw["text_cfg"]
    _check_plain(name, "vision_cfg", vision, _PLAIN_VISION)
    _check_plain(name, "text_cfg", text, _PLAIN_TEXT)
    if not isinstance(vision.get("layers", 12), int):
        raise ValueError(f"backbone '{name}' is a ResNet (vision layers {vision['layers']}); a ViT is needed")
    image_size = vision.get("image_size", 224)
    patch_size = vision.get("patch_size", 16)
    if not (isinstance(image_size, int) and isinstance(patch_size, int)):
        raise ValueError(
            f"backbone '{name}' has images of {image_size} and patches of {patch_size}; both must be square"
        )
    vision_width, text_width = vision.get("width", 768), text.get("width", 512)
    return BackboneConfig(
        name=name,
        embed_dim=raw["embed_dim"],
        vision=TowerConfig(
            width=vision_width,
            layers=vision.get("layers", 12),
            heads=vision_width // vision.get("head_width", 64),
            mlp_width=int(vision_width * vision.get("mlp_ratio", 4.0)),
        ),
        text=TowerConfig(
            width=text_width,
            layers=text.get("layers", 12),
            heads=text.get("heads", max(1, text_width // 64)),
            mlp_width=int(text_width * text.get("mlp_ratio", 4.0)),
        ),
        patch_size=patch_size,
        native_image_size=image_size,
        context_length=text.get("context_length", 77),
        vocab_size=text.get("vocab_size", 49408),
    )


def _check_plain(name: str, section: str, raw: dict[str, Any], plain: dict[str, Any]) -> None:
    for key, accepted in plain.items():
        if raw.get(key, accepted) != accepted:
            raise ValueError(
                f"backbone '{name}' sets {section}.{key} = {raw[key]!r}; the methods need a plain CLIP ViT "
                f"({key} = {accepted!r})"
            )

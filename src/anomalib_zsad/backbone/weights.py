"""Where a backbone's weights come from, and reading them safely.

A tag such as `"openai"` is looked for, in this order, in the folder that the environment variable
`ANOMALIB_ZSAD_WEIGHTS` names, and where open_clip keeps or fetches it. A path is read as it is.
"""

import logging
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from anomalib_zsad.outputs.file_hash import file_sha256

from .config import DEMO, DEMO_FOLDER, BackboneConfig

logger = logging.getLogger(__name__)

WEIGHTS_VARIABLE = "ANOMALIB_ZSAD_WEIGHTS"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
# Scalars that OpenAI's archives carry among the weights.
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


class WeightsUnavailableError(FileNotFoundError):
    """A backbone's weights are not on this machine and could not be fetched."""


class WeightsMismatchError(ValueError):
    """A file was read, and what it holds are not this backbone's weights."""


def load_weights(config: BackboneConfig, pretrained: str | None) -> dict[str, Tensor]:
    """Load the weights of a backbone under open_clip's names, in float32.

    Args:
        config: The backbone.
        pretrained: An open_clip tag, the path of a file (OpenAI's TorchScript archive, a state dict, safetensors), or
            `None` for seeded random weights, which serve measurements only. The demo backbone has its own weights,
            which any tag means.

    Raises:
        WeightsUnavailableError: A tag's weights are neither here nor to be fetched.
        FileNotFoundError: A path was given and there is no file.
        WeightsMismatchError: The file is damaged or holds the weights of something else.
    """
    if pretrained is None:
        logger.warning("Backbone '%s' has random weights (pretrained=None): its answers mean nothing.", config.name)
        return random_weights(config)
    path = find_weights(config, pretrained)
    state = _strip(read_state_dict(path))
    check_shapes(state, config, path)
    # One after the other, so that no two types of all weights are held at a time.
    return {name: state.pop(name).float() for name in expected_shapes(config)}


def find_weights(config: BackboneConfig, pretrained: str) -> Path:
    """The file that holds the weights; see `load_weights` for the arguments and errors."""
    if Path(pretrained).is_file():
        path = Path(pretrained)
        _verify(path, _published_checksums().get(path.name))
        return path
    if Path(pretrained).suffix in SUFFIXES or len(Path(pretrained).parts) > 1:
        raise FileNotFoundError(f"there is no weights file at '{pretrained}'")
    if config.name == DEMO:
        return DEMO_FOLDER / "weights.safetensors"
    return _find_by_hand(config.name, pretrained) or _fetch(config.name, pretrained)


def _find_by_hand(name: str, tag: str) -> Path | None:
    """Look in the folder that the environment variable names, under `<model>-<tag>` and the published file name."""
    folder = os.environ.get(WEIGHTS_VARIABLE)
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"the environment variable {WEIGHTS_VARIABLE} names '{folder}', which is not a folder")
    for suffix in SUFFIXES:
        if (Path(folder) / f"{name}-{tag}{suffix}").is_file():
            return Path(folder) / f"{name}-{tag}{suffix}"
    published = _published_url(name, tag).rsplit("/", 1)[-1]  # asked last, as open_clip takes its time to import
    if not published or not (Path(folder) / published).is_file():
        return None
    _verify(Path(folder) / published, _published_checksums().get(published))
    return Path(folder) / published


def _fetch(name: str, tag: str) -> Path:
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

    source = get_pretrained_cfg(name, tag)
    if not source:
        tags = ", ".join(list_pretrained_tags_by_model(name)) or "none"
        raise WeightsUnavailableError(
            _unavailable(name, tag, f"open_clip knows no such weights for it (it knows: {tags})")
        )
    try:
        return Path(download_pretrained(source))
    except Exception as error:  # every client below it (hub, urllib, requests) has errors of its own
        reason = f"open_clip could not fetch them: {type(error).__name__}"
        raise WeightsUnavailableError(_unavailable(name, tag, reason)) from error


def _unavailable(name: str, tag: str, reason: str) -> str:
    published = _published_url(name, tag).rsplit("/", 1)[-1]
    also = f" or {published}" if published else ""
    return (
        f"The weights '{tag}' of backbone '{name}' are not available; {reason}. Three remedies: "
        f"(1) connect this machine to the network once, and open_clip fetches and keeps them; "
        f"(2) give a file you have: pretrained='/path/to/file' (OpenAI's .pt archive, a state dict, or safetensors); "
        f"(3) put the file, named {name}-{tag}.safetensors (.pt, .pth, .bin){also}, into a folder and set the "
        f"environment variable {WEIGHTS_VARIABLE} to it. To try the package without any weights: backbone='{DEMO}'."
    )


def _published_url(name: str, tag: str) -> str:
    from open_clip.pretrained import get_pretrained_cfg

    return get_pretrained_cfg(name, tag).get("url", "")


def _published_checksums() -> dict[str, str]:
    """SHA-256 of OpenAI's archives by file name; each archive's address holds it."""
    from open_clip.pretrained import list_pretrained

    urls = [_published_url(name, tag) for name, tag in list_pretrained() if tag == "openai"]
    return {url.split("/")[-1]: url.split("/")[-2] for url in urls if url.count("/") > 2}


def _verify(path: Path, expected: str | None) -> None:
    if expected is None:
        return
    actual = file_sha256(path)
    if actual != expected:
        raise WeightsMismatchError(
            f"'{path}' has SHA-256 {actual}, and the published file of that name {expected}: it is damaged or "
            "incomplete. Fetch it again, or rename it if it is meant to differ."
        )


def embedded_version(config: BackboneConfig, pretrained: str | None) -> str | None:
    """The version of the weights that `pretrained` means to the embedded backbone; `None` for any other weights."""
    if config.name != DEMO or pretrained is None:
        return None
    path = find_weights(config, pretrained)
    return weights_version(path) if path.suffix == ".safetensors" else None


def weights_version(path: Path) -> str:
    """The version that a safetensors file says it is of; "1" where it says none, as the first embedded backbone."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return str((file.metadata() or {}).get("version", "1"))


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from safetensors, a `torch.save` file (weights only) or a TorchScript archive.

    Raises:
        WeightsMismatchError: The file is none of these, or is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if _is_torchscript(path):
            with warnings.catch_warnings():  # deprecated, and the only reader of the archives as published
                warnings.simplefilter("ignore", FutureWarning)
                return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise WeightsMismatchError(_unreadable(path)) from error
    except Exception as error:  # pickle.UnpicklingError without importing pickle: the file is foreign or unsafe
        if type(error).__name__ != "UnpicklingError":
            raise
        raise WeightsMismatchError(_unreadable(path)) from error
    content = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _unreadable(path: Path) -> str:
    return (
        f"'{path}' cannot be read as weights: it is damaged, incomplete, or neither safetensors, a state dict saved by "
        "torch.save, nor OpenAI's TorchScript archive."
    )


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _strip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo DataParallel's prefix, drop scalars that are no weights, and expand the demo's token embeddings."""
    state = {name.removeprefix("module."): value for name, value in state.items()}
    state = {name: value for name, value in state.items() if name not in _NOT_WEIGHTS}
    rows = state.pop("token_embedding.rows", None)
    if rows is not None:
        values, unknown = state.pop("token_embedding.values"), state.pop("token_embedding.unknown")
        table = unknown.repeat(int(state.pop("token_embedding.size", torch.tensor(49408))), 1)
        table[rows.long()] = values
        state["token_embedding.weight"] = table
    return state


def expected_shapes(config: BackboneConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that the backbone needs, by open_clip's name."""
    vision, text, grid = config.vision, config.text, config.native_image_size // config.patch_size
    shapes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (vision.width,),
        "visual.positional_embedding": (grid * grid + 1, vision.width),
        "visual.proj": (vision.width, config.embed_dim),
        "visual.conv1.weight": (vision.width, 3, config.patch_size, config.patch_size),
        "token_embedding.weight": (config.vocab_size, text.width),
        "positional_embedding": (config.context_length, text.width),
        "text_projection": (text.width, config.embed_dim),
    }
    for norm, width in (("visual.ln_pre", vision.width), ("visual.ln_post", vision.width), ("ln_final", text.width)):
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    for prefix, tower in (("visual.transformer", vision), ("transformer", text)):
        width, hidden = tower.width, tower.mlp_width
        for layer in range(tower.layers):
            block = f"{prefix}.resblocks.{layer}"
            for norm in ("ln_1", "ln_2"):
                shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
            shapes |= {
                f"{block}.attn.in_proj_weight": (3 * width, width),
                f"{block}.attn.in_proj_bias": (3 * width,),
                f"{block}.attn.out_proj.weight": (width, width),
                f"{block}.attn.out_proj.bias": (width,),
                f"{block}.mlp.c_fc.weight": (hidden, width),
                f"{block}.mlp.c_fc.bias": (hidden,),
                f"{block}.mlp.c_proj.weight": (width, hidden),
                f"{block}.mlp.c_proj.bias": (width,),
            }
    return shapes


def check_shapes(state: Mapping[str, Tensor], config: BackboneConfig, path: Path) -> None:
    """Raise `WeightsMismatchError` unless the state dict holds every tensor of the backbone in its shape."""
    expected = expected_shapes(config)
    missing = [name for name in expected if name not in state]
    if missing:
        raise WeightsMismatchError(
            f"'{path}' lacks {len(missing)} of the {len(expected)} tensors of backbone '{config.name}', first "
            f"'{missing[0]}': it holds the weights of something else"
        )
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise WeightsMismatchError(
                f"'{path}' holds '{name}' of shape {tuple(state[name].shape)}, and backbone '{config.name}' needs "
                f"{shape}: these are the weights of another backbone"
            )


def random_weights(config: BackboneConfig, seed: int = 0) -> dict[str, Tensor]:
    """Seeded random weights of plausible scale, for measurements of speed and memory."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in expected_shapes(config).items():
        if name.endswith("bias") or ".ln_" in name or name.startswith("ln_"):
            state[name] = torch.full(shape, 1.0 if name.endswith("weight") else 0.0)
        else:
            scale = 0.02 if "embedding" in name else (shape[0] if len(shape) == 2 else shape[1] * shape[2] ** 2) ** -0.5
            state[name] = torch.randn(shape, generator=generator).mul_(scale)
    return state

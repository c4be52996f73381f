"""What decides a model that is made for an engine."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import anomalib_zsad
from anomalib_zsad.outputs.versions import versions

_ROOT = Path(anomalib_zsad.__file__).parent
# Parts whose code decides an export.
_PARTS = ("backbone", "models", "scoring/engines")
# Runs of values of each tensor that enter the hash of a backbone, and their length: weights lie in a file that is read
# where it is touched, so that single values, evenly spread, would read all of it.
_RUNS, _LENGTH = 8, 512


def export_identity(module: Any, description: Mapping[str, Any], class_name: str | None) -> dict[str, Any]:
    """What decides the export of a model, by name, in JSON's types.

    Args:
        module: A Lightning module of this package.
        description: What it says of itself (`describe_model`): weights, image size, constants, preparation.
        class_name: What images show; `None` where the prompts hold no name.
    """
    return {
        "model": dict(description),
        "backbone_sample": sample_hash(module.model.backbone),
        "class_name": class_name,
        "code": code_hash(),
        "versions": {"anomalib-zsad": versions()["anomalib-zsad"], **versions_of("torch", "onnx", "onnxscript")},
    }


def versions_of(*packages: str) -> dict[str, str]:
    """Versions of installed packages.

    A module may come with a package of another name, such as onnxruntime with onnxruntime-gpu, or OpenVINO with its
    nightly builds: the module itself then says its version.
    """
    return {name: _version_of(name) for name in packages}


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return str(import_module(name).__version__)


@cache
def code_hash() -> str:
    """Hash of this package's code that decides an export: a version number alone does not tell a changed checkout."""
    digest = hashlib.sha256()
    for part in _PARTS:
        for path in sorted((_ROOT / part).rglob("*.py")):
            digest.update(f"{path.relative_to(_ROOT).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def sample_hash(model: Any) -> str:
    """Hash of all tensors' names and shapes, and of some thousand values of each, in a few runs, evenly spread.

    A backbone's fingerprint knows its two projections only; all its bytes would take seconds.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()], key=lambda pair: pair[0]):
        values = tensor.detach().flatten()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        last = max(0, len(values) - _LENGTH)
        for start in sorted({last * run // (_RUNS - 1) for run in range(_RUNS)}):
            digest.update(values[start : start + _LENGTH].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:24]

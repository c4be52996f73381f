"""The methods that every command knows: all zero-shot models that anomalib has been told of."""

import importlib
import importlib.util
import inspect
from pathlib import Path
from typing import Any

import anomalib.models

from anomalib_zsad.models.components.checkpoint import STAMP, CheckpointError, open_checkpoint
from anomalib_zsad.models.components.lightning_mixin import ZeroShotMixin


def methods() -> dict[str, type]:
    """Lightning modules of all methods, by name: this package's, and those that others registered with anomalib."""
    found = {name: getattr(anomalib.models, name, None) for name in anomalib.models.__all__}
    return {name: cls for name, cls in found.items() if inspect.isclass(cls) and issubclass(cls, ZeroShotMixin)}


def find_method(name: str) -> type:
    """The Lightning module of a method.

    Args:
        name: Its name as anomalib takes it (`BayesPFL`, `bayes_pfl`), or a class path such as `package.module.Class`.

    Raises:
        ValueError: If there is no such method, or the class is no zero-shot model.
    """
    known = methods()
    for method, cls in known.items():
        if method.lower() == name.lower().replace("_", ""):
            return cls
    if "." in name:
        return _from_path(name)
    raise ValueError(
        f"there is no model {name!r}; give {', '.join(known)}, another of anomalib's models (list_models() of "
        "anomalib.models), or a class path (package.module.Class)"
    )


def _from_path(path: str) -> type:
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no model {path!r}: {error}") from error
    if not (inspect.isclass(cls) and issubclass(cls, ZeroShotMixin)):
        raise ValueError(f"{path} is no zero-shot model: its class does not mix in ZeroShotMixin")
    return cls


def published_key(cls: type) -> str | None:
    """Key under which a method's published files keep the weights; `None` if it has no `published.py`."""
    package = cls.__module__.rpartition(".")[0]
    if not package or importlib.util.find_spec(f"{package}.published") is None:
        return None
    return getattr(importlib.import_module(f"{package}.published"), "PUBLISHED_KEY", None)


def method_of(checkpoint: Path) -> type:
    """The method that a checkpoint is of, by what is stamped on it, or by the key of a published file.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is damaged or unsafe, or of no method that is known.
    """
    content = open_checkpoint(checkpoint)
    known = methods()
    stamp: Any = content.get(STAMP)
    if stamp is not None:
        if stamp["method"] in known:
            return known[stamp["method"]]
        raise CheckpointError(
            f"'{checkpoint}' is a checkpoint of {stamp['method']}, which is not known here; install its package, or "
            "give its class path as --model"
        )
    for cls in known.values():
        key = published_key(cls)
        if key is not None and key in content:
            return cls
    if "anomalib_components_enabled" in content:
        raise CheckpointError(
            f"'{checkpoint}' is a checkpoint of another of anomalib's models, and does not say of which; name it, as "
            "in --model Patchcore"
        )
    keys = ", ".join(sorted(map(str, content))[:6]) or "nothing"
    raise CheckpointError(
        f"'{checkpoint}' is no checkpoint of {' or '.join(known)}, neither one that training with this package writes "
        f"nor a published file. It holds: {keys}"
    )

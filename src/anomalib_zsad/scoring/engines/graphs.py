"""A model made for an engine: from the module, by the export's own path, into the cache."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_zsad.outputs.extras import require
from anomalib_zsad.scoring.engines.cache import kept
from anomalib_zsad.scoring.engines.identity import export_identity, versions_of
from anomalib_zsad.scoring.engines.runtimes import load

_MODEL = {"onnxruntime": "model.onnx", "openvino": "model.xml"}
_PACKAGES = {"onnxruntime": ("onnxruntime", "onnx", "onnxscript"), "openvino": ("openvino", "onnx", "onnxscript")}


def check_installed(engine: str) -> None:
    """Make sure that an engine's packages are there.

    Raises:
        MissingExtraError: If one is not; names the command that installs it.
    """
    require("export", f"the engine {engine}", *_PACKAGES[engine])


def graph_of(module: Any, description: Mapping[str, Any], class_name: str, engine: str, cache: Path) -> Path:
    """The model of a module for an engine, at float32: prepared images in, scores, maps and deviations out.

    Args:
        module: A Lightning module of this package, or what stands for one, on the CPU, in evaluation mode, in float32.
        description: What it says of itself.
        class_name: What images show.
        engine: `openvino` or `onnxruntime`.
        cache: Folder of the cache.

    Returns:
        The file that the engine reads; it has answered once, for an empty image, before it came into the cache.

    Raises:
        OSError: If the cache cannot be written.
    """
    spoken = class_name if getattr(module.model, "speaks_class_names", True) else None
    decisive = {"engine": engine, **export_identity(module, description, spoken)}
    if engine == "openvino":
        decisive["versions"] = {**decisive["versions"], **versions_of("openvino")}

    def make(folder: Path) -> None:
        # Needs anomalib and the exporters; a graph that is there does without.
        from anomalib_zsad.scoring.engines.graph_writer import write_graph

        path = folder / _MODEL[engine]
        write_graph(module, class_name, engine, path)
        side = module.model.backbone.image_size
        load(path, engine)(np.zeros((1, 3, side, side), np.float32))

    return kept(cache, engine, decisive, make) / _MODEL[engine]

"""A model made for an engine: from the module, by the export's own path, into the cache."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomalib_zsad.models.components.export_graph import ExportGraph
from anomalib_zsad.models.components.onnx_file import write_onnx
from anomalib_zsad.outputs.extras import require
from anomalib_zsad.scoring.engines.cache import kept
from anomalib_zsad.scoring.engines.identity import export_identity, versions_of

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
        module: A Lightning module of this package on the CPU, in evaluation mode, in float32.
        description: What it says of itself.
        class_name: What images show.
        engine: `openvino` or `onnxruntime`.
        cache: Folder of the cache.

    Returns:
        The file that the engine reads.

    Raises:
        OSError: If the cache cannot be written.
    """
    spoken = class_name if getattr(module.model, "speaks_class_names", True) else None
    decisive = {"engine": engine, **export_identity(module, description, spoken)}
    if engine == "openvino":
        decisive["versions"] = {**decisive["versions"], **versions_of("openvino")}

    def make(folder: Path) -> None:
        graph = ExportGraph(module, [class_name], bare=True).eval()
        side = module.model.backbone.image_size
        if engine == "onnxruntime":
            write_onnx(graph, folder / _MODEL[engine], {}, input_size=(side, side))
            return
        import openvino

        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as between:
            onnx = Path(between) / "model.onnx"
            write_onnx(graph, onnx, {}, input_size=(side, side))
            openvino.save_model(openvino.Core().read_model(onnx), folder / _MODEL[engine], compress_to_fp16=False)

    return kept(cache, engine, decisive, make) / _MODEL[engine]

"""A model's graph as a file that an engine reads."""

import tempfile
from pathlib import Path
from typing import Any

from anomalib_zsad.models.components.export_graph import ExportGraph
from anomalib_zsad.models.components.onnx_file import write_onnx
from anomalib_zsad.outputs.disk_errors import writes_of_libraries


def write_graph(module: Any, class_name: str, engine: str, path: Path) -> None:
    """Write a model for an engine, at float32: prepared images in, scores, maps and deviations out.

    Args:
        module: A Lightning module of this package, or what stands for one, on the CPU, in evaluation mode, in float32.
        class_name: What images show.
        engine: `openvino` or `onnxruntime`.
        path: Where to.

    Raises:
        OSError: If it cannot be written.
    """
    graph = ExportGraph(module, [class_name], bare=True).eval()
    side = module.model.backbone.image_size
    if engine == "onnxruntime":
        write_onnx(graph, path, {}, input_size=(side, side))
        return
    import openvino

    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as between:
        onnx = Path(between) / "model.onnx"
        write_onnx(graph, onnx, {}, input_size=(side, side))
        with writes_of_libraries(path):
            openvino.save_model(openvino.Core().read_model(onnx), path, compress_to_fp16=False)

"""A torch module as an ONNX file."""

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .export_graph import ExportGraph
from .export_metadata import KEY

OPERATOR_SET = 18
# A protocol buffer holds 2 GB; beyond this, weights go to a file of their own.
_LARGEST_SINGLE_FILE = 1_000_000_000
# Not square, and no size of a model's own, so that no dimension is taken for another.
_EXAMPLE = (101, 75)


def write_onnx(
    graph: ExportGraph,
    path: Path,
    metadata: Mapping[str, Any],
    *,
    several: bool = False,
    input_size: tuple[int, int] | None = None,
    **kwargs: Any,
) -> None:
    """Export a graph; the file appears whole or not at all.

    Args:
        graph: The graph.
        path: Where to; replaced if it is there.
        metadata: In JSON's types.
        several: Whether the graph takes `class_index`.
        input_size: Height and width of the only input that is taken; `None` for any.
        kwargs: Further arguments of `torch.onnx.export`.

    Raises:
        ValueError: If an argument asks for the exporter that torch and anomalib have dropped.
    """
    if kwargs.get("dynamo") is False:
        raise ValueError("dynamo=False was given; torch's older exporter is no longer used, leave the argument out")
    device = next(graph.answer.buffers()).device
    images = torch.rand(2, 3, *(input_size or _EXAMPLE), device=device)
    inputs = {"image": images} | ({"class_index": torch.zeros(2, dtype=torch.int64, device=device)} if several else {})
    free = torch.export.Dim.DYNAMIC
    shapes = {"image": {0: free} if input_size else {0: free, 2: free, 3: free}, "class_index": {0: free}}
    with torch.inference_mode(False), torch.no_grad(), _quiet():
        answers = list(graph(**inputs))
        options = {
            "opset_version": OPERATOR_SET,
            "input_names": ["input", *list(inputs)[1:]],
            "output_names": answers,
            "dynamic_shapes": {name: shapes[name] for name in inputs},
            # onnxscript's own optimiser takes as long as all the rest; what matters of it is done below.
            "optimize": False,
            "verbose": False,
        }
        program: Any = torch.onnx.export(graph, (), kwargs=inputs, dynamo=True, **{**options, **kwargs})
        _simplify(program.model)
    program.model.metadata_props[KEY] = json.dumps(metadata, allow_nan=False)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
        partial = Path(folder) / path.name
        program.save(partial, external_data=_weight(program.model) > _LARGEST_SINGLE_FILE)
        for written in sorted(Path(folder).iterdir(), reverse=True):  # weights first
            written.replace(path.parent / written.name)


def _simplify(model: Any) -> None:
    """Compute what is constant, and drop what nothing reads."""
    from onnx_ir.passes import common
    from onnxscript import optimizer

    optimizer.fold_constants(model)
    for step in (common.CommonSubexpressionEliminationPass(), common.RemoveUnusedNodesPass()):
        step(model)


def _weight(model: Any) -> int:
    """Bytes of all constants."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on its own steps."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"torch\.")  # of constants that are no buffers; they are exported
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)

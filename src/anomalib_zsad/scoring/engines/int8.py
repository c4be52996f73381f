"""Post-training quantisation to int8 by NNCF, with its accuracy control, for OpenVINO."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.outputs.disk_errors import writes_of_libraries
from anomalib_zsad.outputs.extras import require
from anomalib_zsad.outputs.telemetry import without_telemetry
from anomalib_zsad.scoring.engines.cache import kept
from anomalib_zsad.scoring.engines.identity import versions_of
from anomalib_zsad.scoring.engines.pictures import Pictures, seen_by_model
from anomalib_zsad.scoring.engines.runtimes import INPUT, load
from anomalib_zsad.scoring.tile_options import WHOLE, TileOptions

# Groups of layers that go back to float32 at most, each after a test of all pictures.
_STEPS = 20
LARGEST_DROP = 0.01
"""What accuracy control allows: the mean deviation of a picture, see `deviation_of`."""
REPORT = "int8.json"
"""The file beside the model that says how far it is from float32."""

Answer = Mapping[str, NDArray[np.float32]]


def check_installed() -> None:
    """Make sure that NNCF is there.

    Raises:
        MissingExtraError: If it is not; names the command that installs it.
    """
    require("int8", "int8", "nncf", "openvino")


def int8_graph(
    floating: Path,
    pictures: Pictures,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    cache: Path,
    side: int,
    tiles: TileOptions = WHOLE,
) -> Path:
    """The int8 model of a float32 one, and beside it how far it is from that.

    Args:
        floating: OpenVINO's float32 model, in the cache.
        pictures: What scales are chosen and deviations measured by.
        prepare: Brings an image (3, h, w) in [0, 1] to the model's size.
        cache: Folder of the cache.
        side: Side of the model's images.
        tiles: How pictures are taken apart when they are scored: what is scored is what scales are chosen by.

    Returns:
        The file that OpenVINO reads; `int8.json` lies beside it.

    Raises:
        ValueError: If a picture cannot be read.
        OSError: If the cache cannot be written.
    """
    decisive = {
        "float32": floating.parent.name,
        "pictures": pictures.sha256,
        "largest_drop": LARGEST_DROP,
        "versions": versions_of("openvino", "nncf"),
    }
    if tiles.tiles is not None:
        decisive["tiles"] = {"side": tiles.tiles, "overlap": tiles.tile_overlap}

    def make(folder: Path) -> None:
        import openvino

        seen = seen_by_model(pictures, prepare, side, tiles)
        images = [np.asarray(image, np.float32)[None] for image in seen]
        exact = load(floating, "openvino")
        expected = [exact(image) for image in images]
        quantised = _quantise(openvino.Core().read_model(floating), images, expected)
        path = folder / floating.name
        with writes_of_libraries(path):
            openvino.save_model(quantised, path, compress_to_fp16=False)
        coarse = load(path, "openvino", "int8")
        report = _report(pictures, expected, [coarse(image) for image in images])
        if tiles.tiles is not None:
            report["windows"] = len(images)
        write_text(folder / REPORT, json.dumps(report, indent=1) + "\n")

    return kept(cache, "int8", decisive, make) / floating.name


def read_report(path: Path) -> dict[str, Any]:
    """How far an int8 model is from float32, as it was measured when it was made."""
    return json.loads((path.parent / REPORT).read_text(encoding="utf-8"))


def deviation_of(answer: Answer, expected: Answer) -> float:
    """How far an answer for one picture is from another: the larger of score's difference and mean map difference."""
    score = float(np.abs(answer["pred_score"] - expected["pred_score"]).max())
    return max(score, float(np.abs(answer["anomaly_map"] - expected["anomaly_map"]).mean()))


def _quantise(model: Any, images: Sequence[NDArray[np.float32]], expected: Sequence[Answer]) -> Any:
    """NNCF's quantisation; it takes back what moves answers by more than is allowed."""
    with without_telemetry():
        import nncf

    _take_out_guards(model)

    def validate(compiled: Any, numbers: Iterable[int]) -> tuple[float, list[float]]:
        request = compiled.create_infer_request()
        values = []
        for number in numbers:
            found = request.infer({INPUT: images[number]})
            answer = {name: found[name] for name in ("pred_score", "anomaly_map")}
            values.append(1 - deviation_of(answer, expected[number]))
        return float(np.mean(values)), values

    with without_telemetry(), _quiet(nncf):
        return nncf.quantize_with_accuracy_control(
            model,
            calibration_dataset=nncf.Dataset(images, lambda image: {INPUT: image}),
            validation_dataset=nncf.Dataset(range(len(images))),
            validation_fn=validate,
            max_drop=LARGEST_DROP,
            drop_type=nncf.DropType.ABSOLUTE,
            model_type=nncf.ModelType.TRANSFORMER,
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(max_num_iterations=_STEPS),
        )


def _take_out_guards(model: Any) -> None:
    """Take out what the export puts behind each softmax: a zero in the place of NaN, which is never there.

    NNCF 3.4 fails where it would take back a quantiser that stands behind such a choice.
    """
    for op in model.get_ordered_ops():
        if op.get_type_name() != "Select":
            continue
        asked, _, otherwise = (op.input_value(place) for place in range(3))
        if asked.get_node().get_type_name() == "IsNaN" and otherwise.get_node().get_type_name() == "Softmax":
            op.output(0).replace(otherwise)


def _report(pictures: Pictures, expected: Sequence[Answer], found: Sequence[Answer]) -> dict[str, Any]:
    """How far int8 is from float32, in JSON's types."""
    scores = [float(np.abs(a["pred_score"] - b["pred_score"]).max()) for a, b in zip(found, expected, strict=True)]
    maps = [np.abs(a["anomaly_map"] - b["anomaly_map"]) for a, b in zip(found, expected, strict=True)]
    return {
        "pictures": len(pictures.paths),
        "pictures_found": pictures.found,
        "pictures_sha256": pictures.sha256,
        "score_largest_difference": max(scores),
        "score_mean_difference": float(np.mean(scores)),
        "map_largest_difference": float(max(part.max() for part in maps)),
        "map_mean_difference": float(np.mean([part.mean() for part in maps])),
        "largest_mean_difference_allowed": LARGEST_DROP,
        "within_what_is_allowed": bool(
            np.mean([deviation_of(a, b) for a, b in zip(found, expected, strict=True)]) <= LARGEST_DROP
        ),
        "versions": versions_of("openvino", "nncf"),
    }


@contextmanager
def _quiet(nncf: Any) -> Iterator[None]:
    """Without NNCF's notes on its own steps."""
    logger = logging.getLogger("nncf")
    before = logger.level
    nncf.set_log_level(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)

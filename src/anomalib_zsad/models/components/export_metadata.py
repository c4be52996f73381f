"""What every export says of itself, so that it is used with nothing else."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalib_zsad.calibration.fingerprint import CalibrationMismatchError, describe_model
from anomalib_zsad.data.items import check_class_name
from anomalib_zsad.outputs.extras import require
from anomalib_zsad.outputs.file_hash import file_sha256
from anomalib_zsad.outputs.versions import versions

from .image_calibration import ImageCalibration

KEY = "anomalib_zsad"
"""Where the metadata stand, as JSON: in ONNX's metadata, OpenVINO's run-time information, and a torch export's dict."""

_FORMAT = 1


def export_metadata(module: Any, class_names: Sequence[str]) -> dict[str, Any]:
    """The metadata of an export.

    Args:
        module: A Lightning module of this package, with the thresholds in use.
        class_names: The names that the export knows.

    Returns:
        In JSON's types: `format`, `method`, `class_names`, `backbone`, `backbone_fingerprint`, `image_size`,
        `weights_sha256`, `checkpoint_sha256` (`None` where there is no file), `constants`, `preparation`, `thresholds`
        (`image`, `mask`, and whether what is `at or above` or `above` them is abnormal), `calibration` (`None`, or its
        file's content with the false-alarm rate), `versions`.
    """
    described = describe_model(module)
    return {
        "format": _FORMAT,
        "method": described.pop("model"),
        "class_names": list(class_names),
        **described,
        "checkpoint_sha256": _checkpoint_hash(module),
        "thresholds": _thresholds(module),
        "calibration": _calibration(module.calibration),
        "versions": dict(versions()),
    }


def read_metadata(path: Path | str) -> dict[str, Any]:
    """The metadata of an export to ONNX (`.onnx`) or OpenVINO (`.xml`).

    Raises:
        FileNotFoundError: There is no such file.
        MissingExtraError: The package that reads it is not installed.
        ValueError: The file is no export of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no export {path}")
    read = {".onnx": _of_onnx, ".xml": _of_openvino}.get(path.suffix)
    if read is None:
        raise ValueError(f"{path} is no export to ONNX or OpenVINO by its ending; give a .onnx or .xml file")
    text = read(path)
    if text is None:
        raise ValueError(
            f"{path} says nothing of itself: it is no export of this package, or one of an earlier version"
        )
    return json.loads(text)


def _of_onnx(path: Path) -> str | None:
    require("export", "an export to ONNX", "onnx")
    import onnx

    try:
        found = onnx.load(path, load_external_data=False).metadata_props
    except Exception as error:  # protobuf's own, of several kinds
        raise ValueError(f"{path} cannot be read as ONNX ({type(error).__name__}): it is damaged") from error
    return next((entry.value for entry in found if entry.key == KEY), None)


def _of_openvino(path: Path) -> str | None:
    require("export", "an export to OpenVINO", "openvino")
    import openvino

    try:
        model = openvino.Core().read_model(path)
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be read by OpenVINO: it is damaged, or its .bin file is missing") from error
    # OpenVINO keeps there what ONNX's metadata said.
    place = ["framework", KEY]
    return str(model.get_rt_info(place).value) if model.has_rt_info(place) else None


def checked_names(module: Any, class_name: str | None, class_names: Sequence[str] | None) -> list[str]:
    """The names that an export is to know.

    Args:
        module: The module.
        class_name: One name; `None` for the module's own.
        class_names: Several, in place of the one; `None` for one.

    Raises:
        ValueError: Both are given, a name is empty, or comes twice.
        CalibrationMismatchError: The module's calibration is of another class, or of one among several.
    """
    if class_name is not None and class_names is not None:
        raise ValueError("class_name and class_names exclude each other: give one name, or several")
    names = list(class_names) if class_names is not None else [class_name or module.class_name or "object"]
    if not names:
        raise ValueError("class_names is empty; give the names that the export is to know")
    names = [check_class_name(name) for name in names]
    if len(set(names)) != len(names):
        raise ValueError(f"a class name comes twice: {', '.join(names)}")
    calibration = module.calibration
    if calibration is not None and names != [calibration.class_name]:
        raise CalibrationMismatchError(
            f"the calibration does not fit: it was made of {calibration.class_name!r}, and the export is of "
            f"{', '.join(map(repr, names))}. Export {calibration.class_name!r} alone, or without a calibration"
        )
    return names


def _checkpoint_hash(module: Any) -> str | None:
    trainer = getattr(module, "_trainer", None)
    path = getattr(trainer, "ckpt_path", None) or getattr(module, "checkpoint_path", None)
    return file_sha256(Path(path)) if path is not None and Path(path).is_file() else None


def _thresholds(module: Any) -> dict[str, Any] | None:
    """The thresholds of score and pixels; `None` without a post-processor that has any."""
    if module.calibration is not None:
        known = module.calibration
        return {"image": known.image_threshold, "mask": known.mask_threshold, "abnormal": "at or above"}
    found = [
        getattr(getattr(module, "post_processor", None), f"normalized_{kind}_threshold", None)
        for kind in ("image", "pixel")
    ]
    if any(value is None for value in found):
        return None
    image, mask = (float(value) for value in found if value is not None)
    return {"image": image, "mask": mask, "abnormal": "above"}


def _calibration(calibration: ImageCalibration | None) -> Mapping[str, Any] | None:
    if calibration is None:
        return None
    return {"false_alarm_rate": calibration.rule.false_alarm_rate, **calibration.calibration.record()}

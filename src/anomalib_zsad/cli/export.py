"""`anomalib-zsad export`: write a model for other runtimes, with all that is needed to use it."""

import argparse
import json
from pathlib import Path
from typing import Any

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.decision_options import add_calibration_options, load_calibration
from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.model_options import add_model_options, check_trained, method_of, say_demonstration, say_loading
from anomalib_zsad.outputs.atomic import whole_folder, write_text
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.extras import require
from anomalib_zsad.outputs.terminal import console, visible

_EPILOG = """\
Written: weights/onnx/model.onnx, weights/openvino/model.xml with model.bin,
weights/torch/model.pt (a pickle, for anomalib's TorchInferencer), and
metadata.json, which the exports also carry inside. Input: images of any size,
float32 in [0, 1], (n, 3, height, width); their resize is part of the export.
OpenVINO answers as torch does if it is compiled with
INFERENCE_PRECISION_HINT=f32. Needs: pip install 'anomalib-zsad[export]'

  anomalib-zsad export -o exported --format onnx --checkpoint model.ckpt \\
      --class-name washer --calibration washer.json --false-alarm-rate 0.01
"""
_PACKAGES = {"torch": (), "onnx": ("onnx", "onnxscript"), "openvino": ("openvino", "onnx", "onnxscript")}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(parser, "Write a model with its pre-processing, class name and thresholds.", _EPILOG)
    run_options.add_output_folder(parser)
    group = parser.add_argument_group("export")
    group.add_argument(
        "--format",
        nargs="+",
        choices=list(_PACKAGES),
        default=["onnx"],
        metavar="FORMAT",
        help=f"for which runtimes: {', '.join(_PACKAGES)}",
    )
    group.add_argument(
        "--class-names",
        nargs="+",
        metavar="NAME",
        help="several names in one export: a second input, class_index, tells them apart (not for torch, whose export "
        "takes names when it is called)",
    )
    group.add_argument(
        "--input-size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="the only size that is taken (default: any; torch's export takes any)",
    )
    add_model_options(parser)
    add_calibration_options(parser)


def run(args: argparse.Namespace) -> int:
    """Export, and say what was written."""
    formats = list(dict.fromkeys(args.format))
    _check(args, formats)
    check_trained(args)
    load_calibration(args)
    say_loading(args)
    from anomalib_zsad.models.components.export_metadata import checked_names, export_metadata
    from anomalib_zsad.models.components.exports import Exports
    from anomalib_zsad.scoring.build import build_model

    built = build_model(args.checkpoint, method_of(args), args.model_arguments, args.device)
    if not isinstance(built.module, Exports):
        raise ValueError(f"{args.model} is one of anomalib's own models, which `anomalib export` writes")
    module: Any = built.module
    say_demonstration(module.model.backbone.config.name)
    if args.calibration is not None:
        module.class_name = args.class_name or module.class_name
        module.use_calibration(args.calibration, 0.05 if args.false_alarm_rate is None else args.false_alarm_rate)
        module.apply_calibration()
    names = checked_names(module, args.class_name, args.class_names)
    written = []
    with whole_folder(args.output) as folder:
        for kind in formats:
            say(f"writing {kind} ...")
            written.append(_export(module, kind, folder, args).relative_to(folder))
        metadata = export_metadata(module, names)
        write_text(folder / "metadata.json", json.dumps(metadata, indent=1, allow_nan=False) + "\n")
    out = console()
    for path in written:
        out.print(str(args.output / path), markup=False, highlight=False, soft_wrap=True)
    thresholds = metadata["thresholds"]
    line = f"class {', '.join(names)}"
    if thresholds is not None:
        line += f"; an image is abnormal {thresholds['abnormal']} {thresholds['image']:.4f}"
    out.print(visible(line), markup=False, highlight=False, soft_wrap=True)
    return ExitCode.DONE


def _check(args: argparse.Namespace, formats: list[str]) -> None:
    """Refuse at once what could not be done at the end.

    Raises:
        ValueError: If names or the size make no sense.
        FileExistsError: If the output is there.
        MissingExtraError: If a package is missing.
    """
    if args.class_names is not None and args.class_name is not None:
        raise ValueError("--class-name and --class-names exclude each other: give one name, or several")
    if args.class_names is not None and "torch" in formats:
        raise ValueError("--class-names is not for torch: its export takes names when it is called")
    if args.input_size is not None and min(args.input_size) < 1:
        raise ValueError(f"--input-size is {args.input_size[0]} {args.input_size[1]}; give pixels, at least 1")
    if args.input_size is not None and formats == ["torch"]:
        raise ValueError("--input-size is not for torch: its export takes images of any size")
    if args.output.exists():
        raise FileExistsError(f"{args.output} exists already and is not overwritten; give another name")
    for kind in formats:
        require("export", f"an export for {kind}", *_PACKAGES[kind])


def _export(module: Any, kind: str, folder: Path, args: argparse.Namespace) -> Path:
    """Write one export."""
    if kind == "torch":
        return module.to_torch(folder, class_name=args.class_name)
    size = None if args.input_size is None else tuple(args.input_size)
    write = module.to_onnx if kind == "onnx" else module.to_openvino
    return write(folder, input_size=size, class_name=args.class_name, class_names=args.class_names)

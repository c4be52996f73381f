"""`anomalib-zsad bundle`: a model as a MONAI bundle, which screens volumes as `screen` does."""

import argparse
import sys

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.decision_options import add_decision_options
from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.model_options import (
    add_model_options,
    anomalib_model,
    method_of,
    say_demonstration,
    say_loading,
)
from anomalib_zsad.cli.reading_options import add_reading_options
from anomalib_zsad.cli.screening_options import add_volume_options, screening_options
from anomalib_zsad.outputs.exit_codes import ExitCode

_EPILOG = """\
Written: configs/metadata.json and inference.json, models/model.safetensors
(and the calibration), docs/README.md (the model card), LICENSE.

  anomalib-zsad bundle -o BUNDLE --checkpoint model.ckpt --class-name brain

Run it, with the packages of the extra [bundle]:

  cd BUNDLE
  python -m monai.bundle run --bundle_root . \\
      --config_file configs/inference.json \\
      --meta_file configs/metadata.json --input STUDIES --output OUT
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(parser, "Write a model as a MONAI bundle that screens volumes.", _EPILOG)
    run_options.add_output_folder(parser)
    add_model_options(parser)
    add_volume_options(parser)
    add_decision_options(parser, "volumes")
    add_reading_options(parser, source_names=False)


def run(args: argparse.Namespace) -> int:
    """Write the bundle."""
    if anomalib_model(args.model) is not None:
        raise ValueError(f"{args.model} is one of anomalib's own models, of which no bundle is made: screen takes it")
    if args.checkpoint is None:
        raise ValueError("a bundle is made of a trained model: give --checkpoint")
    options = screening_options(args)
    say_loading(args)
    from anomalib_zsad.scoring.build import build_scorer
    from anomalib_zsad.screening.monai_bundle import write_bundle

    scorer = build_scorer(args.checkpoint, method_of(args), args.model_arguments, args.device, args.class_name)
    say_demonstration(scorer.describe().get("backbone"))
    write_bundle(args.output, scorer, options, args.model_arguments)
    say(
        "run it in the bundle's folder with python -m monai.bundle run, which needs pip install 'anomalib-zsad[bundle]'"
    )
    sys.stdout.write(f"written to {args.output}\n")
    return ExitCode.DONE

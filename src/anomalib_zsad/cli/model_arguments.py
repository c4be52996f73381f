"""Arguments that choose a model, and how it is shown slices, for the commands that score."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add them in a group of their own."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", default="BayesPFL", help="BayesPFL or CoPS (default: BayesPFL)")
    group.add_argument("--checkpoint", type=Path, metavar="FILE", help="the trained model")
    group.add_argument(
        "--allow-untrained",
        action="store_true",
        help="run without --checkpoint, to try the command: scores mean nothing",
    )
    group.add_argument("--class-name", help="what the slices show, for the prompts, such as brain (default: object)")
    add_building_arguments(group)


def add_building_arguments(group: "argparse._ArgumentGroup") -> None:
    """Add to a group what a model is built of, beside its method and checkpoint."""
    group.add_argument("--backbone", help="demo, an open_clip model name, or a JSON configuration")
    group.add_argument("--pretrained", help="open_clip tag or weights file of the backbone")
    group.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1, ...")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="model_arguments",
        help="a further argument of the model, such as num_samples=5; may be repeated",
    )


def add_slicing_arguments(group: "argparse._ArgumentGroup") -> None:
    """Add to a group what decides the scores of a volume's slices."""
    group.add_argument("--plane", choices=["native", "axial", "coronal", "sagittal"], default="native")
    group.add_argument(
        "--window",
        default="auto",
        help="auto, percentile, brain, subdural, liver, lung, bone, mediastinum, or WIDTH/LEVEL such as 80/40",
    )
    group.add_argument(
        "--channels",
        choices=["repeat", "neighbours"],
        default="repeat",
        help="one slice, or with its neighbours (2.5D)",
    )
    group.add_argument("--crop", action="store_true", help="show the model only the box around the body")
    group.add_argument("--top-k", type=int, default=5, help="the volume's score is the mean of this many top slices")
    group.add_argument("--batch-size", type=int, default=8, help="slices scored at a time")
    group.add_argument("--score-blank", action="store_true", help="score constant slices too, instead of skipping them")


def check_paths(args: argparse.Namespace) -> None:
    """Refuse what would fail after the model was built; warn where it is untrained.

    Raises:
        FileNotFoundError: If there is no input.
        ValueError: If there is no checkpoint, and no word that this is meant.
    """
    if not args.input.exists():
        raise FileNotFoundError(f"there is nothing at the input path: {args.input}")
    check_checkpoint(args)


def check_checkpoint(args: argparse.Namespace) -> None:
    """Refuse an untrained model that was not asked for, warn of one that was.

    Raises:
        ValueError: If there is no checkpoint, and no word that this is meant.
    """
    if args.checkpoint is not None:
        return
    if not args.allow_untrained:
        raise ValueError("no --checkpoint was given; an untrained model's scores mean nothing (--allow-untrained)")
    sys.stderr.write("warning: the model is untrained; its scores mean nothing.\n")


def model_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of the model's class.

    Raises:
        ValueError: If one is no KEY=VALUE.
    """
    given = {"backbone": args.backbone, "pretrained": args.pretrained}
    arguments = {key: value for key, value in given.items() if value is not None}
    for pair in args.model_arguments:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--set takes KEY=VALUE, got {pair!r}")
        try:
            arguments[key] = json.loads(value)
        except json.JSONDecodeError:
            arguments[key] = value
    return arguments

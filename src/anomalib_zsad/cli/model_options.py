"""Options that choose a model, of equal names and meaning in every command that scores."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.cli.failures import say
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.scoring.engine_options import EngineOptions
from anomalib_zsad.scoring.tile_options import TileOptions

if TYPE_CHECKING:
    from anomalib_zsad.scoring.model_scorer import ModelScorer

_PREFIX = "--model."
# Arguments of the models that are options of the commands.
_OWN = {
    "checkpoint": "--checkpoint here",
    "class_name": "--class-name here",
    "calibration": "--calibration, in commands that judge scores",
    "false_alarm_rate": "--false-alarm-rate, in commands that judge scores",
}
_OWN_METHODS = ("bayespfl", "cops")  # known without importing what is slow to import
DEFAULT_METHOD = "BayesPFL"
"""The method of an untrained model that was not named."""


def add_model_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add them in a group of their own.

    Args:
        parser: Where to.
        several: Whether several checkpoints can be given.
    """
    group = parser.add_argument_group("model")
    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        nargs="+" if several else None,
        default=[] if several else None,
        help="the trained model, which knows its method, backbone, image size and class name; or a published file"
        + ("; several are averaged over" if several else ""),
    )
    group.add_argument(
        "--model",
        metavar="NAME",
        help="BayesPFL, CoPS, another of anomalib's models (WinClip, Patchcore, ...), or a class path "
        f"(default: the checkpoint's; {DEFAULT_METHOD} without one)",
    )
    group.add_argument("--class-name", help="what is shown, for the prompts, such as brain (default: the checkpoint's)")
    group.add_argument(
        "--allow-untrained",
        action="store_true",
        help="run without --checkpoint, to try the command: scores mean nothing",
    )
    group.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda, cuda:1, ...")
    group.add_argument(
        "--model.KEY",
        metavar="VALUE",
        dest="shown_only",
        help="a further argument of the model, as in anomalib's own commands, such as --model.num_samples 5",
    )


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add those that say how answers are computed, in a group of their own."""
    helps = {
        "engine": "what runs the model: torch, or on the CPU an export of it that is made once and kept",
        "precision": "in what is computed; int8 with openvino, bfloat16 with torch and openvino",
        "int8_images": "folder of normal pictures that the scales of int8 are chosen by",
        "engine_cache": "where models made for engines are kept (default: in the user's cache folder)",
    }
    add_options(parser.add_argument_group("engine"), EngineOptions, helps)


def engine_options(args: argparse.Namespace) -> EngineOptions:
    """Which engine computes, and how.

    Raises:
        ValueError: If engine and precision do not go together.
    """
    return fill(EngineOptions, args)


def add_tile_options(parser: argparse.ArgumentParser) -> None:
    """Add those that say how large pictures are taken apart, in a group of their own."""
    helps = {
        "tiles": "score pictures by overlapping square windows of so many pixels; a picture has the score of its most "
        "abnormal window (default: the whole picture at once)",
        "tile_overlap": "share of a window that it has in common with the next",
    }
    add_options(parser.add_argument_group("large pictures"), TileOptions, helps)


def tile_options(args: argparse.Namespace) -> TileOptions:
    """How pictures are taken apart; as many windows are scored at a time as the command scores of images.

    Raises:
        ValueError: If something makes no sense, or would do nothing.
    """
    if args.tiles is None and args.tile_overlap != TileOptions().tile_overlap:
        raise ValueError("--tile-overlap needs --tiles, the side of a window in pixels")
    return fill(TileOptions, args, tile_batch=args.batch_size)


def take_model_arguments(given: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Take `--model.KEY VALUE` and `--model.KEY=VALUE` out of a command line.

    Returns:
        What is left, and the model's arguments; values are JSON where they can be, else text.

    Raises:
        SystemExit: If a value is missing, or the argument is an option of its own.
    """
    left: list[str] = []
    arguments: dict[str, Any] = {}
    words = iter(given)
    for word in words:
        if not word.startswith(_PREFIX):
            left.append(word)
            continue
        key, equals, value = word.removeprefix(_PREFIX).partition("=")
        text = value if equals else next(words, "--")
        if not key.isidentifier() or (not equals and text.startswith("--")):
            _usage(f"{_PREFIX}{key} needs a value, as in {_PREFIX}num_samples 5")
        if key in _OWN:
            _usage(f"{_PREFIX}{key} is {_OWN[key]}")
        arguments[key] = _parsed(text)
    return left, arguments


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _usage(message: str) -> None:
    say(f"error: {message}")
    raise SystemExit(ExitCode.USAGE)


def check_trained(args: argparse.Namespace) -> None:
    """Refuse an untrained model that was not asked for, warn of one that was; refuse an empty class name.

    Raises:
        ValueError: If there is no checkpoint, and no word that this is meant.
    """
    if args.class_name is not None and not args.class_name.strip():
        raise ValueError("--class-name is empty; say what is shown, such as brain, or leave it out")
    if args.checkpoint or anomalib_model(args.model) is not None:
        return  # what needs training and has none is told when it is built
    if not args.allow_untrained:
        raise ValueError("no --checkpoint was given; an untrained model's scores mean nothing (--allow-untrained)")
    say("warning: the model is untrained; its scores mean nothing")


def anomalib_model(name: str | None) -> str | None:
    """Name of the class, where a model that was named is one of anomalib's own or built like them; else `None`."""
    if name is None or name.lower().replace("_", "") in _OWN_METHODS:
        return None
    from anomalib_zsad.scoring.anomalib_classes import anomalib_class

    found = anomalib_class(name)
    return None if found is None else found.__name__


def has_own_scale(name: str | None) -> bool:
    """Whether the scores of a model that was named are not known to be in [0, 1]."""
    found = anomalib_model(name)
    if found is None:
        return False
    from anomalib_zsad.scoring.anomalib_classes import UNIT_SCORES

    return found not in UNIT_SCORES


def say_loading(args: argparse.Namespace) -> None:
    """Tell at once that the model is being loaded, before anything heavy is imported."""
    given = args.checkpoint if isinstance(args.checkpoint, list) else [args.checkpoint]
    names = [path.name for path in given if path is not None]
    engine = getattr(args, "engine", "torch")
    wait = "" if engine == "torch" else f" for {engine} (the first time it is made, which takes a minute or so)"
    say(f"loading model {', '.join(names) or args.model or DEFAULT_METHOD}{wait} ...")


def method_of(args: argparse.Namespace) -> str | None:
    """The method that was named; that of an untrained model, which no checkpoint tells."""
    return args.model or (None if args.checkpoint else DEFAULT_METHOD)


def load_scorer(args: argparse.Namespace, *, only_scores: bool = True, class_name: str | None = None) -> "ModelScorer":
    """The model that was asked for, on its engine, and by tiles where the command has them.

    Args:
        args: The command line.
        only_scores: See `build_scorer`.
        class_name: What is to be scored, where the input says it; `None` for what the command line says.

    Raises:
        ValueError: If it cannot be built.
        FileNotFoundError: If its files are missing.
    """
    from anomalib_zsad.scoring.build import build_scorer

    how = engine_options(args), tile_options(args) if "tiles" in args else TileOptions()
    which = args.checkpoint, method_of(args), args.model_arguments
    scorer = build_scorer(*which, args.device, class_name or args.class_name, *how, only_scores)
    say_model(scorer.describe())
    return scorer


def say_model(described: Mapping[str, Any]) -> None:
    """Say what must be known of a model: a demonstration's backbone, how far int8 is from float32."""
    say_demonstration(described.get("backbone"))
    told = described.get("int8")
    if told is None:
        return
    windows = f"{told['windows']} windows of " if "windows" in told else ""
    say(
        f"int8: on {windows}the {told['pictures']} pictures given, scores are within "
        f"{told['score_largest_difference']:.4f} of float32 (mean {told['score_mean_difference']:.4f}) and maps within "
        f"{told['map_largest_difference']:.3f} (mean {told['map_mean_difference']:.4f})"
    )
    if not told["within_what_is_allowed"]:
        say(f"warning: that is more than accuracy control allows ({told['largest_mean_difference_allowed']:g})")


def say_demonstration(backbone: Any) -> None:
    """Say it where the answers come from the embedded backbone."""
    from anomalib_zsad.scoring.demonstration import demonstration_notice

    notice = demonstration_notice({"backbone": backbone})
    if notice:
        say(notice)

"""Options that say how many workers a command has, and what starts them."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.model_options import engine_options, method_of
from anomalib_zsad.scoring.engine_options import PLAIN, EngineOptions
from anomalib_zsad.scoring.tile_options import WHOLE
from anomalib_zsad.units.worker_count import Machine, Share, share

if TYPE_CHECKING:
    from anomalib_zsad.outputs.exit_codes import ExitCode
    from anomalib_zsad.records.run_summary import RunEntry
    from anomalib_zsad.scoring.scores import SliceScorer
    from anomalib_zsad.screening.options import ScreeningOptions
    from anomalib_zsad.units.crew import Crew, Ready


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """Add them in a group of their own."""
    group = parser.add_argument_group("workers")
    group.add_argument(
        "--devices",
        type=_count,
        metavar="N",
        help="worker processes, each with a model of its own: on a GPU each, or on a share of the CPU's cores; auto "
        "for as many as pay, which is said (default: 1, and auto with Ray)",
    )
    group.add_argument(
        "--executor",
        choices=["local", "ray"],
        default="local",
        help="what starts them: this command, or Ray, which needs the extra `ray` (default: local)",
    )
    group.add_argument("--ray-address", metavar="ADDRESS", help="of a Ray cluster (default: this machine alone)")


def _count(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number from 1 on")
    return int(text)


def has_workers(args: argparse.Namespace) -> bool:
    """Whether workers were asked for, and not this process alone.

    Raises:
        ValueError: If an address is given without Ray.
    """
    if args.ray_address is not None and args.executor != "ray":
        raise ValueError("--ray-address needs --executor ray")
    return args.executor == "ray" or args.devices not in (None, 1)


@dataclass(frozen=True)
class Build:
    """Builds the model of a command line, in a worker.

    Attributes:
        checkpoint: Its checkpoint.
        method: Name of the method.
        arguments: Of the model.
        class_name: What is shown.
        engine: What runs it.
    """

    checkpoint: Path | None
    method: str | None
    arguments: Mapping[str, Any] = field(hash=False)
    class_name: str | None = None
    engine: EngineOptions = PLAIN

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Build":
        """From options."""
        checkpoint = None if args.checkpoint is None else args.checkpoint.absolute()
        engine = engine_options(args)
        images, cache = (
            None if place is None else place.absolute() for place in (engine.int8_images, engine.engine_cache)
        )
        engine = replace(engine, int8_images=images, engine_cache=cache)
        return cls(checkpoint, method_of(args), args.model_arguments, args.class_name, engine)

    def __call__(self, device: str) -> "SliceScorer":
        """The model on a device."""
        from anomalib_zsad.cli import quieten
        from anomalib_zsad.outputs.quiet_pydicom import silence_pydicom
        from anomalib_zsad.scoring.build import build_scorer

        silence_pydicom()
        quieten()
        which = self.checkpoint, self.method, dict(self.arguments)
        return build_scorer(*which, device, self.class_name, self.engine, WHOLE, True)


def screen_by_workers(
    args: argparse.Namespace, options: "ScreeningOptions"
) -> "tuple[ExitCode, list[RunEntry], Mapping[str, Any]]":
    """Screen by the workers that were asked for.

    Returns:
        What `screen` returns, and what the model says of itself.

    Raises:
        ValueError: If there are not as many devices, Ray is missing, or the model cannot be built.
    """
    from anomalib_zsad.screening.screen import screen_by_crew

    if not args.verbose:  # as `quieten`, from the start of a worker on
        os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning,ignore::DeprecationWarning")
    crew, shares = (_ray if args.executor == "ray" else _local)(args, options)
    described: dict[str, Any] = {}

    def share_out(first: "Ready") -> Share:
        described.update(first.description)
        found = shares(first)
        say(found.reason)
        return found

    code, entries = screen_by_crew(args.input.absolute(), args.output.absolute(), crew, options, share_out)
    return code, entries, described


def _asked(args: argparse.Namespace) -> int | None:
    return args.devices if isinstance(args.devices, int) else None


def _start(args: argparse.Namespace, options: "ScreeningOptions", devices: tuple[str, ...]) -> Any:
    from anomalib_zsad.screening.workers import StartSeriesWorker

    return StartSeriesWorker(Build.of(args), devices, args.output.absolute(), options)


def _local(args: argparse.Namespace, options: "ScreeningOptions") -> "tuple[Crew, Any]":
    """Processes of this machine."""
    from anomalib_zsad.units.local_crew import LocalCrew

    gpus, asked = _gpus(args.device), _asked(args)
    if not gpus:
        crew = LocalCrew(_start(args, options, (args.device,)))
        return crew, lambda first: share(Machine.here(), first.memory, asked)
    if asked is not None and asked > gpus:
        raise ValueError(
            f"--devices {asked}: there {'is' if gpus == 1 else 'are'} {gpus} CUDA device{'s' * (gpus > 1)}"
        )
    count = asked or gpus
    threads = max(1, Machine.here().cores // count)
    reason = f"{count} worker{'s' * (count > 1)}, a GPU each, with {threads} CPU thread{'s' * (threads > 1)}"
    crew = LocalCrew(_start(args, options, tuple(f"cuda:{number}" for number in range(count))))
    return crew, lambda _: Share(count, threads, reason)


def _gpus(device: str) -> int:
    """How many GPUs may be used; 0 for the CPU.

    Raises:
        ValueError: If one GPU is named, where several workers are asked for.
    """
    import torch

    if device.startswith("cuda:"):
        raise ValueError(f"--device {device} names one device; give --device cuda with --devices")
    if device not in ("auto", "cuda"):
        return 0
    found = torch.cuda.device_count()
    if device == "cuda" and not found:
        raise ValueError("no CUDA device is available; give --device cpu or auto")
    return found


def _ray(args: argparse.Namespace, options: "ScreeningOptions") -> "tuple[Crew, Any]":
    """Ray's actors."""
    from anomalib_zsad.units.ray_crew import RayCrew, import_ray

    import_ray()
    say(f"connecting to Ray at {args.ray_address} ..." if args.ray_address else "starting Ray on this machine ...")
    crew = RayCrew(args.ray_address)
    gpus = crew.resources("GPU") if args.device in ("auto", "cuda") else 0
    device = "cuda" if gpus else "cpu" if args.device == "auto" else args.device
    crew.staff(_start(args, options, (device,)), gpus=1 if gpus else 0)
    there = gpus or crew.resources("CPU")
    kind = "GPU" if gpus else "core"

    def shares(first: "Ready") -> Share:
        found = share(Machine.here(), first.memory, _asked(args)).workers if args.ray_address is None else there
        count = _asked(args) or (gpus or found)
        if count > there and args.ray_address is None:
            raise ValueError(
                f"--devices {count} is more than Ray has on this machine: {there} {kind}{'s' * (there > 1)}"
            )
        where = args.ray_address or "this machine"
        reason = f"{count} worker{'s' * (count > 1)} of Ray, a {kind} each; Ray has {there} at {where}"
        return Share(count, 1, reason)

    return crew, shares

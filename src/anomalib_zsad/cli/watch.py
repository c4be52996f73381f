"""`anomalib-zsad watch`: answer every picture that arrives in a folder, once, until told to stop."""

import argparse
import os
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.cli.decision_options import add_decision_options, decision_rule
from anomalib_zsad.cli.drift_options import add_drift_options, drift_options
from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.image_options import add_image_options, image_reading
from anomalib_zsad.cli.model_options import add_engine_options, add_model_options, add_tile_options
from anomalib_zsad.cli.station_options import check_model, load_image_scorer, log_to_standard_error
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.station.options import WatchOptions

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from anomalib_zsad.station.mqtt import Broker
    from anomalib_zsad.station.watch import Station

_EPILOG = """\
A file counts as whole once its size and time stay the same over a few looks.
Each is answered once, also after a kill: the same command goes on where it was.
A file that takes the place of another of the same name is a new picture.

Written to the output folder: results/DAY.jsonl and DAY.csv (days are UTC),
overlays/DAY/NUMBER.jpg, status.json, and the journal that they follow from.

  anomalib-zsad watch -i LINE3 -o station --checkpoint model.ckpt \\
      --class-name washer --calibration washer.json
"""
USER, PASSWORD = "ANOMALIB_ZSAD_MQTT_USER", "ANOMALIB_ZSAD_MQTT_PASSWORD"
"""Environment variables with the user of an MQTT broker."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(parser, "Answer every picture that arrives in a folder. The folder is only read.", _EPILOG)
    run_options.add_input(parser, "the folder, watched to any depth")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="the station's own folder, outside the input: a new or empty one, or that of this station",
    )
    add_model_options(parser)
    add_engine_options(parser)
    add_tile_options(parser)
    add_options(
        parser.add_argument_group("watching"),
        WatchOptions,
        {
            "poll_seconds": "time between two looks at the folder",
            "stable_polls": "so many looks in a row, after the first, must find a file the same before it is read",
            "batch_size": "images, or tiles, scored at a time",
            "overlays": "which pictures get a copy with the map over it",
            "keep_days": "remove overlays after so many days; 0 keeps them",
            "skip_existing": "leave out what lies in the folder at the very first start",
        },
    )
    add_image_options(parser)
    add_decision_options(parser, "images")
    add_options(
        add_drift_options(parser),
        WatchOptions,
        {"restart_drift": "forget what was found of drift, and begin a new test"},
    )
    parser.add_argument_group("messages").add_argument(
        "--mqtt",
        metavar="URL",
        help="publish answers to a broker, mqtt://host:1883/topic or mqtts://; needs the extra `mqtt`; a user is given "
        f"in {USER} and {PASSWORD}",
    )


def run(args: argparse.Namespace) -> int:
    """Work until told to stop."""
    run_options.check_input(args.input)
    if not args.input.is_dir():
        raise NotADirectoryError(f"{args.input} is no folder to watch; `anomalib-zsad inspect` scores a single image")
    check_model(args)
    rule, drift = decision_rule(args, "images"), drift_options(args)
    options = fill(WatchOptions, args, rule=rule, drift=drift, reading=image_reading(args))
    broker = _broker(args)
    scorer = load_image_scorer(args)
    from anomalib_zsad.station.watch import Station

    log_to_standard_error()
    station = Station(args.input, args.output, scorer, options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: station.stop())
    with station:
        say(f"watching {args.input}; {rule.statement}")
        with _publisher(broker, station):
            station.run()
    say(f"stopped; {station.counts['answered']} picture(s) answered")
    return ExitCode.DONE


def _publisher(broker: "Broker | None", station: "Station") -> "AbstractContextManager[object]":
    """What publishes answers; without a broker none wait for one."""
    if broker is None:
        station.publish_no_more()
        return nullcontext()
    from anomalib_zsad.station.mqtt import Publisher

    publisher = Publisher(broker, station.journal)
    station.on_entries = publisher.news
    return publisher


def _broker(args: argparse.Namespace) -> "Broker | None":
    """Where messages go; `None` for nowhere.

    Raises:
        ValueError: If the address is none, or what it needs is not installed.
    """
    if args.mqtt is None:
        return None
    from anomalib_zsad.station.mqtt import parse_broker

    return parse_broker(args.mqtt, os.environ.get(USER, ""), os.environ.get(PASSWORD, ""))

"""`anomalib-zsad pull`: find series in a PACS, fetch and screen them one by one, and send the results back."""

import argparse
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.cli.decision_options import add_decision_options
from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.model_options import (
    add_engine_options,
    add_model_options,
    check_trained,
    engine_options,
    load_scorer,
    say_loading,
)
from anomalib_zsad.cli.network_options import Connections, add_network_options
from anomalib_zsad.cli.reading_options import add_reading_options
from anomalib_zsad.cli.screening_options import add_volume_options, print_summary, screening_options
from anomalib_zsad.network.errors import NetworkError
from anomalib_zsad.network.series import FoundSeries, SeriesQuery
from anomalib_zsad.network.sources import RECEIVE_AT, Source, parse_source
from anomalib_zsad.network.targets import Target, parse_target
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.terminal import console, plain_table, visible

if TYPE_CHECKING:
    from anomalib_zsad.cli.pull_run import PullRun

_EPILOG = """\
Series are asked for by QIDO or C-FIND, fetched one by one by WADO, C-GET or
C-MOVE into the output folder, screened as `screen` does, and removed there. The
DICOM results (*.dcm) are sent to every --send-to. Originals stay untouched.

  anomalib-zsad pull --from http://localhost:8042/dicom-web \\
      --study-date 20260101- --series-modality MR -o OUT \\
      --checkpoint model.ckpt --send-to http://localhost:8042/dicom-web

With --resume, in the same folder: series that are done are not fetched again,
what could not be sent is sent, and new series are taken up. For research use
only. Needs: pip install "anomalib-zsad[node]"
"""
# What holds no images of a patient: reports, markings, plans and documents, among them those that we send.
_NO_IMAGES = frozenset(
    (
        "SEG",
        "SR",
        "PR",
        "KO",
        "RTSTRUCT",
        "RTPLAN",
        "RTRECORD",
        "RTDOSE",
        "REG",
        "DOC",
        "AU",
        "ECG",
        "FID",
        "RWV",
        "SMR",
        "PLAN",
    )
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(parser, "Find series in a PACS, screen them and send the results back.", _EPILOG)
    source = parser.add_argument_group("source")
    source.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="SOURCE",
        help="AETITLE@host:port (C-FIND and C-GET or C-MOVE), or http(s)://host/dicom-web (QIDO and WADO)",
    )
    add_options(
        source,
        SeriesQuery,
        {
            "patient_id": "* and ? stand for other characters",
            "study_date": "YYYYMMDD, or a range such as 20260101-20260131 or 20260101-",
            "modalities": "codes such as CT MR",
            "description": "the series' description, in any case; * and ? stand for other characters",
            "study_uid": "Study Instance UID",
            "series_uid": "Series Instance UID",
            "limit": "at most so many series",
        },
        modalities=("--series-modality",),
        description=("--series-description",),
    )
    source.add_argument(
        "--retrieve",
        choices=["get", "move"],
        default="get",
        help="from an AE title by C-GET, or by C-MOVE to a receiver of our own (default: %(default)s)",
    )
    source.add_argument(
        "--receive-at",
        default=RECEIVE_AT,
        metavar="HOST:PORT",
        help="where that receiver listens; the source must know --ae-title under it (default: %(default)s)",
    )
    source.add_argument(
        "--max-series-gib",
        type=float,
        default=4.0,
        metavar="GIB",
        help="largest series to fetch (default: %(default)g)",
    )
    run_options.add_output_folder(parser, required=False)
    add_network_options(parser)
    add_model_options(parser)
    add_engine_options(parser)
    add_volume_options(parser)
    add_decision_options(parser, "volumes")
    group = run_options.add_run_options(parser)
    group.add_argument("--dry-run", action="store_true", help="list what would be screened, and do nothing else")
    group.add_argument(
        "--show-identifiers", action="store_true", help="with --dry-run, show patient ID, date, description and UIDs"
    )
    group.add_argument("--keep-images", action="store_true", help="leave fetched images in the folder images")
    add_reading_options(parser, source_names=False, nifti=False)


def run(args: argparse.Namespace) -> int:
    """Pull, print a summary, and tell by the exit code how it went."""
    query = fill(SeriesQuery, args)
    if query.asks_for_all:
        raise ValueError("say which series, such as --study-date 20260101- or --series-modality MR; or give a --limit")
    if not 0 < args.max_series_gib < math.inf:
        raise ValueError(f"--max-series-gib must be a number above 0, got {args.max_series_gib}")
    connections = Connections(args)
    source = parse_source(
        args.source, connections.options(args.source), retrieve_by=args.retrieve, receive_at=args.receive_at
    )
    targets = {target.name: target for target in _targets(args.send_to, connections)}
    options = None if args.dry_run else screening_options(args)
    if options is not None:
        if args.output is None:
            raise ValueError("no -o was given, the folder that results are written to")
        if targets and set(options.volume.output_types) == {"nifti"}:
            raise ValueError("--send-to sends DICOM results, and --output-type asks for none; add dicom_seg")
        check_trained(args)
    engine_options(args)  # what makes no sense is told at once
    found = _query(source, query)
    if found is None:
        return ExitCode.USAGE
    if not found and not args.resume:
        say(f"error: {source.name} has no images that meet the criteria")
        return ExitCode.NOTHING_FOUND
    if options is None:
        _print_found(found, identifiers=args.show_identifiers)
        return ExitCode.DONE
    say_loading(args)
    from anomalib_zsad.cli.pull_run import PullRun

    scorer = load_scorer(args)
    budget = int(args.max_series_gib * 2**30)
    pulling = PullRun(args.output, source, list(targets.values()), scorer, options, budget, args.keep_images)
    code, entries = pulling.run(found)
    print_summary(args.output, entries, code, options.rule)
    _print_sent(pulling)
    return code


def _targets(given: Sequence[str], connections: Connections) -> list[Target]:
    return [parse_target(text, connections.options(text)) for text in given]


def _query(source: Source, query: SeriesQuery) -> list[FoundSeries] | None:
    """The series with images; `None` if the source did not answer, which is said."""
    try:
        found = source.query(query)
    except NetworkError as error:
        say(f"error: {error}" + "; try again later" * error.retry)
        return None
    images = [series for series in found if _to_screen(series, query)]
    if len(images) < len(found):
        left_out = len(found) - len(images)
        say(f"{left_out} series hold no images of a patient (SEG, SR, results of screening) and are left out")
    return images


def _to_screen(series: FoundSeries, query: SeriesQuery) -> bool:
    from anomalib_zsad.volumes.writing.derived_object import MARK

    if MARK in series.description.casefold():
        return False  # a map or capture that was sent there: its description says so
    return bool(query.modalities) or series.modality not in _NO_IMAGES


def _print_found(found: Sequence[FoundSeries], *, identifiers: bool) -> None:
    from rich.text import Text

    from anomalib_zsad.volumes.reading.discovery import pseudonym

    out = console()
    shown = ("patient ID", "date", "description", "Series Instance UID") if identifiers else ()
    table = plain_table("series", "study", "modality", "images", *shown, whole=["series", "study"], numbers=["images"])
    for series in found:
        names = [pseudonym("series", series.series_uid), pseudonym("study", series.study_uid)]
        cells = [*names, series.modality, "" if series.images is None else str(series.images)]
        more = [series.patient_id, series.study_date, series.description, series.series_uid]
        table.add_row(*(Text(visible(cell)) for cell in [*cells, *(more if identifiers else ())]))
    out.print(table)
    out.print(f"{len(found)} series would be screened; nothing was fetched or written", highlight=False)


def _print_sent(pulling: "PullRun") -> None:
    if pulling.unsent:
        say(
            f"results of {len(pulling.unsent)} series were not sent to every target; the same command with --resume "
            "sends them"
        )

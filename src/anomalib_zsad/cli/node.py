"""`anomalib-zsad node`: a DICOM node that screens what arrives and sends what it found."""

import argparse
import importlib.util
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.network_options import Connections, add_network_options
from anomalib_zsad.network.addresses import is_loopback
from anomalib_zsad.node.options import ReceivingOptions, StatusOptions, WorkingOptions
from anomalib_zsad.outputs.exit_codes import ExitCode

_EPILOG = """\
Instances are acknowledged once they are durably stored. A study is complete
when nothing of it has arrived for a while; rules (configs/node.yaml is an
example with every key) choose series, model and settings; results go to the
targets, and what cannot be sent is tried again.

  anomalib-zsad node -o NODE --rules node.yaml --send-to PACS@127.0.0.1:4242 \\
      --callers CT1 --status-port 8080

Killed at any moment, the same command goes on where it was. The node's folder
holds images of patients: it is readable for its owner alone. For research use
only: studies are flagged, never removed or put in another order.
"""
TOKEN = "ANOMALIB_ZSAD_TOKEN"  # noqa: S105
"""Environment variable with the token of the status page."""

_PACKAGES = ("pynetdicom", "fastapi", "uvicorn", "prometheus_client", "jinja2", "yaml")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(
        parser, "Receive DICOM studies, screen them by rules, and send the results to targets.", _EPILOG
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="the node's own folder: queue, received instances, results; a new or empty one, or that of this node",
    )
    parser.add_argument(
        "--rules", type=Path, required=True, metavar="FILE", help="YAML file: what is screened, and how"
    )
    _add_groups(parser)
    add_network_options(parser)


def _add_groups(parser: argparse.ArgumentParser) -> None:
    """Options that are fields of the node's own."""
    add_options(
        parser.add_argument_group("receiving"),
        ReceivingOptions,
        {
            "host": "address to listen on",
            "port": "port to listen on",
            "callers": "calling AE titles that are accepted (default: all)",
            "networks": "addresses or networks that are accepted (default: all)",
            "certificate": "certificate (PEM), for TLS",
            "key": "its key (PEM)",
            "client_ca": "authorities (PEM) of the clients that are accepted; clients then need a certificate",
            "max_associations": "most associations at a time",
            "max_instance_mib": "largest instance, in MiB",
            "max_rate_mib": "most MiB taken in a second; 0 for no limit",
            "reserve_mib": "MiB of the disk that stay free: beyond, instances are refused with status A700",
            "network_timeout": "seconds of silence that end an association",
        },
    )
    add_options(
        parser.add_argument_group("working"),
        WorkingOptions,
        {
            "quiet_seconds": "a study is complete when nothing of it has arrived for so long",
            "retry_seconds": "first delay after a failure; it doubles with each further one",
            "longest_retry_seconds": "longest delay",
            "delete_after_success": "remove received instances once everything of their study is screened and sent",
        },
    )
    add_options(
        parser.add_argument_group("status page"),
        StatusOptions,
        {
            "status_host": f"address of the page; beyond this machine only with a token in {TOKEN}",
            "status_port": "port of the page (default: no page)",
            "show_identifiers": "show patient ID, name, accession number, date and description on the page",
        },
    )


def run(args: argparse.Namespace) -> int:
    """Work until told to stop."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"{', '.join(missing)} not installed; the node needs: pip install 'anomalib-zsad[node]'")
    receiving, working = fill(ReceivingOptions, args, title=args.calling_title), fill(WorkingOptions, args)
    status = fill(StatusOptions, args)
    say("starting the node ...")
    from anomalib_zsad.network.targets import parse_target
    from anomalib_zsad.node.node import Node
    from anomalib_zsad.node.rules import load_rules

    connections = Connections(args)
    targets = [parse_target(text, connections.options(text)) for text in args.send_to]
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        raise ValueError("a target is given twice")
    rules = load_rules(args.rules)
    if not (is_loopback(receiving.host) or receiving.callers or receiving.networks or receiving.client_ca):
        say("warning: every machine that reaches the node may send to it; give --callers, --networks or --client-ca")
    _log()
    node = Node(args.output, rules, targets, receiving, working, status, os.environ.get(TOKEN, ""))
    signal.signal(signal.SIGTERM, lambda *_: node.stop())
    with node:
        say(f"{receiving.title} listens on {receiving.host}:{node.receiver.port}")
        if node.page is not None:
            say(f"status page: http://{status.status_host}:{node.page.port}/")
        with suppress(KeyboardInterrupt):
            node.wait()
        say("stopping: what is under way is finished ...")
    return ExitCode.DONE


def _log() -> None:
    """The node's own log on standard error; it holds pseudonyms only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("anomalib_zsad.node")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False

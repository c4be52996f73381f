"""`anomalib-zsad serve`: answer pictures that are sent over HTTP, until told to stop."""

import argparse
import os
import signal
import threading

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.cli.decision_options import add_decision_options, decision_rule
from anomalib_zsad.cli.drift_options import add_drift_options, drift_options
from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.model_options import add_engine_options, add_model_options, add_tile_options
from anomalib_zsad.cli.station_options import check_model, load_image_scorer, log_to_standard_error
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.extras import require
from anomalib_zsad.station.options import ServeOptions

_EPILOG = """\
POST /score  a picture, as the body or as the one file of a form; the answer is
             JSON: score, p-value, decision, peak, drift. ?map=png or npy: and
             the map, in base 64
POST /map    the same, and the answer is the map; ?format=png or npy
GET  /drift, /metrics (Prometheus), /healthz, / (model, thresholds, limits)

  anomalib-zsad serve --checkpoint model.ckpt --class-name washer \\
      --calibration washer.json
  curl --data-binary @part.png http://127.0.0.1:8000/score

Beyond this machine (--http-host) visitors need the token that is set in
ANOMALIB_ZSAD_TOKEN: Authorization: Bearer TOKEN. No names of files are kept.
"""
_PACKAGES = ("fastapi", "uvicorn", "prometheus_client")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(parser, "Answer pictures that are sent over HTTP, until told to stop.", _EPILOG)
    add_model_options(parser)
    add_engine_options(parser)
    add_tile_options(parser)
    add_options(
        parser.add_argument_group("service"),
        ServeOptions,
        {
            "http_host": "address to listen on; beyond this machine only with a token in ANOMALIB_ZSAD_TOKEN",
            "http_port": "port to listen on; 0 for any that is free",
            "certificate": "certificate (PEM), for TLS",
            "key": "its key (PEM)",
            "batch_size": "images, or tiles, scored at a time",
            "max_pixels": "most pixels of an image; a larger one is unreadable",
            "max_mib": "largest request, in MiB",
            "max_waiting": "most requests at work at a time; further ones get status 503",
            "max_waiting_mib": "most MiB of requests at work at a time, and of decoded pictures that wait",
            "timeout_seconds": "how long a request may take",
        },
    )
    add_decision_options(parser, "images")
    add_drift_options(parser)


def run(args: argparse.Namespace) -> int:
    """Work until told to stop."""
    require("node", "serve", *_PACKAGES)
    check_model(args)
    options = fill(ServeOptions, args, rule=decision_rule(args, "images"), drift=drift_options(args))
    from anomalib_zsad.network.web_server import TOKEN, Guard, WebServer
    from anomalib_zsad.station.service_app import OPEN, service_app

    guard = Guard.for_host(options.http_host, os.environ.get(TOKEN, ""), "--http-host", OPEN)
    scorer = load_image_scorer(args)
    from anomalib_zsad.station.service import Service

    log_to_standard_error()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Service(scorer, options) as service:
        server = WebServer(
            service_app(service, guard),
            options.http_host,
            options.http_port,
            certificate=options.certificate,
            key=options.key,
            most_connections=4 * options.max_waiting,
        )
        server.start()
        scheme, host = "https" if options.certificate else "http", options.http_host
        place = f"[{host}]" if ":" in host else host
        say(f"serving at {scheme}://{place}:{server.port}; {options.rule.statement}")
        while not stop.wait(1):
            pass
        say("stopping: what is under way is answered ...")
        server.stop()
    return ExitCode.DONE

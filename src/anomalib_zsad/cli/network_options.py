"""Options that say how other machines are connected to, of equal names and meaning in every command."""

import argparse
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.network.addresses import ConnectionOptions, TlsFiles

_SEND_TO = "where the DICOM results go: AETITLE@host:port, http(s)://host/dicom-web, or a folder; can be repeated"


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add them in a group of their own."""
    group = parser.add_argument_group("network")
    group.add_argument("--send-to", action="append", default=[], metavar="TARGET", help=_SEND_TO)
    add_options(
        group,
        ConnectionOptions,
        {
            "calling_title": "our AE title, which the other side may have to know",
            "connect_seconds": "how long to wait for a connection",
            "answer_seconds": "how long to wait for each answer",
        },
        calling_title=("--ae-title",),
    )
    group.add_argument(
        "--token-variable",
        action="append",
        default=[],
        metavar="HOST=NAME",
        help="the environment variable NAME holds the bearer token for the DICOMweb server HOST (or HOST:PORT); it is "
        "sent there only, and over https only, or http to this machine; can be repeated",
    )
    files = {
        "authority": "certificates (PEM) to check servers by; with any of these three, DICOM associations use TLS",
        "certificate": "our own certificate, for servers that ask for it",
        "key": "its private key, where it is in another file",
    }
    for name, text in files.items():
        group.add_argument(f"--tls-{name}", type=Path, metavar="FILE", help=text)


class Connections:
    """How each machine is connected to, from the options of a command.

    Args:
        args: What was parsed.

    Raises:
        ValueError: If something makes no sense.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        files = {name: getattr(args, f"tls_{name}") for name in ("authority", "certificate", "key")}
        given = any(path is not None for path in files.values())
        self._options = fill(ConnectionOptions, args, tls=TlsFiles(**files) if given else None, token_variable=None)
        self._variables = dict(_host_and_variable(text) for text in args.token_variable)

    def options(self, address: str) -> ConnectionOptions:
        """For a source or target, as the user wrote it: a token goes to the host alone that it is for."""
        if "://" not in address:
            return self._options
        where = urlsplit(address).netloc.rpartition("@")[2].lower()
        variable = self._variables.get(where) or self._variables.get(re.sub(r":\d*$", "", where))
        return replace(self._options, token_variable=variable)


def _host_and_variable(text: str) -> tuple[str, str]:
    host, _, name = text.rpartition("=")
    if not host or "/" in host or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # The text itself is not repeated: who misread this may have put the token into it.
        raise ValueError("--token-variable takes HOST=NAME, the name of an environment variable, never a token itself")
    return host.lower(), name

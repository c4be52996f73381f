"""Addresses of DICOM applications and DICOMweb servers, as a user writes them, and how they are connected to."""

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

FORMS = "AETITLE@host:port, http(s)://host/dicom-web"
_ENTITY = re.compile(r"(?P<title>[^@]*)@(?P<host>\[[0-9A-Fa-f:.%]+\]|[^@:/\s\[\]]+):(?P<port>\d{1,5})")
# PS3.5, the value representation AE: no backslash, no control characters, not spaces alone.
_TITLE = re.compile(r"(?! *$)[ -\[\]-~]{1,16}")


@dataclass(frozen=True)
class TlsFiles:
    """Certificates for encrypted connections, all in PEM.

    Attributes:
        authority: Certificates that the other side's must be signed by; `None` for the system's.
        certificate: Our own, for servers that ask for it.
        key: The private key of `certificate`; `None` where both are in one file.
    """

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise ValueError(f"the private key {self.key} needs the certificate that belongs to it")
        for path in (self.authority, self.certificate, self.key):
            if path is not None and not path.is_file():
                raise ValueError(f"there is no certificate file {path}")

    def context(self) -> ssl.SSLContext:
        """What checks a server's certificate and host name.

        Raises:
            ValueError: If a file holds no certificate or key, or key and certificate do not belong together.
        """
        return self._context(ssl.Purpose.SERVER_AUTH)

    def server_context(self) -> ssl.SSLContext:
        """What a server of ours shows its clients; with an authority, clients need a certificate that it signed.

        Raises:
            ValueError: If there is no certificate, or a file is not what it should be.
        """
        if self.certificate is None:
            raise ValueError("whoever receives over TLS needs a certificate of their own (--tls-certificate)")
        context = self._context(ssl.Purpose.CLIENT_AUTH)
        if self.authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(purpose, cafile=self.authority)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except ssl.SSLError as error:
            names = ", ".join(str(path) for path in (self.authority, self.certificate, self.key) if path is not None)
            raise ValueError(f"{names}: no PEM certificates, or a key of another one ({error.reason})") from error
        return context


@dataclass(frozen=True)
class ConnectionOptions:
    """How another machine is connected to.

    Attributes:
        calling_title: Our AE title, which the other side may have to know.
        connect_seconds: How long to wait for a connection and for an association.
        answer_seconds: How long to wait for each answer.
        tls: Certificates. With them DICOM associations are encrypted, and https is checked against them; without them
            associations are plain, and https is checked against the system's authorities.
        token_variable: Name of the environment variable that holds the token for a DICOMweb server. Its value is sent
            as `Authorization: Bearer VALUE`, or as it is where it begins with `Bearer ` or `Basic `.
    """

    calling_title: str = "ANOMALIB"
    connect_seconds: float = 10.0
    answer_seconds: float = 60.0
    tls: TlsFiles | None = None
    token_variable: str | None = None

    def __post_init__(self) -> None:
        check_title(self.calling_title)
        if not (self.connect_seconds > 0 and self.answer_seconds > 0):
            raise ValueError("times to wait for a connection and for an answer are above 0 seconds")

    def authorization(self, url: str) -> str | None:
        """The value of the header `Authorization` for a server; `None` without a token.

        Args:
            url: Of the server.

        Raises:
            ValueError: If the variable is not set, or the token would cross a network unencrypted.
        """
        if self.token_variable is None:
            return None
        token = os.environ.get(self.token_variable, "").strip()
        if not token or not token.isprintable() or not token.isascii():
            raise ValueError(
                f"the environment variable {self.token_variable} holds no token; export {self.token_variable}=..."
            )
        parts = urlsplit(url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise ValueError(f"the token of {self.token_variable} is sent over https only, not to {url}")
        return token if token.startswith(("Bearer ", "Basic ")) else f"Bearer {token}"


@dataclass(frozen=True)
class Entity:
    """A DICOM application: its AE title and where it listens."""

    title: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """`AETITLE@host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.title}@{host}:{self.port}"


def parse_address(text: str) -> Entity | str | None:
    """A DICOM application, or the URL of a DICOMweb server without a slash at its end; `None` if it is neither.

    Raises:
        ValueError: If it looks like one of them and is not right.
    """
    if "://" in text:
        return _url(text)
    if "@" not in text or "/" in text:
        return None
    match = _ENTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no address of a DICOM application; the form is AETITLE@host:port")
    port = int(match["port"])
    if not 0 < port < 1 << 16:
        raise ValueError(f"{text!r} has the port {port}; ports are 1 to 65535")
    return Entity(check_title(match["title"]), match["host"].strip("[]"), port)


def parse_listener(text: str) -> tuple[str, int]:
    """Host and port to listen at, from `host:port`.

    Raises:
        ValueError: If it is not of this form.
    """
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^@:/\s\[\]]+):(\d{1,5})", text)
    if found is None or not 0 < int(found[2]) < 1 << 16:
        raise ValueError(f"{text!r} is no address to listen at; the form is host:port, such as 127.0.0.1:11112")
    return found[1].strip("[]"), int(found[2])


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{text!r} is no address of a DICOMweb server; the form is http(s)://host/dicom-web")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"the address of {parts.hostname} holds a user name or password; put it into an environment variable as "
            "a token instead, where no list of processes shows it"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"the address of {parts.hostname} has a '?' or '#'; the form is http(s)://host/dicom-web")
    return text.rstrip("/")


def check_title(title: str) -> str:
    """The AE title without the spaces around it, which mean nothing.

    Raises:
        ValueError: If DICOM allows no such title.
    """
    if not _TITLE.fullmatch(title):
        raise ValueError(f"{title!r} is no AE title: 1 to 16 ASCII characters, no backslash")
    return title.strip()


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, by its name or number."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

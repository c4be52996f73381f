"""How a node listens, what it takes, when it screens and how it sends: options alone, light to import."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReceivingOptions:
    """What the node takes, and from whom.

    Attributes:
        host: Address to listen on.
        port: Port to listen on, from 0; 0 for any that is free.
        title: The node's own AE title; it may not be called by another one.
        callers: Calling AE titles that are accepted; empty for all.
        networks: Addresses or networks (`10.1.0.0/16`) that are accepted; empty for all.
        certificate: PEM file of the certificate, for TLS.
        key: PEM file of its key.
        client_ca: PEM file of the authorities whose clients are accepted; `None` asks for no client certificate.
        max_associations: Most associations at a time.
        max_instance_mib: Largest instance, in MiB; also half of what associations together may hold in memory.
        max_rate_mib: Most data taken per second, in MiB, over all associations; 0 for no limit.
        reserve_mib: Space on the disk that is never used, in MiB.
        network_timeout: Seconds of silence after which an association is ended.
    """

    host: str = "127.0.0.1"
    port: int = 11112
    title: str = "ANOMALIB"
    callers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    max_associations: int = 32
    max_instance_mib: int = 1024
    max_rate_mib: float = 0.0
    reserve_mib: int = 1024
    network_timeout: int = 60

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ValueError(f"--port is a number from 0 to 65535, not {self.port}")
        for title in (self.title, *self.callers):
            if not 0 < len(title.strip()) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
                raise ValueError(f"{title!r} is no AE title: 1 to 16 ASCII characters without a backslash")
        for address in self.networks:
            network_of(address)
        if (self.certificate is None) != (self.key is None):
            raise ValueError("--certificate and --key are given together: TLS needs both")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("--client-ca needs --certificate and --key: without TLS nobody shows a certificate")
        if min(self.max_associations, self.max_instance_mib, self.network_timeout) < 1:
            raise ValueError("--max-associations, --max-instance-mib and --network-timeout are at least 1")
        if self.reserve_mib < 0 or self.max_rate_mib < 0:
            raise ValueError("--reserve-mib and --max-rate-mib are at least 0")


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The network that a text names; an address is a network of one.

    Raises:
        ValueError: If it names none.
    """
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"--networks takes addresses or networks such as 10.1.0.0/16, not {text!r}") from None


@dataclass(frozen=True)
class WorkingOptions:
    """When studies are screened, and how results are sent.

    Attributes:
        quiet_seconds: A study is complete when nothing of it has arrived for so long.
        retry_seconds: First delay after a failure; it doubles with each further one.
        longest_retry_seconds: Longest delay.
        delete_after_success: Remove received instances of a study once everything of it is screened and sent.
    """

    quiet_seconds: float = 60.0
    retry_seconds: float = 10.0
    longest_retry_seconds: float = 3600.0
    delete_after_success: bool = False

    def __post_init__(self) -> None:
        if not self.quiet_seconds > 0 or not 0 < self.retry_seconds <= self.longest_retry_seconds:
            raise ValueError(
                "--quiet-seconds and --retry-seconds are above 0, and --longest-retry-seconds is at least "
                f"--retry-seconds; got {self.quiet_seconds}, {self.retry_seconds} and {self.longest_retry_seconds}"
            )

    def delay(self, attempts: int) -> float:
        """Seconds to wait after a number of failures in a row, from 1."""
        return float(min(self.longest_retry_seconds, self.retry_seconds * 2.0 ** min(attempts - 1, 40)))


@dataclass(frozen=True)
class StatusOptions:
    """The status page.

    Attributes:
        status_host: Address to listen on.
        status_port: Port of the page; `None` for no page, 0 for any that is free.
        show_identifiers: Show patient ID, accession number and descriptions on the page.
    """

    status_host: str = "127.0.0.1"
    status_port: int | None = None
    show_identifiers: bool = False

    def __post_init__(self) -> None:
        if self.status_port is not None and not 0 <= self.status_port < 65536:
            raise ValueError(f"--status-port is a number from 0 to 65535, not {self.status_port}")

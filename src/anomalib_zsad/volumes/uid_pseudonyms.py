"""Stable pseudonyms of DICOM UIDs: those of scanners may hold a serial number and the date of the study."""

import hashlib
import re
from dataclasses import replace

from anomalib_zsad.volumes.faults import Finding

_ROOT = "2.25."  # UIDs made from 128 bits (PS3.5, B.2)
# UIDs of six numbers or more, and those made from 128 bits; DICOM's own, such as transfer syntaxes, name no patient.
_UID = r"(?!1\.2\.840\.10008\.)(?:2\.25\.\d{10,}|[0-2](?:\.\d+){5,})"


def hash_uid(uid: str, secret: str = "") -> str:
    """A UID that stands for another one: the same in every run, and valid wherever a UID is.

    Without a secret, whoever guesses a UID can check the guess; who keeps a secret can also keep the link.

    Args:
        uid: The UID; an empty one stays empty.
        secret: Any text; other secrets give other pseudonyms.

    Returns:
        `2.25.` and the first 128 bits of the SHA-256 of secret and UID, as a decimal number.
    """
    if not uid:
        return ""
    digest = hashlib.sha256(f"{secret}\0{uid}".encode()).digest()
    return f"{_ROOT}{int.from_bytes(digest[:16], 'big')}"


def hash_uids_of(finding: Finding, secret: str = "") -> Finding:
    """The finding with a pseudonym for every UID, in its message too, but for DICOM's own (`1.2.840.10008...`).

    Args:
        finding: What was met.
        secret: As for `hash_uid`.
    """
    known = [re.escape(uid) for uid in sorted(finding.instances, key=len, reverse=True) if uid]
    pattern = rf"(?<![\d.])(?:{'|'.join([*known, _UID])})(?!\d|\.\d)"
    message = re.sub(pattern, lambda found: hash_uid(found[0], secret), finding.message)
    return replace(finding, message=message, instances=tuple(hash_uid(uid, secret) for uid in finding.instances))

"""Stable pseudonyms of DICOM UIDs: those of scanners may hold a serial number and the date of the study."""

import hashlib
from typing import Any

_ROOT = "2.25."  # UIDs made from 128 bits (PS3.5, B.2)


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


def hash_uids(record: Any, secret: str = "") -> Any:
    """A copy of a record for JSON or CSV in which every UID is a pseudonym.

    Args:
        record: Dictionaries, lists, tuples and plain values. UIDs are the texts below keys that end in `uid` or
            `uids`, such as `series_instance_uid` and `sop_instance_uids`.
        secret: As for `hash_uid`.
    """
    if isinstance(record, dict):
        return {
            key: _hashed(value, secret) if str(key).lower().endswith(("uid", "uids")) else hash_uids(value, secret)
            for key, value in record.items()
        }
    if isinstance(record, list | tuple):
        return type(record)(hash_uids(part, secret) for part in record)
    return record


def _hashed(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return hash_uid(value, secret)
    if isinstance(value, list | tuple):
        return type(value)(_hashed(part, secret) for part in value)
    return value

"""Pseudonyms of UIDs: stable, valid, and in every word of a finding."""

import re

from anomalib_zsad.volumes.faults import Fault, warn
from anomalib_zsad.volumes.uid_pseudonyms import hash_uid, hash_uids_of

UID = "1.3.12.2.1107.5.2.19.45160.2018091812250026676990470"  # a scanner's serial number and a date


def test_a_pseudonym_is_a_valid_uid_that_tells_nothing() -> None:
    made = hash_uid(UID)
    assert re.fullmatch(r"2\.25\.(0|[1-9]\d*)", made)
    assert len(made) <= 64
    assert "45160" not in made
    assert "20180918" not in made


def test_pseudonyms_are_stable_and_differ() -> None:
    assert hash_uid("1.2.3") == "2.25.82079366243709184220295941878402168517"
    assert hash_uid(UID) == hash_uid(UID)
    assert len({hash_uid(UID), hash_uid(UID + "1"), hash_uid(UID, "secret"), hash_uid(UID, "other")}) == 4
    assert hash_uid("") == ""


def test_every_uid_of_a_finding_is_replaced_but_those_of_dicom() -> None:
    words = f"instances 1.2.3, 1.2.34 and {UID}. No decoder for 1.2.840.10008.1.2.4.70, version 2.15.0"
    made = hash_uids_of(warn(Fault.DUPLICATE_INSTANCES, words, ("1.2.3", "1.2.34")))
    wanted = f"instances {hash_uid('1.2.3')}, {hash_uid('1.2.34')} and {hash_uid(UID)}. "
    assert made.message == wanted + "No decoder for 1.2.840.10008.1.2.4.70, version 2.15.0"
    assert made.instances == (hash_uid("1.2.3"), hash_uid("1.2.34"))

"""Pseudonyms of UIDs: stable, valid, and everywhere in a record."""

import re

from anomalib_zsad.volumes.uid_pseudonyms import hash_uid, hash_uids

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


def test_every_uid_of_a_record_is_replaced_and_nothing_else() -> None:
    record = {
        "series": "series-0123456789",
        "series_instance_uid": UID,
        "study_instance_uid": None,
        "warnings": [{"message": "words", "sop_instance_uids": [UID, "1.2.3"]}, {"fault": 3}],
        "rows": ({"sop_instance_uid": UID, "slice": 4},),
    }
    made = hash_uids(record)
    assert made["series"] == record["series"]
    assert made["series_instance_uid"] == made["warnings"][0]["sop_instance_uids"][0] == hash_uid(UID)
    assert made["study_instance_uid"] is None
    assert made["warnings"][1] == {"fault": 3}
    assert made["rows"] == ({"sop_instance_uid": hash_uid(UID), "slice": 4},)
    assert record["series_instance_uid"] == UID
    assert UID not in str(made)

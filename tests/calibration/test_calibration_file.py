"""The calibration and its file: round trip, damage, what it refuses, what it tells."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalib_zsad.calibration import (
    Calibration,
    CalibrationFileError,
    CalibrationMismatchError,
    TooFewNormalsError,
)
from anomalib_zsad.screening.options import VolumeOptions, volume_fingerprint
from tests.calibration.calibrations import FINGERPRINT, of_images, of_volumes


@pytest.mark.parametrize("make", [of_volumes, of_images])
def test_a_file_gives_back_what_was_saved(make: Any, tmp_path: Path) -> None:
    made = make()
    made.save(tmp_path / "c.json")
    read = Calibration.load(tmp_path / "c.json")
    assert read.sha256 == made.sha256
    assert (read.kind, read.units, read.fingerprint) == (made.kind, made.units, made.fingerprint)
    scores = np.linspace(0, 1, 301)
    for level in made.levels:
        np.testing.assert_array_equal(read.p_values(level, scores), made.p_values(level, scores))
        assert read.threshold(level, 0.1) == made.threshold(level, 0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_the_order_of_patients_leaves_no_trace(tmp_path: Path) -> None:
    made = of_volumes()
    turned = of_volumes(scores={level: units[::-1] for level, units in made.scores.items()})
    made.save(tmp_path / "a.json")
    turned.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_file_is_not_overwritten_without_a_word(tmp_path: Path) -> None:
    of_volumes().save(tmp_path / "c.json")
    before = (tmp_path / "c.json").read_bytes()
    with pytest.raises(FileExistsError, match="exists already; give another name, or say that it may be overwritten"):
        of_volumes(seed=1).save(tmp_path / "c.json")
    assert (tmp_path / "c.json").read_bytes() == before
    of_volumes(seed=1).save(tmp_path / "c.json", overwrite=True)
    assert (tmp_path / "c.json").read_bytes() != before


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no calibration at .*; `anomalib-zsad calibrate` makes one"):
        Calibration.load(tmp_path / "none.json")


def test_a_file_beyond_any_calibration_is_not_parsed(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as stream:
        stream.truncate(300 << 20)
    started = time.perf_counter()
    with pytest.raises(CalibrationFileError, match="it has 314,572,800 bytes, and at most 67,108,864 are read"):
        Calibration.load(tmp_path / "huge.json")
    assert time.perf_counter() - started < 1


def test_numbers_beyond_any_float_are_damage(tmp_path: Path) -> None:
    of_volumes().save(tmp_path / "c.json")
    record = json.loads((tmp_path / "c.json").read_text())
    record["scores"]["volume"][0][0] = 10**4000
    (tmp_path / "c.json").write_text(json.dumps(record))
    with pytest.raises(CalibrationFileError, match="it is damaged"):
        Calibration.load(tmp_path / "c.json")


def _cut(text: str) -> str:
    return text[: len(text) // 2]


def _edited(name: str, value: Any) -> Any:
    def change(text: str) -> str:
        return json.dumps(json.loads(text) | {name: value})

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut, "cannot be read as JSON"),
        (lambda _: "[" * 100_000, "cannot be read as JSON"),
        (lambda _: "[]", "it is another kind of file"),
        (lambda _: '{"nodes": 3}', "it is another kind of file"),
        (_edited("format", 2), "its format is 2, and this version reads 1"),
        (_edited("units", 31), "does not fit its checksum"),
        (_edited("population", {}), "does not fit its checksum"),
        (_edited("fingerprint", {}), "does not fit its checksum"),
        (_edited("scores", {}), "a calibration of volumes has scores of volume, slice, mask"),
        (_edited("scores", {"volume": 3}), "it is damaged"),
        (_edited("scores", {level: [["x"]] * 30 for level in ("volume", "slice", "mask")}), "it is damaged"),
        (_edited("kind", "patients"), "a calibration is of volumes or images, not 'patients'"),
        (_edited("cases", None), "it is damaged"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_with_the_reason(damage: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    of_volumes().save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(CalibrationFileError, match=words):
        Calibration.load(path)


def test_an_edited_score_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    of_volumes().save(path)
    record = json.loads(path.read_text())
    record["scores"]["volume"][3][0] = 0.123
    path.write_text(json.dumps(record))
    with pytest.raises(CalibrationFileError, match="does not fit its checksum"):
        Calibration.load(path)


def test_fewer_than_twenty_units_are_refused() -> None:
    with pytest.raises(TooFewNormalsError, match="19 normal patients cannot calibrate; at least 20 are needed"):
        of_volumes(19)
    with pytest.raises(TooFewNormalsError, match="1 normal image cannot calibrate; at least 20 are needed"):
        of_images(1)
    assert of_volumes(20).units == 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "series"}, "of volumes or images, not 'series'"),
        ({"kind": "images"}, "a calibration of images has scores of image, mask"),
        ({"scores": {"volume": ((0.1,),) * 30, "slice": ((0.1,),) * 29, "mask": ((0.1,),) * 30}}, r"\[29, 30\]"),
        ({"scores": dict.fromkeys(("volume", "slice", "mask"), ((),) * 30)}, "every unit at least one member"),
    ],
)
def test_a_calibration_that_makes_no_sense_is_an_error(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        of_volumes(**changes)


def test_a_level_that_there_is_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="has the levels volume, slice, mask, not 'image'"):
        of_volumes().p_values("image", [0.5])
    with pytest.raises(ValueError, match="has the levels image, mask, not 'slice'"):
        of_images().threshold("slice", 0.1)


def test_an_equal_fingerprint_passes_however_it_is_nested() -> None:
    made = of_volumes()
    made.check(FINGERPRINT)
    made.check(made.fingerprint)


@pytest.mark.parametrize("name", sorted(of_volumes().fingerprint))
def test_every_field_of_the_fingerprint_must_fit(name: str) -> None:
    made = of_volumes()
    other = {**made.fingerprint, name: "something else"}
    was = repr(made.fingerprint[name])
    with pytest.raises(CalibrationMismatchError, match=f"{name} was {was} and is 'something else' now.*calibrate"):
        made.check(other)
    lacking = {key: value for key, value in made.fingerprint.items() if key != name}
    with pytest.raises(CalibrationMismatchError, match=f"{name} was {was} and is not given now"):
        made.check(lacking)


SCORER = {
    "model": "BayesPFL",
    "weights_sha256": "a" * 64,
    "backbone_fingerprint": "b",
    "image_size": 192,
    "class_name": "brain",
    "constants": {"num_samples": 10, "map_weight": 0.5, "layers": (3, 6)},
}
OTHER_SCORERS: list[dict[str, Any]] = [
    {"model": "CoPS"},
    {"weights_sha256": "c" * 64},
    {"backbone_fingerprint": "d"},
    {"image_size": 224},
    {"class_name": "liver"},
    {"constants": {**SCORER["constants"], "num_samples": 5}},
    {"constants": {**SCORER["constants"], "layers": (2, 6)}},
]
OTHER_OPTIONS: list[dict[str, Any]] = [
    {"plane": "coronal"},
    {"channels": "neighbours"},
    {"crop": True},
    {"window": "brain"},
    {"top_k": 3},
    {"score_blank": True},
]


@pytest.mark.parametrize("change", OTHER_SCORERS + OTHER_OPTIONS + [{"mode": "2d"}], ids=str)
def test_whatever_changes_scores_is_in_the_fingerprint_of_volumes(change: dict[str, Any]) -> None:
    made = of_volumes(fingerprint=volume_fingerprint(SCORER, VolumeOptions()))
    options = VolumeOptions(**change) if change in OTHER_OPTIONS else VolumeOptions()
    scorer = {**SCORER, **change} if change in OTHER_SCORERS else SCORER
    with pytest.raises(CalibrationMismatchError, match="the calibration does not fit"):
        made.check(volume_fingerprint(scorer, options, change.get("mode", "volume")))


@pytest.mark.parametrize(
    "change", [{"batch_size": 3}, {"previews": 0}, {"pages": False}, {"std_map": True}, {"output_types": ("nifti",)}]
)
def test_what_does_not_change_scores_is_not(change: dict[str, Any]) -> None:
    made = of_volumes(fingerprint=volume_fingerprint(SCORER, VolumeOptions()))
    described = {**SCORER, "device": "NVIDIA", "arguments": {"backbone": "x"}, "checkpoint_sha256": "f"}
    made.check(volume_fingerprint(described, VolumeOptions(**change)))


def test_a_case_unlike_those_calibrated_on_is_told() -> None:
    made = of_volumes()
    assert made.unlike(modality="CT", window="brain", plane="axial") == ""
    assert made.unlike(modality="MR", window="") == (
        "its modality is MR, and those calibrated on have CT; its window is not known, and those calibrated on have "
        "brain"
    )


def test_statements_say_what_they_are_about() -> None:
    volumes, images = of_volumes(), of_images()
    assert "at most 5 % are expected to have a volume's score flagged" in volumes.statement("volume", 0.05)
    assert "nothing about how many normal volumes have a flagged slice" in volumes.statement("slice", 0.05)
    assert "at most 10 % are expected to show any lesion pixel" in volumes.statement("mask", 0.1)
    assert "at most 2.5 % are expected to be flagged" in images.statement("image", 0.025)
    assert "any abnormal pixel" in images.statement("mask", 0.05)

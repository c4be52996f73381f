"""From arrival to delivery: what is screened, once, and what is sent where."""

import logging
import time
from pathlib import Path

import pydicom
import pytest

from anomalib_zsad.network.targets import DeliveryError, parse_target
from anomalib_zsad.node.options import WorkingOptions
from anomalib_zsad.node.queue import Queue
from tests.node.node_builders import Archive, is_settled, make_node, rules_file, send, storescu, write_series
from tests.screening.bright_spot import BrightSpotScorer

SECONDS = 60


class CountingTarget:
    """A target that counts what it is sent, and fails as it is told."""

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.sent: list[str] = []
        self.errors: list[Exception] = []

    def send(self, files) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.sent += [str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files]


def test_a_series_that_dcmtk_sends_comes_back_as_a_segmentation_in_an_archive_and_a_folder(tmp_path: Path):
    paths = write_series(tmp_path / "in")
    source = pydicom.dcmread(paths[0])
    with Archive().listening() as archive:
        targets = [parse_target(archive.word), parse_target(f"{tmp_path}/out")]
        with make_node(tmp_path, targets) as node:
            assert storescu(node.receiver.port, *paths).returncode == 0
            assert node.wait_until(is_settled, SECONDS)
    (segmentation,) = archive.kept.values()
    assert segmentation.Modality == "SEG"
    assert segmentation.StudyInstanceUID == source.StudyInstanceUID
    assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert segmentation.pixel_array.sum() > 0
    (copy,) = (tmp_path / "out").iterdir()
    assert pydicom.dcmread(copy).SOPInstanceUID == segmentation.SOPInstanceUID


def test_a_study_in_three_associations_is_screened_once_and_whole(tmp_path: Path):
    paths = write_series(tmp_path / "in", slices=9)
    scorer, target = BrightSpotScorer(), CountingTarget()
    with make_node(tmp_path, [target], scorer=scorer, working=WorkingOptions(quiet_seconds=1.5)) as node:
        for part in (paths[:3], paths[3:6], paths[6:]):
            assert send(node, part) == [0] * 3
            time.sleep(0.5)
        assert node.wait_until(is_settled, SECONDS)
        (series,) = node.queue.rows("SELECT * FROM series")
        assert (series["state"], series["slices"]) == ("screened", 9)
    assert sum(shape[0] for shape in scorer.batches) == 9
    assert len(target.sent) == 1


def test_a_resend_screens_and_sends_nothing_again_and_a_restart_neither(tmp_path: Path):
    paths = write_series(tmp_path / "in")
    scorer, target = BrightSpotScorer(), CountingTarget()
    with make_node(tmp_path, [target], scorer=scorer) as node:
        send(node, paths)
        assert node.wait_until(is_settled, SECONDS)
        assert send(node, paths) == [0] * len(paths)
        time.sleep(1.5)
        assert is_settled(node.queue)
    with make_node(tmp_path, [target], scorer=scorer) as node:
        assert send(node, paths) == [0] * len(paths)
        time.sleep(1.5)
        assert is_settled(node.queue)
    assert sum(shape[0] for shape in scorer.batches) == len(paths)
    assert len(target.sent) == 1


def test_instances_that_come_late_have_their_series_screened_again_whole(tmp_path: Path):
    paths = write_series(tmp_path / "in", slices=8)
    study = pydicom.dcmread(paths[0]).StudyInstanceUID
    other = write_series(tmp_path / "other", "other", slices=5, StudyInstanceUID=study)
    scorer, target = BrightSpotScorer(), CountingTarget()
    with make_node(tmp_path, [target], scorer=scorer) as node:
        send(node, [*paths[:5], *other])
        assert node.wait_until(is_settled, SECONDS)
        assert len(target.sent) == 2
        send(node, paths[5:])
        assert node.wait_until(lambda queue: is_settled(queue) and len(target.sent) == 3, SECONDS)
        slices = node.queue.rows("SELECT slices FROM series ORDER BY slices")
        assert [row["slices"] for row in slices] == [5, 8]
        states = node.queue.rows("SELECT state FROM deliveries ORDER BY state")
        assert [row["state"] for row in states] == ["delivered", "delivered", "superseded"]
        told = [row["sop_uid"] for row in node.queue.rows("SELECT sop_uid FROM deliveries WHERE state = 'superseded'")]
        assert told[0] in target.sent[:2]
        results = [pydicom.dcmread(path) for path in (tmp_path / "node" / "results").rglob("*.dcm")]
        descriptions = sorted(one.SeriesDescription for one in results)
        assert descriptions == [f"Anomaly, uncalibrated ({count} images) - research use only" for count in (5, 8)]
    assert sum(shape[0] for shape in scorer.batches) == 5 + 5 + 8


def test_one_bad_series_does_not_stop_the_others_and_says_why(tmp_path: Path):
    good, bad = write_series(tmp_path / "good", "good"), write_series(tmp_path / "bad", "bad")
    few, mr = write_series(tmp_path / "few", "few", slices=2), write_series(tmp_path / "mr", "mr", Modality="MR")
    for path in bad:
        dataset = pydicom.dcmread(path)
        dataset.PixelData = dataset.PixelData[:-40]
        dataset.save_as(path)
    target = CountingTarget()
    with make_node(tmp_path, [target]) as node:
        send(node, [*bad, *few, *mr, *good])
        assert node.wait_until(is_settled, SECONDS)
        found = {row["rule"] or row["state"]: row for row in node.queue.rows("SELECT * FROM series")}
        states = sorted((row["state"], row["reason"]) for row in node.queue.rows("SELECT * FROM series"))
        assert found["scouts"]["reason"] == "too few slices"
        assert found["not screened"]["reason"] == "no rule takes it"
        assert [state for state, _ in states] == ["failed", "not screened", "not screened", "screened"]
        assert "truncated" in states[0][1]
        assert len(target.sent) == 1


def test_a_target_that_cannot_be_reached_gets_everything_once_it_is_back(tmp_path: Path):
    paths = write_series(tmp_path / "in")
    archive = Archive()
    with archive.listening():
        port = archive.port
    other = CountingTarget()
    with make_node(tmp_path, [parse_target(archive.word), other]) as node:
        send(node, paths)
        assert node.wait_until(lambda queue: bool(queue.rows("SELECT 1 FROM deliveries WHERE attempts >= 2")), SECONDS)
        (waiting,) = node.queue.rows("SELECT * FROM deliveries WHERE state = 'pending'")
        assert "ARCHIVE@127.0.0.1" in waiting["last_error"]
        assert len(other.sent) == 1  # the other target does not wait
        with archive.listening(port):
            assert node.wait_until(is_settled, SECONDS)
    assert len(archive.sent) == 1


def test_delays_grow_up_to_the_longest():
    options = WorkingOptions(retry_seconds=10, longest_retry_seconds=100)
    assert [options.delay(attempt) for attempt in (1, 2, 3, 4, 5, 5000)] == [10, 20, 40, 80, 100, 100]


def test_what_a_target_refuses_is_shown_and_tried_once_more_after_a_restart(tmp_path: Path):
    target = CountingTarget()
    target.errors = [DeliveryError("counting takes no SEG", retry=False)]

    def refused(queue: Queue) -> bool:
        return bool(queue.rows("SELECT 1 FROM deliveries WHERE state = 'failed' AND last_error LIKE '%takes no SEG'"))

    with make_node(tmp_path, [target]) as node:
        send(node, write_series(tmp_path / "in"))
        assert node.wait_until(refused, SECONDS)
    with make_node(tmp_path, [target]) as node:
        assert node.wait_until(is_settled, SECONDS)
    assert len(target.sent) == 1


def test_a_result_that_comes_back_is_not_screened(tmp_path: Path):
    paths = write_series(tmp_path / "in")
    with make_node(tmp_path, [CountingTarget()]) as node:
        send(node, paths)
        assert node.wait_until(is_settled, SECONDS)
        with node.queue.writing() as connection:  # as if the series that follows had been a result of the node
            uid = str(pydicom.dcmread(write_series(tmp_path / "capture", "capture")[0]).SOPInstanceUID)
            connection.execute("UPDATE deliveries SET sop_uid = ?", (uid,))
        send(node, sorted((tmp_path / "capture").iterdir()))
        assert node.wait_until(is_settled, SECONDS)
        reasons = [row["reason"] for row in node.queue.rows("SELECT reason FROM series WHERE state = 'not screened'")]
        assert reasons == ["a result of this node that came back"]


def test_received_instances_are_removed_after_success_alone(tmp_path: Path):
    paths = write_series(tmp_path / "in")
    working = WorkingOptions(quiet_seconds=0.5, retry_seconds=0.2, longest_retry_seconds=0.5, delete_after_success=True)
    target, received = CountingTarget(), tmp_path / "node" / "received"
    target.errors = [DeliveryError("counting is away", retry=True)] * 3
    with make_node(tmp_path, [target], working=working) as node:
        send(node, paths)
        assert node.wait_until(lambda queue: bool(queue.rows("SELECT 1 FROM deliveries WHERE attempts >= 2")), SECONDS)
        assert len(list(received.rglob("*.dcm"))) == len(paths)
        assert node.wait_until(lambda _: not any(received.iterdir()), SECONDS)
        assert is_settled(node.queue)
        assert send(node, paths) == [0] * len(paths)  # known, and not stored again
        assert not any(received.iterdir())
    assert len(target.sent) == 1


def test_results_that_cannot_be_written_are_tried_again_and_nothing_is_lost(tmp_path: Path, monkeypatch):
    from anomalib_zsad.node import worker
    from anomalib_zsad.outputs.disk_errors import DiskError

    real, failures = worker.screen, iter([DiskError("No space left on device"), RuntimeError("SECRET^NAME")])

    def screen(*arguments):
        for error in failures:
            raise error
        return real(*arguments)

    monkeypatch.setattr(worker, "screen", screen)
    target = CountingTarget()
    with make_node(tmp_path, [target]) as node:
        send(node, write_series(tmp_path / "in"))
        assert node.wait_until(is_settled, SECONDS)
        assert node.queue.rows("SELECT state FROM studies")[0]["state"] == "screened"
    assert len(target.sent) == 1


def test_a_study_that_always_fails_is_given_up_after_the_others(tmp_path: Path, monkeypatch):
    from anomalib_zsad.node import worker

    monkeypatch.setattr(worker, "MOST_ATTEMPTS", 3)
    real = worker.series_facts

    def facts(received, files):
        if len(files) == 7:
            raise RuntimeError("SECRET^NAME")
        return real(received, files)

    monkeypatch.setattr(worker, "series_facts", facts)
    with make_node(tmp_path) as node:
        send(node, [*write_series(tmp_path / "bad", "bad", slices=7), *write_series(tmp_path / "good", "good")])
        assert node.wait_until(is_settled, SECONDS)
        states = {row["state"]: row["reason"] for row in node.queue.rows("SELECT * FROM studies")}
        assert states == {"screened": "", "failed": "given up after 3 attempts: unexpected RuntimeError"}


def test_another_models_results_get_their_own_folder_and_do_not_replace_the_first(tmp_path: Path):
    rules = """
rules:
  - {name: narrow, match: {maximum_slices: 5}, screen: {allow_untrained: true, window: brain}}
  - {name: wide, match: {}, screen: {allow_untrained: true, window: lung}}
"""
    paths = write_series(tmp_path / "in", slices=8)
    with make_node(tmp_path, rules=rules) as node:
        send(node, paths[:5])
        assert node.wait_until(is_settled, SECONDS)
        send(node, paths[5:])
        assert node.wait_until(lambda queue: bool(queue.rows("SELECT 1 FROM series WHERE slices = 8")), SECONDS)
    (study,) = (tmp_path / "node" / "results").iterdir()
    assert sorted(path.name.partition("-")[0] for path in study.iterdir()) == ["narrow", "wide"]


def test_log_and_names_hold_no_patient_data(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    paths = write_series(
        tmp_path / "in", PatientName="ZZSECRET^ANNA", SeriesDescription="ZZSECRET", StudyDescription="ZZSECRET"
    )
    uid = str(pydicom.dcmread(paths[0]).StudyInstanceUID)
    caplog.set_level(logging.DEBUG, "anomalib_zsad")
    with make_node(tmp_path, [CountingTarget()], callers=("CT1",)) as node:
        send(node, paths, aet="ZZSECRET")
        send(node, paths)
        assert node.wait_until(is_settled, SECONDS)
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("anomalib_zsad"))
    assert "study-" in said
    assert "ZZSECRET" not in said
    assert uid not in said
    names = [str(path.relative_to(tmp_path)) for path in (tmp_path / "node").rglob("*")]
    assert not any("ZZSECRET" in name or uid in name for name in names)
    assert b"ZZSECRET" not in (tmp_path / "node" / "queue.sqlite3").read_bytes()
    assert rules_file(tmp_path).is_file()


def test_what_failed_is_tried_once_more_after_a_restart_with_other_rules(tmp_path: Path, monkeypatch):
    with make_node(tmp_path) as node:
        node.worker.build = lambda _: (_ for _ in ()).throw(ValueError("the device is away"))
        send(node, write_series(tmp_path / "in"))
        assert node.wait_until(is_settled, SECONDS)
        (series,) = node.queue.rows("SELECT * FROM series")
        assert (series["state"], series["reason"]) == ("failed", "the model cannot be had: the device is away")
    with make_node(tmp_path) as node:
        assert node.wait_until(lambda queue: bool(queue.rows("SELECT 1 FROM series WHERE state = 'screened'")), SECONDS)


def test_an_image_class_that_holds_no_image_to_screen_says_so(tmp_path: Path):
    with make_node(tmp_path) as node:
        send(node, write_series(tmp_path / "in", Modality="SEG"))
        assert node.wait_until(is_settled, SECONDS)
        (series,) = node.queue.rows("SELECT * FROM series")
        assert (series["state"], series["reason"]) == ("not screened", "a DICOM segmentation, not an image to screen")

"""The status page: what it shows and to whom, metrics, health, and what it never shows."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pydicom
import pytest
from prometheus_client.parser import text_string_to_metric_families

from anomalib_zsad.network.targets import DeliveryError
from anomalib_zsad.node.node import Node
from anomalib_zsad.node.options import StatusOptions
from tests.node.node_builders import is_settled, make_node, send, write_series


class AwayTarget:
    name = "AWAY@127.0.0.1:1"

    def send(self, files) -> None:
        raise DeliveryError("AWAY@127.0.0.1:1 does not <b>answer</b>", retry=True)


def get(node: Node, path: str = "", **headers: str) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(f"http://127.0.0.1:{node.page.port}/{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def test_the_page_shows_studies_reasons_deliveries_and_refusals_and_no_patient_data(tmp_path: Path):
    values = {"PatientName": "ZZSECRET^ANNA", "SeriesDescription": "ZZSECRET", "StudyDescription": "ZZSECRET"}
    paths = [*write_series(tmp_path / "a", "a", **values), *write_series(tmp_path / "b", "b", slices=2, **values)]
    uid = str(pydicom.dcmread(paths[0]).StudyInstanceUID)
    with make_node(tmp_path, [AwayTarget()], page=True, callers=("CT1",)) as node:
        assert "Nothing has arrived yet" in get(node)[1]
        send(node, paths, aet="ZZSECRET")
        send(node, paths)
        node.wait_until(lambda queue: bool(queue.rows("SELECT 1 FROM deliveries WHERE attempts > 0")), 60)
        node.wait_until(lambda queue: len(queue.rows("SELECT 1 FROM studies WHERE state = 'screened'")) == 2, 60)
        status, page, headers = get(node)
        assert status == 200
        for shown in ("study-", "screened", "too few slices", "wrong AE title", "does not &lt;b&gt;answer"):
            assert shown in page, shown
        assert "default-src 'none'" in headers["content-security-policy"]
        link = page.split('href="')[1].split('"')[0]
        assert "<html" in get(node, link)[1]
        report = get(node, link.replace("index.html", page.split(f'{link}">')[1].split("<")[0] + "/report.html"))
        assert report[0] == 200
        for text in (page, get(node, link)[1], report[1], get(node, "metrics")[1], get(node, "health")[1]):
            assert "ZZSECRET" not in text
            assert uid not in text
            assert str(tmp_path) not in text


def test_identifiers_are_shown_where_that_was_asked_for(tmp_path: Path):
    node = make_node(tmp_path, page=True)
    node.status = StatusOptions(status_port=0, show_identifiers=True)
    with node:
        send(node, write_series(tmp_path / "in", PatientName="<script>ANNA"))
        page = get(node)[1]
        assert "ZZSECRET-ID" in page
        assert "&lt;script&gt;ANNA" in page
        assert "<script" not in page


def test_metrics_are_prometheus_and_count(tmp_path: Path):
    with make_node(tmp_path, page=True, callers=("CT1",)) as node:
        send(node, write_series(tmp_path / "in"))
        send(node, write_series(tmp_path / "in"), aet="OTHER")
        assert node.wait_until(is_settled, 60)
        found = {
            (sample.name, sample.labels.get("state", "")): sample.value
            for family in text_string_to_metric_families(get(node, "metrics")[1])
            for sample in family.samples
        }
        assert found["anomalib_zsad_node_instances_total", ""] == 6
        assert found["anomalib_zsad_node_slices_total", ""] == 6
        assert found["anomalib_zsad_node_studies", "screened"] == 1
        assert found["anomalib_zsad_node_refusals_total", ""] == 1
        assert json.loads(get(node, "health")[1]) == {"status": "ok"}


def test_nothing_outside_the_results_is_shown(tmp_path: Path):
    with make_node(tmp_path, page=True) as node:
        send(node, write_series(tmp_path / "in"))
        assert node.wait_until(is_settled, 60)
        (tmp_path / "node" / "results" / "link.html").symlink_to(tmp_path / "rules.yaml")
        for path in (
            "results/../queue.sqlite3",
            "results/%2e%2e/queue.sqlite3",
            "results//etc/passwd",
            "results/link.html",
            "results/%00",
            "docs",
            "openapi.json",
        ):
            assert get(node, path)[0] == 404, path
        (segmentation,) = (tmp_path / "node" / "results").rglob("*.dcm")
        inside = segmentation.relative_to(tmp_path / "node")
        assert get(node, inside.as_posix())[0] == 404  # it holds the patient module


def test_another_sites_name_for_this_address_is_not_answered(tmp_path: Path):
    with make_node(tmp_path, page=True) as node:
        assert get(node, Host="evil.example")[0] == 403
        assert get(node, Host=f"localhost:{node.page.port}")[0] == 200


def test_a_token_is_needed_beyond_this_machine_and_asked_for_where_it_is_set(tmp_path: Path):
    node = make_node(tmp_path, page=True)
    node.status = StatusOptions(status_host="192.0.2.1", status_port=0)
    with pytest.raises(ValueError, match="give a token in ANOMALIB_ZSAD_TOKEN"):
        node.__enter__()
    node = make_node(tmp_path, page=True)
    node.token = "a secret"  # noqa: S105
    with node:
        assert get(node)[0] == 401
        assert get(node, "metrics", Authorization="Bearer wrong")[0] == 401
        assert get(node, "metrics", Authorization="Bearer a secret")[0] == 200
        assert get(node, "health")[0] == 200
        assert get(node, "?token=wrong")[0] == 401
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(f"http://127.0.0.1:{node.page.port}/?token=a%20secret", timeout=20) as answer:
            assert answer.status == 200
            assert "token" not in answer.url

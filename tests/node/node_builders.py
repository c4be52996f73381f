"""Nodes, series and peers for the tests of the node: real sockets on loopback, a scorer without a model."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import CTImageStorage

from anomalib_zsad.demo.phantom_dicom import write_dicom_series
from anomalib_zsad.network.targets import Target
from anomalib_zsad.node.node import Node
from anomalib_zsad.node.options import ReceivingOptions, StatusOptions, WorkingOptions
from anomalib_zsad.node.queue import Queue
from anomalib_zsad.node.rules import load_rules
from tests.screening.bright_spot import BrightSpotScorer

AET = "ANOMALIB"
RULES = """
rules:
  - name: scouts
    match: {maximum_slices: 2}
    skip: too few slices
  - name: ct
    match: {modality: CT}
    screen: {allow_untrained: true, output_types: [dicom_seg], pages: true, previews: 0}
"""


def find_dcmtk(name: str) -> str | None:
    """A program of DCMTK, not the script of the same name that pynetdicom installs."""
    for place in os.environ["PATH"].split(os.pathsep):
        found = shutil.which(name, path=place)
        if found is not None and Path(found).read_bytes()[:2] != b"#!":
            return found
    return None


def dcmtk(name: str) -> str:
    """The same; the test is skipped where it is not installed."""
    found = find_dcmtk(name)
    if found is None:
        pytest.skip(f"DCMTK's {name} is not installed")
    return found


def write_series(folder: Path, seed: str = "phantom", slices: int = 6, **values: Any) -> list[Path]:
    """A small CT series with a bright spot; further values are set in every header. UIDs come from the seed."""
    voxels = np.random.default_rng(0).integers(-50, 90, (16, 16, slices)).astype(np.int16)
    voxels[5:9, 5:9, slices // 2] = 300
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    paths = sorted(write_dicom_series(folder, voxels, affine, seed=seed, patient="ZZSECRET-ID").iterdir())
    for path in paths if values else ():
        dataset = dcmread(path)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    return paths


def rules_file(folder: Path, text: str = RULES) -> Path:
    path = folder / "rules.yaml"
    path.write_text(text)
    return path


def make_node(
    folder: Path,
    targets: Sequence[Target] = (),
    *,
    rules: str = RULES,
    scorer: Any = None,
    page: bool = False,
    working: WorkingOptions | None = None,
    **receiving: Any,
) -> Node:
    """A node in `folder/node`, on a free port, that screens after half a second of quiet."""
    folder.mkdir(parents=True, exist_ok=True)
    model = scorer or BrightSpotScorer()
    return Node(
        folder / "node",
        load_rules(rules_file(folder, rules)),
        targets,
        ReceivingOptions(**{"port": 0, "reserve_mib": 1, **receiving}),
        working or WorkingOptions(quiet_seconds=QUIET_SECONDS, retry_seconds=0.2, longest_retry_seconds=0.5),
        StatusOptions(status_port=0 if page else None),
        build=lambda _: model,
    )


def send(node: Node, paths: Sequence[Path], **changed: str) -> list[int]:
    """Send files in one association; status of each. -1: the association was not accepted, -2: it ended."""
    return send_to(node.receiver.port, paths, **changed)


def send_to(port: int, paths: Sequence[Path], aet: str = "CT1", called: str = AET) -> list[int]:
    entity = AE(ae_title=aet)
    entity.add_requested_context(CTImageStorage)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return [-1] * len(paths)
    found = [_send_one(association, path) for path in paths]
    if association.is_established:
        association.release()
    return found


def _send_one(association: Any, path: Path) -> int:
    try:
        return association.send_c_store(path).get("Status", -2)
    except (RuntimeError, ValueError):
        return -2


def storescu(port: int, *arguments: object, aet: str = "CT1") -> subprocess.CompletedProcess[str]:
    """DCMTK's client."""
    command = [dcmtk("storescu"), "-aet", aet, "-aec", AET, "127.0.0.1", port, *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)


def is_settled(queue: Queue) -> bool:
    """Whether everything that arrived is screened and everything to be sent is sent."""
    waiting = queue.rows("SELECT 1 FROM studies WHERE state NOT IN ('screened', 'failed')")
    unsent = queue.rows("SELECT 1 FROM deliveries WHERE state NOT IN ('delivered', 'superseded')")
    return not waiting and not unsent and bool(queue.rows("SELECT 1 FROM studies"))


QUIET_SECONDS = 0.5
"""After so long without an instance a study is complete, for nodes that are made here."""


class Archive:
    """A storage SCP that keeps what it is sent, by SOP Instance UID, and counts how often it was sent."""

    def __init__(self) -> None:
        self.kept: dict[str, Dataset] = {}
        self.sent: list[str] = []
        self.status = 0x0000
        self.port = 0

    def _store(self, event: Any) -> int:
        if self.status == 0:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.kept[str(dataset.SOPInstanceUID)] = dataset
            self.sent.append(str(dataset.SOPInstanceUID))
        return self.status

    @contextmanager
    def listening(self, port: int = 0) -> Iterator["Archive"]:
        entity = AE(ae_title="ARCHIVE")
        entity.supported_contexts = StoragePresentationContexts
        server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self.port = server.socket.getsockname()[1]
        try:
            yield self
        finally:
            server.shutdown()

    @property
    def word(self) -> str:
        """The archive as a target."""
        return f"ARCHIVE@127.0.0.1:{self.port}"

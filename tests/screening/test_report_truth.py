"""What report.json says of geometry, padding and privacy is true; `info` and `screen` take parts of series."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset

from anomalib_zsad.cli import main
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.volumes.options import ReadingOptions
from anomalib_zsad.volumes.reading.inventory import take_inventory
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.test_repeated_positions import write_volumes
from tests.volumes.volume_builders import MARK, SHAPE, affines, marked_voxels, write_nifti, write_series


def report_of(source: Path, output: Path, **volume: object) -> tuple[Path, dict]:
    options = ScreeningOptions(volume=VolumeOptions(**{"window": "900/450", **volume}))
    _, (entry,) = screen(source, output, BrightSpotScorer(), options)
    folder = output / entry.series
    return folder, json.loads((folder / "report.json").read_text())


def test_08_no_single_spacing_or_affine_where_none_is_true(tmp_path: Path) -> None:
    def move(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient[2] = [0, 4, 8, 13.3, 18.6, 20.1][index]

    source = write_series(tmp_path / "s", edit=move)
    _, report = report_of(source, tmp_path / "out")
    assert report["geometry"]["known"] is True
    assert report["geometry"]["evenly_spaced"] is False
    assert report["geometry"]["spacing_mm"] is None
    assert report["geometry"]["affine_ras_mm"] is None
    for check in (False, True):
        (item,) = take_inventory(source, ReadingOptions(), check=check)
        assert item.as_dict(with_files=False)["spacing_mm"] is None
    _, even = report_of(write_series(tmp_path / "even"), tmp_path / "out2")
    assert even["geometry"]["spacing_mm"] == pytest.approx([1.5, 1.25, 4.0])


def test_privacy_tells_what_uids_may_hold(tmp_path: Path) -> None:
    _, report = report_of(write_series(tmp_path / "s"), tmp_path / "out")
    assert "UIDs, in which scanners may write their serial number and the date of the study" in report["privacy"]
    assert "no names, IDs or dates" not in report["privacy"]


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_padding_is_recorded_and_leaves_no_trace_in_the_maps(tmp_path: Path, plane: str) -> None:
    source = write_nifti(tmp_path / "v.nii", marked_voxels(), affines()["las"])
    folder, report = report_of(source, tmp_path / "out", plane=plane)
    height, width = report["crop"]["padded_to"]
    assert height * 4.0 == pytest.approx(width * (1.5 if plane == "coronal" else 1.25), abs=4)
    heat = nibabel.load(folder / "anomaly_map.nii.gz")
    assert heat.shape == SHAPE
    np.testing.assert_array_equal(heat.affine, nibabel.load(source).affine)
    assert tuple(int(i) for i in np.unravel_index(heat.get_fdata().argmax(), SHAPE)) == MARK


def test_the_acquired_plane_is_not_padded(tmp_path: Path) -> None:
    _, report = report_of(write_series(tmp_path / "s"), tmp_path / "out")
    assert report["crop"] is None


def test_a_scorer_sees_true_proportions(tmp_path: Path) -> None:
    shapes = set()

    class Looking(BrightSpotScorer):
        def __call__(self, images):
            shapes.add(tuple(images.shape[2:]))
            return super().__call__(images)

    source = write_nifti(tmp_path / "v.nii", marked_voxels(), affines()["las"])
    options = ScreeningOptions(volume=VolumeOptions(window="900/450", plane="coronal"))
    screen(source, tmp_path / "out", Looking(), options)
    assert shapes == {(6, 16)}  # 6 x 4 mm down, 16 x 1.5 mm across; the slices have 6 x 12 pixels


def test_46_info_takes_parts_of_a_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_volumes(tmp_path / "s", [{"EchoTime": 4.9}, {"EchoTime": 7.4}])
    assert main(["info", "-i", str(folder), "--json", "--select", "echo=7.4"]) == 0
    names = [item["series"][17:] for item in json.loads(capsys.readouterr().out) if item["status"].startswith("ready")]
    assert names == ["-echo7.4"]
    assert main(["info", "-i", str(folder), "--json", "--volume-index", "0"]) == 0
    names = [item["series"][17:] for item in json.loads(capsys.readouterr().out) if item["status"].startswith("ready")]
    assert names == ["-echo4.9"]
    assert main(["info", "-i", str(folder), "--select", "echo"]) == 2
    assert "--select takes NAME=VALUE" in capsys.readouterr().err

"""Every folder of real volumes through screening: what becomes of each series is what the fault table says."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest

from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.screening.screen import screen
from tests.screening.bright_spot import BrightSpotScorer

FOLDERS = {
    "schwannoma_dicom": (ExitCode.DONE, {"done": 1}),
    "prostate_dicom": (ExitCode.DONE, {"done": 1, "done with warnings": 4, "skipped": 1}),
    "ct_j2k_without_uids": (ExitCode.DONE, {"done with warnings": 1}),
    "ct_nifti": (ExitCode.DONE, {"done with warnings": 1}),
    "odd_dicom": (ExitCode.SOME_REFUSED, None),
    "dicom_seg": (ExitCode.DONE, {"done with warnings": 5, "skipped": 4}),
    "mosaic_dicom": (ExitCode.SOME_REFUSED, {"done with warnings": 4, "refused": 2, "skipped": 1}),
    "time_series_dicom": (ExitCode.DONE, {"done with warnings": 10, "skipped": 1}),
    "ms_lesions_nifti": (ExitCode.DONE, {"done with warnings": 4, "skipped": 2}),
}


WITHOUT_SEG = {"ct_j2k_without_uids", "ct_nifti", "ms_lesions_nifti", "mosaic_dicom"}


@pytest.mark.parametrize("folder", list(FOLDERS))
def test_a_folder_of_real_data(shared_data: Path, tmp_path: Path, folder: str) -> None:
    code, entries = screen(shared_data / folder, tmp_path, BrightSpotScorer())
    expected_code, expected = FOLDERS[folder]
    assert code is expected_code
    if expected is not None:
        assert Counter(entry.status for entry in entries) == expected
    assert not any("unexpected" in entry.reason for entry in entries)
    segmentations = list(tmp_path.rglob("lesions_seg.dcm"))
    assert bool(segmentations) == (folder not in WITHOUT_SEG)
    if shutil.which("dciodvfy"):
        for path in segmentations:
            answer = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
            assert "Error" not in answer.stdout + answer.stderr


def test_the_schwannoma_has_its_37_slices(shared_data: Path, tmp_path: Path) -> None:
    _, (entry,) = screen(shared_data / "schwannoma_dicom", tmp_path, BrightSpotScorer())
    assert entry.slices == 37
    assert nibabel.load(tmp_path / entry.series / "anomaly_map.nii.gz").shape == (512, 512, 37)


def test_output_lies_on_the_grid_of_a_real_nifti(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "ms_lesions_nifti" / "patient07_flair.nii.gz"
    _, (entry,) = screen(source, tmp_path, BrightSpotScorer())
    theirs, ours = nibabel.load(source), nibabel.load(tmp_path / entry.series / "anomaly_map.nii.gz")
    assert ours.shape == theirs.shape
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    values, heat = theirs.get_fdata(), ours.get_fdata()
    brighter = values > np.percentile(values[values > 0], 90)
    assert heat[brighter].min() > heat[values == 0].max()

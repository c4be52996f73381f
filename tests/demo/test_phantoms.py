"""Phantoms: twins, reproducible, small, and as shipped."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from anomalib_zsad.demo.phantoms import main, make_phantom, normal_phantoms, write_phantom, write_samples
from tests.volumes.volume_builders import only

SHIPPED = Path(__file__).resolve().parents[2] / "sample_data" / "medical"


@pytest.mark.parametrize("kind", ["head_ct", "brain_mr"])
def test_twins_differ_in_the_lesion_alone(kind: str) -> None:
    lesion, normal = make_phantom(kind, 5, lesion=True), make_phantom(kind, 5, lesion=False)
    assert lesion.mask.sum() > 50
    assert not normal.mask.any()
    np.testing.assert_array_equal(lesion.voxels[~lesion.mask], normal.voxels[~lesion.mask])
    difference = (lesion.voxels - normal.voxels)[lesion.mask]
    assert difference.mean() > 25


def test_normal_phantoms_differ_from_person_to_person() -> None:
    one, two, again = normal_phantoms("brain_mr", (1, 2, 1))
    assert (one.voxels != two.voxels).any()
    np.testing.assert_array_equal(one.voxels, again.voxels)


def test_tissues_have_hounsfield_units() -> None:
    phantom = make_phantom("head_ct", 5, lesion=True)
    assert phantom.voxels.min() == pytest.approx(-1000, abs=20)
    assert phantom.voxels.max() == pytest.approx(950, abs=25)
    assert phantom.voxels[phantom.mask].mean() == pytest.approx(68, abs=4)


@pytest.mark.parametrize("kind", ["head_ct", "brain_mr"])
def test_files_give_back_the_phantom(tmp_path: Path, kind: str) -> None:
    phantom = make_phantom(kind, 4, lesion=True)
    volume = only(write_phantom(phantom, tmp_path, "case"))
    np.testing.assert_array_equal(volume.voxels, phantom.voxels)
    np.testing.assert_allclose(volume.affine, phantom.affine, atol=1e-4)
    mask = nibabel.load(tmp_path / "masks" / "case.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), phantom.mask)
    assert volume.findings == []


def test_the_shipped_set_is_what_the_generator_writes(tmp_path: Path) -> None:
    write_samples(tmp_path)
    shipped = {file.relative_to(SHIPPED) for file in SHIPPED.rglob("*") if file.is_file()}
    assert shipped == {file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()}
    assert sum((SHIPPED / name).stat().st_size for name in shipped) < 3_000_000
    for kind in ("head_ct", "brain_mr"):
        for place in sorted((SHIPPED / kind / "images").iterdir()):
            fresh, stored = only(tmp_path / kind / "images" / place.name), only(place)
            # Noise of another numpy or scipy version may round differently.
            assert np.mean(np.abs(fresh.voxels - stored.voxels) > 1) < 1e-3


def test_the_command_writes_into_new_folders_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "head_ct" / "masks" / "bleed.nii.gz").exists()
    assert main([str(tmp_path / "new")]) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="unknown kind of phantom 'knee'"):
        make_phantom("knee", 1, lesion=False)

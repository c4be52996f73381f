"""The bundled sample set and where it is found."""

import pytest
from anomalib.data import MVTecAD

from anomalib_zsad.data import SampleDataModule
from anomalib_zsad.data import sample_set as sample
from anomalib_zsad.data.sample_set import AUXILIARY_CATEGORIES, UNSEEN_CATEGORIES
from tests.data.conftest import write_mvtec_category


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for the package's folder in a checkout."""
    folder = tmp_path / "checkout" / "src" / "anomalib_zsad"
    (folder / "data").mkdir(parents=True)
    monkeypatch.setattr(sample, "__file__", str(folder / "data" / "sample.py"))
    return folder


def test_found_in_an_installed_package_and_in_a_checkout(package):
    with pytest.raises(FileNotFoundError, match=r"is in neither .* nor .*force-reinstall"):
        sample.sample_data_folder()
    checkout = package.parents[1] / "sample_data"
    (checkout / "industrial").mkdir(parents=True)
    assert sample.sample_data_folder() == checkout
    installed = package / "sample_data"
    (installed / "industrial").mkdir(parents=True)
    assert sample.sample_data_folder() == installed


def test_auxiliary_categories_train_and_unseen_ones_test(package):
    for name in (*AUXILIARY_CATEGORIES, *UNSEEN_CATEGORIES):
        write_mvtec_category(package / "sample_data" / "industrial" / name)
    data = SampleDataModule()
    data.setup()
    assert data.name == "industrial"
    assert set(data.train_data.class_names) | set(data.val_data.class_names) == set(AUXILIARY_CATEGORIES)
    assert not set(data.train_data.class_names) & set(data.val_data.class_names)
    assert data.test_data.class_names == sorted(UNSEEN_CATEGORIES)
    assert next(iter(data.train_dataloader())).gt_mask.shape == (8, 12, 16)


def test_the_bundled_set_is_whole():
    data = SampleDataModule()
    data.setup()
    for part in (data.train_data, data.val_data, data.test_data):
        assert part.has_normal
        assert part.has_anomalous
        assert not len(part.lacking_masks())
    assert data.test_data.class_names == sorted(UNSEEN_CATEGORIES)


def test_anomalib_reads_the_set_by_folder_and_not_by_mvtecad(monkeypatch):
    """As `sample_data/README.md` says."""
    root = sample.sample_data_folder()
    monkeypatch.chdir(root.parent)
    (block,) = [part for part in (root / "README.md").read_text().split("```") if part.startswith("python\n")]
    scope = {}
    exec(block.removeprefix("python\n"), scope)  # noqa: S102 - the README's own words
    scope["data"].setup()
    assert (len(scope["data"].train_data), len(scope["data"].test_data)) == (10, 16)
    assert all(item.gt_mask.any() == item.gt_label for item in scope["data"].test_data)
    mvtec = MVTecAD(root=root / "industrial", category="leather")
    with pytest.raises(ValueError, match="Must have equal len keys and value"):
        mvtec.setup()

"""Features kept between epochs are those that would be computed again."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset
from torchvision.transforms import v2

from anomalib_zsad.models.components.feature_cache import KeptFeatures, refuse_augmentation

ROW_BYTES = (2 + 4 * 2) * 4


class Features(NamedTuple):
    image: Tensor
    patches: Tensor


class Encoder:
    """Counts the images it is asked for."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, images: Tensor) -> Features:
        self.seen.append(len(images))
        means = images.mean(dim=(1, 2, 3))
        return Features(means[:, None].repeat(1, 2), means[:, None, None] + torch.arange(8.0).reshape(4, 2))


def batch(*indices: int) -> tuple[list[str], Tensor]:
    images = [torch.randn(3, 20, 30, generator=torch.Generator().manual_seed(index)) for index in indices]
    return [f"{index}.png" for index in indices], torch.stack(images)


@pytest.fixture(params=["memory", "disk"])
def storage(request, tmp_path) -> dict[str, str | Path]:
    return {"storage": "disk", "folder": tmp_path} if request.param == "disk" else {"storage": "memory"}


def same(actual: Features, expected: Features) -> None:
    assert isinstance(actual, Features)
    for left, right in zip(actual, expected, strict=True):
        assert torch.equal(left, right)


class TestKeptFeatures:
    def test_an_image_is_encoded_once(self, storage) -> None:
        kept, encode = KeptFeatures(limit=1, expected=5, **storage), Encoder()
        for indices in ((0, 1, 2), (2, 0), (1, 3, 0, 4), (4, 3)):
            paths, images = batch(*indices)
            same(kept.features(paths, images, encode), Encoder()(images))
        assert encode.seen == [3, 2]
        assert len(kept) == 5

    def test_a_limit_that_would_be_exceeded_is_an_error_with_what_is_needed(self, storage, tmp_path) -> None:
        kept = KeptFeatures(limit=2.5 * ROW_BYTES / 1e9, expected=4, **storage)
        with pytest.raises(ValueError, match=r"features of 4 images .* need 1.6e-07 GB .*\(4e-05 MB each\).* 1e-07 GB"):
            kept.features(*batch(0, 1, 2, 3), Encoder())
        assert not list(tmp_path.iterdir())

    def test_where_the_number_is_not_known_images_without_a_place_are_encoded_again(self, storage) -> None:
        kept, encode = KeptFeatures(limit=2.5 * ROW_BYTES / 1e9, **storage), Encoder()
        for _ in range(2):
            paths, images = batch(0, 1, 2, 3)
            same(kept.features(paths, images, encode), Encoder()(images))
        assert encode.seen == [4, 2]
        assert len(kept) == 2

    def test_a_limit_below_one_image_keeps_nothing(self, storage) -> None:
        kept, encode = KeptFeatures(limit=1e-9, **storage), Encoder()
        for _ in range(2):
            paths, images = batch(0)
            same(kept.features(paths, images, encode), Encoder()(images))
        assert encode.seen == [1, 1]

    def test_a_changed_image_is_an_error(self, storage) -> None:
        kept, encode = KeptFeatures(limit=1, expected=2, **storage), Encoder()
        paths, images = batch(0, 1)
        kept.features(paths, images, encode)
        images[1] = images[1].flip(-1)
        with pytest.raises(ValueError, match=r"'1\.png' is not the image it was.*remove the augmentation"):
            kept.features(paths, images, encode)

    def test_features_keep_their_types(self, storage) -> None:
        kept = KeptFeatures(limit=1, expected=1, **storage)
        paths, images = batch(0)
        for _ in range(2):
            answer = kept.features(paths, images, lambda x: Features(x.mean((2, 3)).bfloat16(), x[:, :1, 0]))
            assert (answer.image.dtype, answer.patches.dtype) == (torch.bfloat16, torch.float32)

    def test_the_file_goes_with_the_object(self, tmp_path) -> None:
        kept, encode = KeptFeatures("disk", 1, tmp_path, expected=3), Encoder()
        for _ in range(2):
            same(kept.features(*batch(0), encode), Encoder()(batch(0)[1]))
        assert encode.seen == [1]
        kept.close()
        assert not list(tmp_path.iterdir())
        assert len(kept) == 0

    def test_a_file_that_cannot_be_set_aside_leaves_nothing(self, tmp_path, monkeypatch) -> None:
        def full(*_args) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.posix_fallocate", full, raising=False)
        kept = KeptFeatures("disk", 1, tmp_path, expected=3)
        with pytest.raises(OSError, match="No space left on device"):
            kept.features(*batch(0), Encoder())
        kept.close()
        assert not list(tmp_path.iterdir())

    def test_a_full_disk_is_an_error_before_training(self, tmp_path) -> None:
        kept = KeptFeatures("disk", 1e9, tmp_path)
        with pytest.raises(OSError, match=r"keeping features needs .* GB .*Lower keep_features_limit"):
            kept.features(*batch(0), Encoder())

    def test_images_without_paths_are_an_error(self, storage) -> None:
        _, images = batch(0, 1)
        for paths, count in ((None, 0), (["0.png", ""], 1)):
            with pytest.raises(ValueError, match=f"{count} of 2 training images have a path"):
                KeptFeatures(limit=1, **storage).features(paths, images, Encoder())

    def test_bad_options_are_errors(self, tmp_path) -> None:
        with pytest.raises(ValueError, match="keep_features is 'tape'"):
            KeptFeatures("tape", 1)
        with pytest.raises(ValueError, match="keep_features_limit is 0"):
            KeptFeatures("memory", 0)
        with pytest.raises(ValueError, match="a folder goes with 'disk' alone"):
            KeptFeatures("memory", 1, tmp_path)
        with pytest.raises(NotADirectoryError, match="keep_features_folder names"):
            KeptFeatures("disk", 1, tmp_path / "absent")


class Data(list):
    def __init__(self, augmentations: object = None, mosaic_probability: float = 0, views: int | None = None) -> None:
        super().__init__([0])
        self.augmentations, self.mosaic_probability = augmentations, mosaic_probability
        self.augmented_views = views


class TestAugmentation:
    @pytest.mark.parametrize("transform", [None, v2.Resize(8), v2.Compose([v2.Resize(8), v2.Normalize([0.5], [0.5])])])
    def test_repeatable_transforms_are_accepted(self, transform) -> None:
        refuse_augmentation(ConcatDataset([Data(transform), Subset(Data(transform), [0])]))

    @pytest.mark.parametrize("wrap", [lambda data: data, lambda data: ConcatDataset([Data(), Subset(data, [0])])])
    def test_random_transforms_are_refused(self, wrap) -> None:
        with pytest.raises(ValueError, match=r"augmented \(RandomHorizontalFlip\).*augmented_views"):
            refuse_augmentation(wrap(Data(v2.Compose([v2.Resize(8), v2.RandomHorizontalFlip()]))))
        with pytest.raises(ValueError, match=r"augmented \(a mosaic\)"):
            refuse_augmentation(wrap(Data(mosaic_probability=0.4)))

    def test_views_that_come_again_are_accepted(self) -> None:
        refuse_augmentation(Data(v2.RandomHorizontalFlip(), mosaic_probability=0.4, views=2))

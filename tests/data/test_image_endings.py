from torchvision.datasets.folder import IMG_EXTENSIONS

from anomalib_zsad.data.image_endings import IMAGE_ENDINGS


def test_endings_are_those_of_torchvision() -> None:
    assert IMAGE_ENDINGS == IMG_EXTENSIONS

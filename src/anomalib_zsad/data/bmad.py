"""Test images of BMAD, with and without masks."""

from pathlib import Path

from anomalib_zsad.data.image_endings import IMAGE_ENDINGS
from anomalib_zsad.data.labelled_image import LabelledImage


def read_bmad_category(category: Path | str, class_name: str) -> list[LabelledImage]:
    """Test images of one category of BMAD, with masks where it has them.

    anomalib's own parser expects `test/<kind>/img/` and fails on the categories without masks, which keep their
    images directly in `test/<kind>/`.

    Args:
        category: Folder of the category.
        class_name: Its name in prompts.

    Raises:
        FileNotFoundError: There is no folder `test`.
    """
    test = Path(category) / "test"
    if not test.is_dir():
        raise FileNotFoundError(f"there is no folder {test}")
    samples = []
    for kind in sorted(path for path in test.iterdir() if path.is_dir()):
        images = kind / "img" if (kind / "img").is_dir() else kind
        abnormal = kind.name.lower() != "good"
        for path in sorted(images.iterdir()):
            if path.suffix.lower() in IMAGE_ENDINGS:
                mask = kind / "label" / path.name
                samples.append(LabelledImage(path, abnormal, class_name, mask if mask.is_file() else None, kind.name))
    return samples

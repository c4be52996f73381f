"""Items and batches that carry a class name, the model's uncertainty and p-values beside anomalib's own fields.

A zero-shot model builds its prompts from the name of what it looks at, so the name has to travel with each image.
anomalib's `ImageItem` has no place for it; the classes here add it, and they add the standard
deviations that a Monte Carlo model knows about its own answer. They are anomalib items in every other respect: any
model, callback or metric that takes an `ImageBatch` takes a `ClassNamedBatch`.

Shapes: `n` images of `h` x `w` pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from anomalib.data import ImageBatch, ImageItem, NumpyImageBatch, NumpyImageItem
from anomalib.data.dataclasses.generic import FieldDescriptor
from torch.utils.data import default_collate
from torchvision.transforms.v2.functional import resize
from torchvision.tv_tensors import Mask

from anomalib_zsad.data.class_name import check_class_name

# The descriptors are defaults that anomalib's dataclasses share on purpose: each validates one field of every instance.
# ruff: noqa: RUF009

__all__ = ["ClassNamedBatch", "ClassNamedItem", "NumpyClassNamedBatch", "NumpyClassNamedItem", "check_class_name"]

NameT = TypeVar("NameT", str, list[str])
ArrayT = TypeVar("ArrayT", torch.Tensor, np.ndarray)
MapT = TypeVar("MapT", Mask, np.ndarray)


def _check_names(names: Any) -> list[str]:
    """Return a batch's class names as a list, or raise if they are none."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"class_name of a batch must be a list of strings, one an image, got {names!r}")
    return [check_class_name(name) for name in names]


def _without_channel(values: Any, spatial: int, leading: int) -> Any:
    """Drop a channel axis of size one from `(..., 1, h, w)`, and check the number of axes."""
    if values.ndim == leading + spatial + 1 and values.shape[leading] == 1:
        values = values.squeeze(leading)
    if values.ndim != leading + spatial:
        raise ValueError(f"map_std must have {leading + spatial} axes, got shape {tuple(values.shape)}")
    return values


def _one_number(name: str, value: Any) -> torch.Tensor | None:
    """A scalar of float32, or None."""
    if value is None:
        return None
    number = torch.as_tensor(value, dtype=torch.float32)
    if number.numel() != 1:
        raise ValueError(f"{name} of one image must be one number, got shape {tuple(number.shape)}")
    return number.reshape(())


def _one_an_image(name: str, values: Any) -> torch.Tensor | None:
    """Numbers (n,) of float32, or None."""
    if values is None:
        return None
    numbers = torch.as_tensor(values, dtype=torch.float32)
    if numbers.ndim != 1:
        raise ValueError(f"{name} of a batch must have shape (n,), got {tuple(numbers.shape)}")
    return numbers


class _TorchItemValidator:
    """Checks of the added fields of one item."""

    @staticmethod
    def validate_class_name(class_name: str | None) -> str | None:
        """Check the class name: a string that is not blank, or None."""
        return None if class_name is None else check_class_name(class_name)

    @staticmethod
    def validate_score_std(score_std: torch.Tensor | float | None) -> torch.Tensor | None:
        """Check the standard deviation of the score: one number, as float32."""
        return _one_number("score_std", score_std)

    @staticmethod
    def validate_p_value(p_value: torch.Tensor | float | None) -> torch.Tensor | None:
        """Check the p-value: one number, as float32."""
        return _one_number("p_value", p_value)

    @staticmethod
    def validate_map_std(map_std: torch.Tensor | None) -> Mask | None:
        """Check the standard deviation of the anomaly map: (h, w) or (1, h, w), as float32."""
        return None if map_std is None else Mask(_without_channel(map_std, 2, 0), dtype=torch.float32)


class _TorchBatchValidator:
    """Checks of the added fields of a batch."""

    @staticmethod
    def validate_class_name(class_name: Sequence[str] | None) -> list[str] | None:
        """Check the class names: one an image, or None."""
        return None if class_name is None else _check_names(class_name)

    @staticmethod
    def validate_score_std(score_std: torch.Tensor | Sequence[float] | None) -> torch.Tensor | None:
        """Check the standard deviations of the scores: (n,), as float32."""
        return _one_an_image("score_std", score_std)

    @staticmethod
    def validate_p_value(p_value: torch.Tensor | Sequence[float] | None) -> torch.Tensor | None:
        """Check the p-values: (n,), as float32."""
        return _one_an_image("p_value", p_value)

    @staticmethod
    def validate_map_std(map_std: torch.Tensor | None) -> Mask | None:
        """Check the standard deviations of the maps: (n, h, w) or (n, 1, h, w), as float32."""
        return None if map_std is None else Mask(_without_channel(map_std, 2, 1), dtype=torch.float32)


class _NumpyItemValidator:
    """Checks of the added fields of one item of arrays."""

    @staticmethod
    def validate_class_name(class_name: str | None) -> str | None:
        """Check the class name: a string that is not blank, or None."""
        return None if class_name is None else check_class_name(class_name)

    @staticmethod
    def validate_score_std(score_std: np.ndarray | float | None) -> np.ndarray | None:
        """Check the standard deviation of the score: one number."""
        return None if score_std is None else np.asarray(score_std, dtype=np.float32).reshape(())

    @staticmethod
    def validate_p_value(p_value: np.ndarray | float | None) -> np.ndarray | None:
        """Check the p-value: one number."""
        return None if p_value is None else np.asarray(p_value, dtype=np.float32).reshape(())

    @staticmethod
    def validate_map_std(map_std: np.ndarray | None) -> np.ndarray | None:
        """Check the standard deviation of the anomaly map: (h, w)."""
        return None if map_std is None else _without_channel(np.asarray(map_std, dtype=np.float32), 2, 0)


class _NumpyBatchValidator:
    """Checks of the added fields of a batch of arrays."""

    @staticmethod
    def validate_class_name(class_name: Sequence[str] | None) -> list[str] | None:
        """Check the class names: one an image, or None."""
        return None if class_name is None else _check_names(class_name)

    @staticmethod
    def validate_score_std(score_std: np.ndarray | None) -> np.ndarray | None:
        """Check the standard deviations of the scores: (n,)."""
        return None if score_std is None else np.asarray(score_std, dtype=np.float32)

    @staticmethod
    def validate_p_value(p_value: np.ndarray | None) -> np.ndarray | None:
        """Check the p-values: (n,)."""
        return None if p_value is None else np.asarray(p_value, dtype=np.float32)

    @staticmethod
    def validate_map_std(map_std: np.ndarray | None) -> np.ndarray | None:
        """Check the standard deviations of the maps: (n, h, w)."""
        return None if map_std is None else _without_channel(np.asarray(map_std, dtype=np.float32), 2, 1)


@dataclass
class _ClassNamedFields(Generic[NameT, ArrayT, MapT]):
    """The added fields.

    They stand apart from the classes that use them because a descriptor resolves the annotations of the class it is
    defined in, and those of anomalib's batches name types that exist for type checkers alone.
    """

    class_name: FieldDescriptor[NameT | None] = FieldDescriptor(validator_name="validate_class_name")
    score_std: FieldDescriptor[ArrayT | None] = FieldDescriptor(validator_name="validate_score_std")
    map_std: FieldDescriptor[MapT | None] = FieldDescriptor(validator_name="validate_map_std")
    p_value: FieldDescriptor[ArrayT | None] = FieldDescriptor(validator_name="validate_p_value")


@dataclass
class NumpyClassNamedItem(_NumpyItemValidator, _ClassNamedFields[str, np.ndarray, np.ndarray], NumpyImageItem):
    """`ClassNamedItem` in arrays: what its `to_numpy()` gives."""


@dataclass
class NumpyClassNamedBatch(_NumpyBatchValidator, _ClassNamedFields[list[str], np.ndarray, np.ndarray], NumpyImageBatch):
    """`ClassNamedBatch` in arrays: what its `to_numpy()` gives."""

    item_class: ClassVar[type[NumpyImageItem]] = NumpyClassNamedItem


@dataclass
class ClassNamedItem(_TorchItemValidator, _ClassNamedFields[str, torch.Tensor, Mask], ImageItem):
    """An image item that knows the name of what it shows.

    Attributes:
        class_name: Name of the category, as the data set spells it ("metal_nut"), or None.
        score_std: Standard deviation of `pred_score` over a model's Monte Carlo samples, a scalar, or None.
        map_std: Standard deviation of `anomaly_map` over the samples, (h, w), or None.
        p_value: Conformal p-value of `pred_score` by a calibration on normal images, a scalar, or None.

    Example:
        >>> item = ClassNamedItem(image=torch.rand(3, 8, 8), class_name="hazelnut")
        >>> item.to_numpy().class_name
        'hazelnut'
    """

    numpy_class: ClassVar[type[NumpyImageItem]] = NumpyClassNamedItem


@dataclass
class ClassNamedBatch(_TorchBatchValidator, _ClassNamedFields[list[str], torch.Tensor, Mask], ImageBatch):
    """A batch of `ClassNamedItem`.

    Attributes:
        class_name: Names of the categories, one an image, or None where the data carries none.
        score_std: Standard deviations of `pred_score`, (n,), or None.
        map_std: Standard deviations of `anomaly_map`, (n, h, w), or None.
        p_value: Conformal p-values of `pred_score`, (n,), or None.

    Example:
        >>> items = [ClassNamedItem(image=torch.rand(3, 8, 8), class_name=name) for name in ("hazelnut", "tile")]
        >>> batch = ClassNamedBatch.collate(items)
        >>> batch.class_name
        ['hazelnut', 'tile']
        >>> batch.update(score_std=torch.tensor([0.1, 0.2])).items[1].score_std
        tensor(0.2000)
    """

    item_class: ClassVar[type[ImageItem]] = ClassNamedItem
    numpy_class: ClassVar[type[NumpyImageBatch]] = NumpyClassNamedBatch

    @property
    def items(self) -> list[ImageItem]:
        """The batch's items; their tensors are views of the batch's (anomalib's own property copies them)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        present = {name: value for name, value in values.items() if value is not None}
        return [
            self.item_class(**{name: value[index] for name, value in present.items()})
            for index in range(self.batch_size)
        ]

    @classmethod
    def from_batch(cls, batch: ImageBatch, class_name: Sequence[str] | None = None) -> "ClassNamedBatch":
        """Return any image batch as a class-named one that shares its tensors.

        A class-named batch comes back as the same object. Models call this before anything else sees the batch (in
        `on_before_batch_transfer`), so that the standard deviations have a place whatever dataset made the batch.

        Args:
            batch: Any batch of images.
            class_name: Names to set where the batch has none; one an image.
        """
        if isinstance(batch, cls):
            if batch.class_name is None and class_name is not None:
                batch.class_name = list(class_name)
            return batch
        values = {field.name: getattr(batch, field.name) for field in fields(batch)}
        return cls(**values, class_name=None if class_name is None else list(class_name))

    @classmethod
    def collate(cls, items: Sequence[ImageItem]) -> "ClassNamedBatch":
        """Join items to a batch.

        Images of different sizes are resized to the largest among them, masks with them, as anomalib does; give the
        dataset an augmentation that resizes to avoid that. The items themselves stay as they are.

        Args:
            items: Items of one dataset, at least one.

        Raises:
            ValueError: If there are no items, or if some items have a field of numbers (such as `gt_mask`) and
                others do not: a batch cannot tell which.
        """
        if not items:
            raise ValueError("a batch needs at least one item, got none")
        shape = _largest_shape(items)
        values = {field.name: [getattr(item, field.name, None) for item in items] for field in fields(cls)}
        return cls(**{name: _collate_field(name, column, items, shape) for name, column in values.items()})


def _largest_shape(items: Sequence[ImageItem]) -> list[int] | None:
    """Height and width of the item with the longest side, or None if all images have one shape."""
    shapes = {(item.image.shape[-2], item.image.shape[-1]) for item in items if item.image is not None}
    return None if len(shapes) == 1 else list(max(shapes, key=max))


def _collate_field(name: str, column: list[Any], items: Sequence[ImageItem], shape: list[int] | None) -> Any:
    """Join one field of all items; None where no item has it."""
    if all(value is None for value in column):
        return None
    if name in {"image_path", "mask_path", "explanation"}:
        # Normal images have no mask file; "" reads back as None from the items.
        return ["" if value is None else str(value) for value in column]
    if any(value is None for value in column):
        lacking = next(item.image_path for item, value in zip(items, column, strict=True) if value is None)
        raise ValueError(
            f"only some images of a batch have {name!r}; {lacking or 'one image'} has none. "
            "Give it for all images of a dataset or for none."
        )
    if name == "class_name":
        return column
    if shape is not None and column[0].ndim >= 2:
        column = [resize(value, shape) for value in column]
    return default_collate(column)

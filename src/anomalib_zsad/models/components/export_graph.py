"""What an export holds: pre-processing, model and post-processing as one graph, with the class names built in."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class ExportGraph(nn.Module):
    """A Lightning module of this package as a function of images alone.

    Args:
        module: The module, in evaluation mode.
        class_names: The names that the export knows.
        bare: Leave out pre- and post-processing, and answer with the spread over the samples too: what scorers run.

    Raises:
        ValueError: Several names are given, and the method's export takes one.
    """

    def __init__(self, module: Any, class_names: Sequence[str], *, bare: bool = False) -> None:
        super().__init__()
        self.prepare = None if bare else (getattr(module, "pre_processor", None) or None)
        self.finish = None if bare else (getattr(module, "post_processor", None) or None)
        made = getattr(module.model, "exported", None)
        self.answer: nn.Module = PlainExport(module.model, class_names) if made is None else made(class_names)

    def forward(self, image: Tensor, class_index: Tensor | None = None) -> dict[str, Tensor]:
        """Answers by name.

        Args:
            image: (n, 3, h, w) in [0, 1], of any size; prepared images where the graph is bare.
            class_index: Which of the names each image shows, (n,); `None` where there is one.
        """
        prepared = image if self.prepare is None else self.prepare(image)
        answer = self.answer(prepared, class_index)
        finished = answer if self.finish is None else self.finish(answer)
        return {name: value for name, value in finished._asdict().items() if value is not None}


class PlainExport(nn.Module):
    """A torch model of a method that has no export of its own: with one class name.

    Args:
        model: The model.
        class_names: One name.

    Raises:
        ValueError: There are several.
    """

    def __init__(self, model: nn.Module, class_names: Sequence[str]) -> None:
        super().__init__()
        if len(class_names) != 1:
            raise ValueError(
                f"an export of {type(model).__name__} takes one class name, and {len(class_names)} were given"
            )
        self.model, self.class_name = model, class_names[0]

    def forward(self, images: Tensor, class_index: Tensor | None = None) -> Any:
        """The model's answer."""
        del class_index
        return self.model(images, self.class_name)

"""WinClip over open_clip 3: its windows are given to the transformer in the order that open_clip 2 took."""

from types import MethodType
from typing import Any

from torch import Tensor


def mend_winclip(module: Any) -> None:
    """Make a WinClip's windows right, whatever version of open_clip is installed; other models stay as they are.

    anomalib's WinClip swaps windows and tokens before the transformer, which open_clip took in that order until 2.26.
    Since then it takes windows first, so that tokens of different windows attend to each other, without any error. The
    swap is undone around that one call.

    Args:
        module: A Lightning module of anomalib, on any device.
    """
    model = module.model
    windows = getattr(type(model), "_get_window_embeddings", None)
    transformer = getattr(getattr(getattr(model, "clip", None), "visual", None), "transformer", None)
    if windows is None or not hasattr(transformer, "batch_first"):
        return

    def mended(self: Any, feature_map: Tensor, masks: Tensor) -> Tensor:
        stack = self.clip.visual.transformer
        hooks = (
            stack.register_forward_pre_hook(lambda _, inputs: (inputs[0].transpose(0, 1), *inputs[1:])),
            stack.register_forward_hook(lambda _, __, output: output.transpose(0, 1)),
        )
        try:
            return windows(self, feature_map, masks)
        finally:
            for hook in hooks:
                hook.remove()

    model._get_window_embeddings = MethodType(mended, model)  # noqa: SLF001 - anomalib has no other place for it

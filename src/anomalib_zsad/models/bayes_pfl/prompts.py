"""The prompt bank and the words of class names."""

import torch
from torch import Tensor, nn

# Names of benchmark categories that are no words, and what the published implementation says instead.
SPOKEN_NAMES = {
    "macaroni1": "macaroni",
    "macaroni2": "macaroni",
    "pcb1": "printed circuit board",
    "pcb2": "printed circuit board",
    "pcb3": "printed circuit board",
    "pcb4": "printed circuit board",
    "pipe_fryum": "pipe fryum",
    "chewinggum": "chewing gum",
    "metal_nut": "metal nut",
}


def spoken_name(class_name: str) -> str:
    """The words that a class name stands for in a prompt: lower case, known names replaced."""
    name = class_name.strip().lower()
    return SPOKEN_NAMES.get(name, name)


class PromptBank(nn.Module):
    """Learned vectors of the prompts `context state name`.

    Args:
        num_prompts: Entries of the bank (B in the paper).
        context_length: Context vectors of an entry (P), shared by both states.
        state_length: State vectors of an entry (Q).
        width: Width of the text tower (Dt).
    """

    def __init__(self, num_prompts: int, context_length: int, state_length: int, width: int) -> None:
        super().__init__()
        self.context = nn.Parameter(_truncated_normal(0.0, num_prompts, context_length, width))
        self.normal = nn.Parameter(_truncated_normal(0.5, num_prompts, state_length, width))
        self.abnormal = nn.Parameter(_truncated_normal(-0.5, num_prompts, state_length, width))

    def contexts(self, offsets: Tensor) -> Tensor:
        """Context vectors with an offset (..., Dt) a prompt: (..., B, P, Dt)."""
        return self.context + offsets[..., None, None, :]

    def states(self, normal_offsets: Tensor, abnormal_offsets: Tensor) -> Tensor:
        """State vectors, normal first, with offsets (..., Dt): (..., B, 2, Q, Dt)."""
        normal = self.normal + normal_offsets[..., None, None, :]
        abnormal = self.abnormal + abnormal_offsets[..., None, None, :]
        return torch.stack((normal, abnormal), dim=-3)


def _truncated_normal(mean: float, *shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(shape), std=0.02, a=-2.0, b=2.0) + mean

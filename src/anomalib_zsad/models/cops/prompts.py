"""The prompts of both states, and the part of them that no image changes."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from anomalib_zsad.backbone import FrozenCLIP, Prefix


class StatePrompts(nn.Module):
    """Learned vectors of the prompts `[SOS] context, state + prototypes, class + decoded sample, "." [EOT]`.

    Args:
        width: Width of the text tower (Dt).
        context_length: Context vectors of a prompt.
        state_length: State vectors of a prompt, as many as prototypes of a state.
        class_length: Class vectors of a prompt.
        deep_depth: Text blocks, from the second on, before which tokens are replaced.
        deep_length: Tokens after SOS that are replaced.

    Raises:
        ValueError: `deep_length` is more than `context_length`.
    """

    def __init__(
        self,
        width: int,
        context_length: int = 6,
        state_length: int = 6,
        class_length: int = 2,
        deep_depth: int = 8,
        deep_length: int = 4,
    ) -> None:
        super().__init__()
        if deep_length > context_length:
            raise ValueError(
                f"deep_length {deep_length} is more than context_length {context_length}; deep prompts replace context"
            )
        self.lengths = (context_length, state_length, class_length)
        self.normal = nn.Parameter(torch.randn(sum(self.lengths), width) * 0.02)
        self.abnormal = nn.Parameter(torch.randn(sum(self.lengths), width) * 0.02)
        self.deep = nn.ParameterList(torch.randn(deep_length, width) * 0.02 for _ in range(deep_depth))

    def context(self) -> Tensor:
        """Context vectors, normal first: (2, context length, Dt)."""
        return self._split()[0]

    def states(self, prototypes: Tensor) -> Tensor:
        """State vectors, normal first, with prototypes (n, 2, state length, D) added: (n, 2, state length, Dt).

        Quirk kept for parity: the normal prompt gets the abnormal prototypes and the abnormal prompt the normal ones;
        the published weights were trained so.
        """
        return self._split()[1] + prototypes.flip(1)

    def classes(self, decoded: Tensor) -> Tensor:
        """Class vectors, normal first, with decoded samples (n, samples, D): (n, 2, samples, class length, Dt)."""
        return self._split()[2][:, None] + decoded[:, None, :, None]

    def deep_prompts(self) -> Tensor | None:
        """Vectors (depth, length, Dt) for the tokens after SOS; `None` for a text tower of one block."""
        return torch.stack(tuple(self.deep)) if len(self.deep) else None

    def _split(self) -> tuple[Tensor, ...]:
        return torch.stack((self.normal, self.abnormal)).split(self.lengths, dim=1)


class ConstantPrefix:
    """SOS, context and deep prompts, read once for as long as nothing they depend on changes.

    The keys and values are kept only where no gradient is asked for and nothing is being compiled or exported. They are
    read anew when a parameter was changed in place (an optimiser's step, a loaded state dict), replaced, moved, or
    converted, or when autocasting changed. Writing through `parameter.data` is the one change that torch does not
    count; call `forget` after it. Copies and pickles carry no kept values.
    """

    def __init__(self) -> None:
        self._kept: tuple[object, Prefix] | None = None

    def __getstate__(self) -> dict[str, None]:
        """What copies and pickles carry: nothing."""
        return {"_kept": None}

    def forget(self) -> None:
        """Drop what was kept."""
        self._kept = None

    def read(self, prompts: StatePrompts, backbone: FrozenCLIP) -> Prefix:
        """Keys and values of the constant tokens, with leading dimensions (1, 2)."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.compiler.is_exporting():
            return _read_constant(prompts, backbone)
        sources = (*prompts.parameters(), backbone.text.token_embedding, backbone.text.positions)
        identity = _identity(sources)
        if identity is None:
            return _read_constant(prompts, backbone)
        kept = self._kept
        if kept is None or kept[0] != identity:
            kept = (identity, _read_constant(prompts, backbone))
            self._kept = kept
        return kept[1]


def _read_constant(prompts: StatePrompts, backbone: FrozenCLIP) -> Prefix:
    context = prompts.context()[None]
    start = backbone.embed_start().to(context.dtype).expand(*context.shape[:-2], 1, -1)
    return backbone.text.read(torch.cat((start, context), dim=-2), deep_prompts=prompts.deep_prompts())


def _identity(tensors: Iterable[Tensor]) -> object | None:
    """A value that changes when a tensor does; `None` where torch counts no versions (inference tensors)."""
    tensors = tuple(tensors)
    if any(tensor.is_inference() for tensor in tensors):
        return None
    device = tensors[0].device.type
    autocast = (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
    state = tuple((t.data_ptr(), t._version, t.dtype, t.device) for t in tensors)  # noqa: SLF001 - torch has no public name
    return autocast, state

"""The frozen text tower, for prompts that are sequences of vectors and share prefixes."""

from collections.abc import Collection, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Activation, BackboneConfig
from .tokenizer import Tokenizer
from .transformer import FrozenBlock, FrozenModule


@dataclass(frozen=True)
class Prefix:
    """Keys and values of tokens already read, one entry a block.

    Attributes:
        length: Number of tokens read.
        leading: Leading dimensions of the prompts that were read.
        keys: For each block a tensor (*leading, heads, length, head width).
        values: The same for values.
    """

    length: int
    leading: tuple[int, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


class TextTower(FrozenModule):
    """CLIP's text transformer over open_clip's weights.

    Attention is causal, so nothing after EOT is ever read, and what prompts share at their beginning is read once.

    Args:
        weights: State dict under open_clip's names; what is taken is removed from it.
        config: The backbone.
        activation: Activation inside the blocks.
    """

    token_embedding: Tensor
    positions: Tensor
    ln_final_weight: Tensor
    ln_final_bias: Tensor
    projection: Tensor

    def __init__(self, weights: MutableMapping[str, Tensor], config: BackboneConfig, activation: Activation) -> None:
        super().__init__()
        self.freeze("token_embedding", weights.pop("token_embedding.weight"))
        self.freeze("positions", weights.pop("positional_embedding"))
        self.freeze("projection", weights.pop("text_projection"))
        self.freeze("ln_final_weight", weights.pop("ln_final.weight"))
        self.freeze("ln_final_bias", weights.pop("ln_final.bias"))
        self.blocks: Collection[FrozenBlock] = nn.ModuleList(  # type: ignore[assignment]
            FrozenBlock(weights, f"transformer.resblocks.{layer}", config.text, activation)
            for layer in range(config.text.layers)
        )

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token embeddings (..., Dt), without positions, of token ids (...)."""
        return F.embedding(token_ids, self.token_embedding)

    def read(self, tokens: Tensor, prefix: Prefix | None = None, deep_prompts: Tensor | None = None) -> Prefix:
        """Read tokens that further segments follow.

        Args:
            tokens: Vectors (*leading, length, Dt), without positions.
            prefix: What was read before; its leading dimensions, from the left, equal those of `tokens` or are 1.
            deep_prompts: Vectors (depth, count, Dt): before block `i + 2` the tokens 1 to `count` of this segment
                are replaced by `deep_prompts[i]`.

        Returns:
            The prefix with these tokens added.
        """
        leading = tuple(tokens.shape[:-2])
        x, visible = self._begin(tokens, prefix)
        read = []
        for index, block in enumerate(self.blocks):
            if deep_prompts is not None and 0 < index <= deep_prompts.shape[0]:
                x = _replace(x, deep_prompts[index - 1])
            normed = block.normalise(x)
            keys, values = _with_prefix(block.keys_values(normed), prefix, index, leading)
            read.append((keys, values))
            if index < len(self.blocks) - 1:  # nobody reads what the last block makes of a prefix
                x = block.add_mlp(block.add_attention(x, block.queries(normed), keys, values, visible))
        return Prefix(
            visible.shape[1],
            leading,
            tuple(keys.unflatten(0, leading) for keys, _ in read),
            tuple(values.unflatten(0, leading) for _, values in read),
        )

    def encode(self, tokens: Tensor, prefix: Prefix | None = None, end: Tensor | None = None) -> Tensor:
        """Read the last segment of each prompt and give its encoding.

        Args:
            tokens: Vectors (*leading, length, Dt), without positions.
            prefix: What was read before.
            end: Index of EOT in this segment, broadcastable to `leading`; `None` means the last token. What stands
                behind it is padding.

        Returns:
            `ln_final(x[EOT]) @ text_projection`, (*leading, D).
        """
        leading = tuple(tokens.shape[:-2])
        x, visible = self._begin(tokens, prefix)
        for index, block in enumerate(self.blocks):
            normed = block.normalise(x)
            mask: Tensor | None = visible
            keys, values = _with_prefix(block.keys_values(normed), prefix, index, leading)
            if index == len(self.blocks) - 1:  # of the last block only EOT is read
                x, normed, mask = _at_end(x, normed, visible, None if end is None else end.expand(leading).flatten())
            x = block.add_mlp(block.add_attention(x, block.queries(normed), keys, values, mask))
        x = F.layer_norm(x[:, 0], x.shape[-1:], self.ln_final_weight, self.ln_final_bias)
        return (x @ self.projection).unflatten(0, leading)

    def _begin(self, tokens: Tensor, prefix: Prefix | None) -> tuple[Tensor, Tensor]:
        """Tokens with positions, (prod(leading), length, Dt), and what each may look at, (length, all tokens)."""
        length, start = tokens.shape[-2], prefix.length if prefix else 0
        self.check_length(start + length)
        x = (tokens + self.positions[start : start + length].to(tokens.dtype)).flatten(0, -3)
        return x, torch.ones(length, start + length, dtype=torch.bool, device=x.device).tril(start)

    def check_length(self, length: int) -> None:
        """Raise `ValueError` unless a prompt of so many tokens can be read."""
        if length > self.positions.shape[0]:
            raise ValueError(
                f"a prompt of {length} tokens is longer than the text tower's {self.positions.shape[0]}; "
                "use a shorter class name"
            )


def _replace(x: Tensor, prompts: Tensor) -> Tensor:
    """`x` (m, length, Dt) with the tokens after the first replaced by `prompts` (count, Dt)."""
    count = prompts.shape[0]
    return torch.cat((x[:, :1], prompts.to(x.dtype).expand(x.shape[0], -1, -1), x[:, 1 + count :]), dim=1)


def _with_prefix(
    own: tuple[Tensor, Tensor], prefix: Prefix | None, index: int, leading: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """A segment's own keys and values at a block, behind those of its prefix."""
    if prefix is None:
        return own
    cached = (prefix.keys[index], prefix.values[index])
    keys, values = (
        torch.cat((_spread(old, prefix.leading, leading), new), dim=-2) for old, new in zip(cached, own, strict=True)
    )
    return keys, values


def _at_end(
    x: Tensor, normed: Tensor, visible: Tensor, position: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tokens, normalised tokens and mask at EOT alone: at the last position, or at one of its own for each prompt."""
    if position is None:
        return x[:, -1:], normed[:, -1:], None
    rows = torch.arange(x.shape[0], device=x.device)
    return x[rows, position][:, None], normed[rows, position][:, None], visible[position][:, None, None]


def _spread(cached: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Repeat a prefix's keys (*old, heads, length, width) for every prompt of a segment: (prod(new), heads, ...)."""
    if tuple(old) == tuple(new):
        return cached.flatten(0, len(new) - 1)
    # Leading dimensions that both share go as one: OpenVINO 2026.4 on the CPU reuses a kernel of fewer dimensions for
    # broadcasts of 7 where the batch is dynamic, and answers with uninitialised memory; up to 6 are right.
    shared = next((index for index, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), len(old))
    filled = cached.reshape(-1, *old[shared:], *(1,) * (len(new) - len(old)), *cached.shape[-3:])
    return filled.expand(-1, *new[shared:], *cached.shape[-3:]).flatten(0, len(new) - shared)


@lru_cache(maxsize=1)
def _tokenizer() -> Tokenizer:
    return Tokenizer()


def start_and_end_tokens() -> tuple[int, int]:
    """Ids of SOS and EOT in CLIP's vocabulary."""
    return _tokenizer().start_and_end


@lru_cache(maxsize=4096)
def token_ids(text: str) -> tuple[int, ...]:
    """Byte-pair ids of a text in CLIP's vocabulary, without SOS and EOT."""
    return tuple(_tokenizer().encode(text))

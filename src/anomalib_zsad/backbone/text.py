"""The frozen text tower, for prompts that are sequences of vectors and share prefixes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Activation, BackboneConfig
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
        weights: State dict under open_clip's names.
        config: The backbone.
        activation: Activation inside the blocks.
    """

    token_embedding: Tensor
    positions: Tensor
    ln_final_weight: Tensor
    ln_final_bias: Tensor
    projection: Tensor

    def __init__(self, weights: Mapping[str, Tensor], config: BackboneConfig, activation: Activation) -> None:
        super().__init__()
        self.freeze("token_embedding", weights["token_embedding.weight"])
        self.freeze("positions", weights["positional_embedding"])
        self.freeze("projection", weights["text_projection"])
        self.freeze("ln_final_weight", weights["ln_final.weight"])
        self.freeze("ln_final_bias", weights["ln_final.bias"])
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
            prefix: What was read before; its leading dimensions, from the left, equal those of ``tokens`` or are 1.
            deep_prompts: Vectors (depth, count, Dt): before block ``i + 2`` the tokens 1 to ``count`` of this segment
                are replaced by ``deep_prompts[i]``.

        Returns:
            The prefix with these tokens added.
        """
        return self._run(tokens, prefix, deep_prompts, last=None)[1]

    def encode(self, tokens: Tensor, prefix: Prefix | None = None, end: Tensor | None = None) -> Tensor:
        """Read the last segment of each prompt and give its encoding.

        Args:
            tokens: Vectors (*leading, length, Dt), without positions.
            prefix: What was read before.
            end: Index of EOT in this segment, broadcastable to ``leading``; ``None`` means the last token. What stands
                behind it is padding.

        Returns:
            ``ln_final(x[EOT]) @ text_projection``, (*leading, D).
        """
        if end is None:
            end = torch.full((1,) * (tokens.ndim - 2), tokens.shape[-2] - 1, device=tokens.device)
        x, _ = self._run(tokens, prefix, None, last=end)
        x = F.layer_norm(x, x.shape[-1:], self.ln_final_weight, self.ln_final_bias)
        return (x @ self.projection).unflatten(0, tokens.shape[:-2])

    def _run(
        self, tokens: Tensor, prefix: Prefix | None, deep_prompts: Tensor | None, last: Tensor | None
    ) -> tuple[Tensor, Prefix]:
        """Run all blocks on one segment; with ``last`` the final block answers at those positions alone."""
        leading, length = tokens.shape[:-2], tokens.shape[-2]
        start = prefix.length if prefix else 0
        self._check_length(start + length)
        x = (tokens + self.positions[start : start + length].to(tokens.dtype)).flatten(0, -3)
        visible = torch.ones(length, start + length, dtype=torch.bool, device=x.device).tril(start)
        all_keys, all_values = [], []
        for index, block in enumerate(self.blocks):
            if deep_prompts is not None and 0 < index <= deep_prompts.shape[0]:
                x = _replace(x, deep_prompts[index - 1])
            final = index == len(self.blocks) - 1
            normed = block.normalise(x)
            keys, values = block.keys_values(normed)
            if prefix is not None:
                keys = torch.cat((_spread(prefix.keys[index], prefix.leading, leading), keys), dim=-2)
                values = torch.cat((_spread(prefix.values[index], prefix.leading, leading), values), dim=-2)
            all_keys.append(keys)
            all_values.append(values)
            mask = visible
            if final and last is None:
                break
            if final and last is not None:
                position = last.expand(leading).flatten()
                rows = torch.arange(x.shape[0], device=x.device)
                x, normed = x[rows, position][:, None], normed[rows, position][:, None]
                mask = visible[position][:, None, None]
            x = block.add_mlp(x + block.attend(block.queries(normed), keys, values, mask))
        read = Prefix(
            start + length,
            tuple(leading),
            tuple(keys.unflatten(0, leading) for keys in all_keys),
            tuple(values.unflatten(0, leading) for values in all_values),
        )
        return x[:, 0], read

    def _check_length(self, length: int) -> None:
        if length > self.positions.shape[0]:
            msg = (
                f"A prompt of {length} tokens is longer than the text tower's {self.positions.shape[0]}; "
                "use a shorter class name."
            )
            raise ValueError(msg)


def _replace(x: Tensor, prompts: Tensor) -> Tensor:
    """``x`` (m, length, Dt) with the tokens after the first replaced by ``prompts`` (count, Dt)."""
    count = prompts.shape[0]
    return torch.cat((x[:, :1], prompts.to(x.dtype).expand(x.shape[0], -1, -1), x[:, 1 + count :]), dim=1)


def _spread(cached: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Repeat a prefix's keys (*old, heads, length, width) for every prompt of a segment: (prod(new), heads, ...)."""
    if tuple(old) == tuple(new):
        return cached.flatten(0, len(new) - 1)
    filled = cached.reshape(*old, *(1,) * (len(new) - len(old)), *cached.shape[-3:])
    return filled.expand(*new, *cached.shape[-3:]).flatten(0, len(new) - 1)


@lru_cache(maxsize=1)
def _tokenizer():  # noqa: ANN202 - open_clip's class, imported late
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def start_and_end_tokens() -> tuple[int, int]:
    """Ids of SOS and EOT in CLIP's vocabulary."""
    encoder = _tokenizer().encoder
    return encoder["<start_of_text>"], encoder["<end_of_text>"]


@lru_cache(maxsize=4096)
def token_ids(text: str) -> tuple[int, ...]:
    """Byte-pair ids of a text in CLIP's vocabulary, without SOS and EOT."""
    return tuple(_tokenizer().encode(text))

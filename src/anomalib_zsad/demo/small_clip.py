"""A trainable CLIP under open_clip's tensor names, just large enough for the demonstration.

open_clip's own class gives neither the patch tokens of chosen blocks nor CoPS's value-value path; pretraining
shapes both. Activation is exact GELU.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CONFIG: dict[str, Any] = {
    "embed_dim": 96,
    "vision_cfg": {"image_size": 192, "layers": 6, "width": 192, "head_width": 64, "patch_size": 12},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 4},
}
"""open_clip's configuration of the demo backbone."""

VERSION = "3"
"""Version of the embedded backbone that `DemoCLIP.save` writes; weights that answer differently need a new one."""


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool = False) -> Tensor:
    """Attention of (n, heads, length, head width), written out: faster to train in bfloat16 on a CPU."""
    weight = (query * query.shape[-1] ** -0.5) @ key.mT
    if causal:
        future = torch.ones(weight.shape[-2:], dtype=torch.bool).triu(1)
        weight = weight.masked_fill(future, -torch.inf)
    return weight.softmax(-1) @ value


class Attention(nn.Module):
    """Multi-head attention with one in-projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool = False, value_path: bool = False) -> tuple[Tensor, Tensor | None]:
        """Attention of normalised tokens (n, length, width), and value-value attention if asked."""
        split = F.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        with torch.autocast("cpu", enabled=False):
            plain = attend(query, key, value, causal)
            other = attend(value, value, value) if value_path else None
        return self._merge(plain), None if other is None else self._merge(other)

    def _merge(self, heads: Tensor) -> Tensor:
        return self.out_proj(heads.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm residual block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, causal: bool = False, value_path: bool = False) -> tuple[Tensor, Tensor | None]:
        """Tokens (n, length, width) after the block, and what the value-value path gains."""
        plain, other = self.attn(self.ln_1(x), causal, value_path)
        x = x + plain
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x)))), other


class Transformer(nn.Module):
    """Stack of blocks."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))


@dataclass(frozen=True)
class VisionTokens:
    """Tokens of n images with N patches.

    Attributes:
        image: global feature (n, D).
        patches: projected patches of the plain path (n, N, D).
        value_patches: projected patches of the value-value path (n, N, D), None unless asked.
        raw: raw patch tokens after each block, each (n, N, Dv).
    """

    image: Tensor
    patches: Tensor
    value_patches: Tensor | None
    raw: list[Tensor]


class Vision(nn.Module):
    """Vision tower; it also reads windows of the picture, with the part of the position grid that belongs to them."""

    def __init__(self, config: dict[str, Any], embed_dim: int) -> None:
        super().__init__()
        width, patch = config["width"], config["patch_size"]
        self.grid = config["image_size"] // patch
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * 0.02)
        self.positional_embedding = nn.Parameter(torch.randn(self.grid**2 + 1, width) * 0.02)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, width // config["head_width"], config["layers"])
        self.proj = nn.Parameter(torch.randn(width, embed_dim) * width**-0.5)

    def _positions(self, rows: int, corner: tuple[int, int]) -> Tensor:
        table = self.positional_embedding[1:].unflatten(0, (self.grid, self.grid))
        window = table[corner[0] : corner[0] + rows, corner[1] : corner[1] + rows].flatten(0, 1)
        return torch.cat([self.positional_embedding[:1], window])

    def forward(self, images: Tensor, corner: tuple[int, int] = (0, 0), value_path: bool = False) -> VisionTokens:
        """Read images (n, 3, side, side), normalised, whose upper left patch has the grid position `corner`."""
        patches = self.conv1(images)
        positions = self._positions(patches.shape[-1], corner)
        tokens = torch.cat([self.class_embedding.expand(len(images), 1, -1), patches.flatten(2).mT], dim=1)
        x = self.ln_pre(tokens + positions)
        other, raw = x, []
        for block in self.transformer.resblocks:
            x, gain = block(x, value_path=value_path)
            other = other if gain is None else other + gain
            raw.append(x[:, 1:])
        joint = self.ln_post(x) @ self.proj
        value_patches = self.ln_post(other)[:, 1:] @ self.proj if value_path else None
        return VisionTokens(joint[:, 0], joint[:, 1:], value_patches, raw)


class DemoCLIP(nn.Module):
    """Both towers.

    Args:
        config: open_clip's model configuration.
        token_ids: the tokens that have an embedding of their own; all others share one.
    """

    def __init__(self, config: dict[str, Any], token_ids: list[int]) -> None:
        super().__init__()
        text, embed_dim = config["text_cfg"], config["embed_dim"]
        self.config, self.token_ids = config, sorted(token_ids)
        self.visual = Vision(config["vision_cfg"], embed_dim)
        self.row_of = {token: row for row, token in enumerate(self.token_ids)}
        self.token_rows = nn.Embedding(len(self.token_ids) + 1, text["width"])
        nn.init.normal_(self.token_rows.weight, std=0.1)
        self.positional_embedding = nn.Parameter(torch.randn(text["context_length"], text["width"]) * 0.02)
        self.transformer = Transformer(text["width"], text["heads"], text["layers"])
        self.ln_final = nn.LayerNorm(text["width"])
        self.text_projection = nn.Parameter(torch.randn(text["width"], embed_dim) * text["width"] ** -0.5)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def encode_text(self, prompts: list[list[int]]) -> Tensor:
        """Normalised features (n, D) of prompts given as token ids from SOS to EOT."""
        unknown, length = len(self.token_ids), max(map(len, prompts))
        rows = [[self.row_of.get(token, unknown) for token in prompt] for prompt in prompts]
        padded = torch.tensor([row + [unknown] * (length - len(row)) for row in rows])
        x = self.token_rows(padded) + self.positional_embedding[:length]
        for block in self.transformer.resblocks:
            x, _ = block(x, causal=True)
        end = torch.tensor([len(prompt) - 1 for prompt in prompts])
        return F.normalize(self.ln_final(x[torch.arange(len(x)), end]) @ self.text_projection, dim=-1)

    def state(self) -> dict[str, Tensor]:
        """The weights in half precision under open_clip's names, with the short form of the token embedding."""
        weights = {name: value.detach() for name, value in self.state_dict().items()}
        rows = weights.pop("token_rows.weight")
        halves = {name: value.half().contiguous() for name, value in weights.items()}
        halves["token_embedding.rows"] = torch.tensor(self.token_ids, dtype=torch.int32)
        halves["token_embedding.values"] = rows[:-1].half().contiguous()
        halves["token_embedding.unknown"] = rows[-1].half().contiguous()
        return halves

    def load(self, path: Path) -> None:
        """Take over weights that `save` wrote; words that they lack start as the unknown word."""
        saved = {name: value.float() for name, value in load_file(path).items()}
        values = dict(
            zip(saved.pop("token_embedding.rows").int().tolist(), saved.pop("token_embedding.values"), strict=True)
        )
        unknown = saved.pop("token_embedding.unknown")
        rows = [values.get(token, unknown) for token in self.token_ids]
        self.load_state_dict({**saved, "token_rows.weight": torch.stack([*rows, unknown])})

    def save(self, folder: Path) -> None:
        """Write `open_clip_config.json` and `weights.safetensors` into a folder, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        config, weights = folder / "open_clip_config.json", folder / "weights.safetensors"
        draft = folder / ".draft"
        draft.write_text(json.dumps(self.config, indent=2) + "\n", encoding="utf-8")
        draft.replace(config)
        save_file(self.state(), draft, metadata={"version": VERSION})
        draft.chmod(0o644)
        draft.replace(weights)

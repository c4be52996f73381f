"""Names of the published checkpoint (key `MyModel`) and ours."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

PUBLISHED_KEY = "MyModel"

# Ours to theirs, by prefix. What they have beyond this (decoders, p_mu, encoders under second names) takes no part in
# any answer.
_PREFIXES = {
    "prompts.context": "prompt_context",
    "prompts.normal": "prompt_state_normal",
    "prompts.abnormal": "prompt_state_abnormal",
    "context_flow.base.mean.": "context_encoder.weight_mean.module.",
    "context_flow.base.spread.": "context_encoder.weight_log_variance.module.",
    "normal_flow.base.mean.": "state_encoder.weight_mean.module.",
    "normal_flow.base.spread.": "state_encoder.weight_log_variance.module.",
    "abnormal_flow.base.mean.": "state_encoder.weight_mean.module.",
    "abnormal_flow.base.spread.": "state_encoder.weight_log_variance.module.",
    "context_flow.direction": "PFL_context.amor_u",
    "context_flow.normal": "PFL_context.amor_w",
    "context_flow.offset": "PFL_context.amor_b",
    "normal_flow.direction": "PFL_normal.amor_u",
    "normal_flow.normal": "PFL_normal.amor_w",
    "normal_flow.offset": "PFL_normal.amor_b",
    "normal_flow.state": "PFL_normal.state",
    "abnormal_flow.direction": "PFL_abnormal.amor_u",
    "abnormal_flow.normal": "PFL_abnormal.amor_w",
    "abnormal_flow.offset": "PFL_abnormal.amor_b",
    "abnormal_flow.state": "PFL_abnormal.state",
    "cross_attention.query": "RCA.q_proj_pre",
    "cross_attention.patch_projections.": "RCA.linear_proj.",
    "fusion.reduce": "fuse.fuse_modules",
    "fusion.weigh": "fuse.compress",
    "fusion.expand": "fuse.post_process",
    "class_mapping": "class_mapping",
    "image_mapping": "image_mapping",
    "temperature_": "temperature_",
}


def published_name(name: str) -> str:
    """The published checkpoint's name of one of our parameters."""
    for ours, theirs in _PREFIXES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise KeyError(f"'{name}' is no parameter of Bayes-PFL")


def from_published(published: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a published state dict; singleton axes, which only that code needed, are dropped.

    Args:
        published: The content of `MyModel`.
        ours: Parameters of the model to be loaded, by name, for their shapes.

    Returns:
        Tensors under our names. A missing one is left out, a differing shape is kept, for the caller to name.
    """
    renamed = {}
    for name, parameter in ours.items():
        value = published.get(published_name(name))
        if value is None:
            continue
        same = [side for side in value.shape if side > 1] == [side for side in parameter.shape if side > 1]
        renamed[name] = value.reshape(parameter.shape) if same else value
    return renamed


def infer_arguments(published: Mapping[str, Tensor]) -> dict[str, int]:
    """Hyper-parameters that a published checkpoint was trained with, read from its shapes."""
    num_prompts, context_length, _ = published["prompt_context"].shape
    return {
        "num_prompts": num_prompts,
        "context_length": context_length,
        "state_length": published["prompt_state_normal"].shape[1],
        "num_flows": published["PFL_normal.amor_u"].shape[1],
    }


def infer_stage(path: Path) -> int:
    """Training stage of a published checkpoint: its name says it as `epoch_post_<n>_<stage>.pth`, else it is 2."""
    match = re.fullmatch(r"epoch_post_\d+_(\d+)", path.stem)
    return int(match.group(1)) if match else 2

"""Names of the published checkpoint (key `prompt_learner`) and ours."""

from collections.abc import Mapping

from torch import Tensor

PUBLISHED_KEY = "prompt_learner"

# Ours to theirs, by prefix.
_PREFIXES = {
    "prompts.normal": "ctx_pos",
    "prompts.abnormal": "ctx_neg",
    "prompts.deep.": "compound_prompts_text.",
    "prototypes.normal": "t_n",
    "prototypes.abnormal": "t_a",
    "prototypes.extractor.attention.": "extractor.attn.",
    "prototypes.extractor.ln_": "extractor.ln_",
    "prototypes.extractor.fc.": "extractor.mlp.c_fc.",
    "prototypes.extractor.proj.": "extractor.mlp.c_proj.",
    "vae.hidden.": "vae_encoder.net.",
    "vae.mean.": "vae_encoder.mean.",
    "vae.log_variance.": "vae_encoder.log_var.",
    "vae.decoder.": "vae_decoder.net.",
}

# What the published files leave out (or, older ones, hold although nothing reads it). The encoder of the VAE is among
# it: it takes part in training alone, so a model that goes on training from a published file starts with a fresh one.
LEFT_OUT = ("projector", "extractor_", "vae_encoder", "token")


def published_name(name: str) -> str:
    """The published checkpoint's name of one of our parameters."""
    for ours, theirs in _PREFIXES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise KeyError(f"'{name}' is no parameter of CoPS")


def from_published(published: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a published state dict; singleton axes, which only that code needed, are dropped.

    Args:
        published: The content of `prompt_learner`.
        ours: Parameters of the model to be loaded, by name.

    Returns:
        Tensors under our names. Of what published files leave out, our own tensor is kept; anything else that is
        missing is left out and a differing shape is kept, for the caller to name.
    """
    renamed = {}
    for name, parameter in ours.items():
        theirs = published_name(name)
        value = published.get(theirs)
        if value is None:
            if theirs.startswith(LEFT_OUT):
                renamed[name] = parameter.detach()
            continue
        same = [side for side in value.shape if side > 1] == [side for side in parameter.shape if side > 1]
        renamed[name] = value.reshape(parameter.shape) if same else value
    return renamed


def unknown_names(published: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    """Names in a published state dict that this model has no place for, apart from those that nothing reads."""
    known = {published_name(name) for name in ours}
    return [name for name in published if name not in known and not name.startswith(LEFT_OUT)]


def infer_arguments(published: Mapping[str, Tensor], class_length: int = 2) -> dict[str, int]:
    """Hyper-parameters that a published checkpoint was trained with, read from its shapes.

    Context and class vectors are one tensor there, so the number of class vectors is not in the shapes; every published
    configuration has 2.
    """
    state_length = published["t_n"].shape[0]
    deep = [name for name in published if name.startswith("compound_prompts_text.")]
    return {
        "context_length": published["ctx_pos"].shape[-2] - state_length - class_length,
        "state_length": state_length,
        "class_length": class_length,
        "deep_depth": len(deep),
        "deep_length": published[deep[0]].shape[0] if deep else 0,
    }

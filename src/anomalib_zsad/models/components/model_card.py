"""A model card (Markdown with the Hub's front matter), made from a model's own facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from anomalib_zsad.models.known_weights import KnownWeights, recognise
from anomalib_zsad.outputs.versions import versions

PAPERS = {
    "BayesPFL": "Qu et al., Bayesian Prompt Flow Learning for Zero-Shot Anomaly Detection, CVPR 2025, arXiv:2503.10080",
    "CoPS": "Chen et al., CoPS: Conditional Prompt Synthesis for Zero-Shot Anomaly Detection, arXiv:2508.03447",
}
_UNKNOWN = "not known: the checkpoint does not say"


@dataclass(frozen=True)
class ModelFacts:
    """What a model says of itself.

    Attributes:
        stamp: What its checkpoints are stamped with.
        arguments: Further arguments of its class.
        known: The published weights that it was built from; `None` if they are others.
        figures: Metrics of its last test in this process, in [0, 1] by name.
        calibration: In words, what its calibration is; empty without one.
    """

    stamp: Mapping[str, Any]
    arguments: Mapping[str, Any]
    known: KnownWeights | None
    figures: Mapping[str, float]
    calibration: str

    @classmethod
    def of(cls, module: Any) -> "ModelFacts":
        """Facts of a Lightning module of this package."""
        built_from = getattr(module, "built_from", None)
        attached = getattr(module, "_trainer", None)
        measured = {} if attached is None else attached.callback_metrics
        figures = {name: float(value) for name, value in measured.items() if name.startswith(("image_", "pixel_"))}
        used = getattr(module, "calibration", None)
        words = "" if used is None else used.rule.statement
        known = None
        if built_from is not None and built_from.published_key and built_from.path.is_file():
            known = recognise(built_from.path)[0]
        return cls(module.stamp(), module.kept_arguments(), known, figures, words)

    @property
    def method(self) -> str:
        """Name of the method's class."""
        return str(self.stamp["method"])

    @property
    def auxiliary(self) -> str:
        """What the model was trained on, in words."""
        categories = ", ".join(self.stamp.get("auxiliary") or ())
        name = self.stamp.get("auxiliary_set") or (self.known.auxiliary_set if self.known else None)
        if name and categories:
            return f"{name}: {categories}"
        return name or categories or _UNKNOWN

    @property
    def backbone(self) -> str:
        """The frozen backbone in words: folders may name people, so of a path its last part alone."""
        told = self.stamp["backbone"]
        name, tag = Path(told["name"]).name, told["pretrained"]
        weights = (
            "embedded in the package" if name == "demo" else f"weights {Path(tag).name}" if tag else "random weights"
        )
        return f"{name} ({weights}; fingerprint {told['fingerprint']})"


def model_card(
    facts: ModelFacts,
    *,
    figures: Mapping[str, float] | None = None,
    figures_of: str = "",
    protocol: str = "",
    license: str = "",  # noqa: A002 - the Hub's word
) -> str:
    """The card as text.

    Args:
        facts: Of the model.
        figures: Measured figures in [0, 1] by name; `None` for those of the model's last test in this process.
        figures_of: What they were measured on.
        protocol: Name of the protocol, `deployable` or `paper`.
        license: Licence of the weights, an identifier of the Hub; empty for that of known published weights.
    """
    data = ModelCardData(
        library_name="anomalib_zsad",
        license=license or None,
        pipeline_tag="image-segmentation",
        tags=["anomaly-detection", "zero-shot", "anomalib", facts.method],
    )
    parts = [f"---\n{data.to_yaml()}\n---", f"# {facts.method}, trained for zero-shot anomaly detection"]
    parts += [_what(facts), _use(facts), _figures(facts.figures if figures is None else figures, figures_of, protocol)]
    parts += [_licence(facts, license), _limits(facts)]
    return "\n\n".join(parts) + "\n"


def _what(facts: ModelFacts) -> str:
    rows = {
        "method": PAPERS.get(facts.method, facts.method),
        "auxiliary data": facts.auxiliary,
        "frozen backbone": f"{facts.backbone}; its weights are not in this folder",
        "image size": f"{facts.stamp['image_size']} x {facts.stamp['image_size']} pixels",
        "layers": ", ".join(map(str, facts.stamp["layers"])),
        "class name": facts.stamp["class_name"] or 'none; "object" where the data carry none',
        "arguments": ", ".join(
            f"{name} {value}" for name, value in sorted(facts.arguments.items()) if value is not None
        ),
        "written by": ", ".join(f"{name} {version}" for name, version in versions().items() if name in _PROGRAMS),
    }
    return "## What it is\n\n| | |\n| --- | --- |\n" + "\n".join(
        f"| {name} | {value} |" for name, value in rows.items()
    )


_PROGRAMS = ("anomalib-zsad", "anomalib", "torch")


def _use(facts: ModelFacts) -> str:
    return (
        "## Use\n\n```python\n"
        f"from anomalib_zsad import {facts.method}\n\n"
        f'model = {facts.method}.from_pretrained("FOLDER_OR_REPOSITORY")\n'
        'answer = model.examine("part.png", class_name="metal nut")\n```\n\n'
        "`model.safetensors` is a checkpoint for every command of `anomalib-zsad` and `anomalib`. "
        + (f"A calibration is used: {facts.calibration}" if facts.calibration else "There is no calibration in it.")
    )


def _figures(figures: Mapping[str, float], measured_on: str, protocol: str) -> str:
    if not figures:
        return "## Figures\n\nNone are known for these weights. `anomalib-zsad evaluate` measures them."
    rows = "\n".join(f"| {name} | {100 * value:.1f} |" for name, value in sorted(figures.items()))
    named = f"protocol `{protocol}`" if protocol else "the metrics of the Trainer's test"
    return (
        f"## Figures\n\nIn %, {named}, on {measured_on or 'the data of the last test'}:\n\n| | |\n| --- | --- |\n{rows}"
    )


def _licence(facts: ModelFacts, given: str) -> str:
    licence = given or (facts.known.licence if facts.known else "")
    source = f" Its authors offer it at {facts.known.source}." if facts.known else ""
    return (
        "## Licence\n\n"
        f"Of these weights: {licence or 'not stated by who saved them'}.{source} The package anomalib-zsad is under "
        "Apache-2.0. Data that the model was trained on and the backbone have licences of their own."
    )


def _limits(facts: ModelFacts) -> str:
    lines = [
        "For research use only: this is not a medical device.",
        "A score is a probability by the model and not a decision; without a calibration 0.5 has no meaning.",
        "Figures on one data set say little about another; categories near the auxiliary ones flatter the model.",
    ]
    if facts.stamp["backbone"]["name"] == "demo":
        lines.append(
            "The backbone is the package's demonstration, which has seen drawings and pictures of materials alone: "
            "scores say nothing about real products or patients."
        )
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)

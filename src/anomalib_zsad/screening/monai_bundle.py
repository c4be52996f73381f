"""A model as a MONAI bundle: a folder that `python -m monai.bundle run` screens volumes with, as `screen` does."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.outputs.atomic import whole_folder, write_text
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.terminal import visible
from anomalib_zsad.outputs.versions import versions
from anomalib_zsad.scoring.model_scorer import ModelScorer
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import check_calibration, screen
from anomalib_zsad.volumes.options import ReadingOptions, SizeBudget

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
CALIBRATION = "models/calibration_volumes.json"
_HERE = __name__
_PACKAGES = ("anomalib-zsad", "anomalib", "nibabel", "pydicom")


def write_bundle(
    folder: Path, scorer: ModelScorer, options: ScreeningOptions, arguments: Mapping[str, Any] | None = None
) -> None:
    """Write a bundle; the folder appears whole or not at all.

    Args:
        folder: A path where nothing is yet, or an empty folder.
        scorer: The model, with the class name that volumes show.
        options: How volumes are read, screened and judged; a calibration travels along.
        arguments: Arguments of the model that its checkpoint does not know, such as `num_samples`.

    Raises:
        FileExistsError: There is something at `folder`.
        ValueError: The model was not trained.
        CalibrationMismatchError: The calibration was made with another model or other settings.
    """
    check_calibration(options, scorer.describe())
    folder = Path(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    with whole_folder(folder) as bundle:
        scorer.module.save_pretrained(bundle / "models")
        for name in ("configs", "docs"):
            (bundle / name).mkdir()
        card = (bundle / "models" / "README.md").read_text(encoding="utf-8")
        (bundle / "models" / "README.md").unlink()
        if options.rule.calibration is not None:
            options.rule.calibration.save(bundle / CALIBRATION)
        backbones = [path.name for path in (bundle / "models").glob("backbone/*.json")]
        write_text(bundle / "LICENSE", licence_text())
        write_text(bundle / "docs" / "README.md", f"{card}\n{_USE}")
        inference = _inference(scorer, options, arguments or {}, backbones)
        for name, content in (("metadata", _metadata(scorer, options)), ("inference", inference)):
            write_text(bundle / "configs" / f"{name}.json", json.dumps(content, indent=4) + "\n")


_USE = """\
## As a MONAI bundle

In the bundle's folder, with `pip install 'anomalib-zsad[bundle]'`:

```
python -m monai.bundle run --bundle_root . --config_file configs/inference.json \\
    --meta_file configs/metadata.json --input STUDIES --output OUT
```

writes what `anomalib-zsad screen` writes. Any entry of `configs/inference.json` can be overridden in the same way, such
as `--device cuda`, `'--volume#window' 80/40` or `'--reading#modality' CT`. A backbone whose weights open_clip does not
fetch is given by `'--model_arguments#pretrained' FILE`.
"""


def licence_text() -> str:
    """The package's licence, from the installed package or the checkout.

    Raises:
        FileNotFoundError: It is in neither place.
    """
    try:
        text = metadata.distribution("anomalib-zsad").read_text("licenses/LICENSE")
    except metadata.PackageNotFoundError:
        text = None
    return text or (Path(__file__).resolve().parents[3] / "LICENSE").read_text(encoding="utf-8")


def _inference(
    scorer: ModelScorer, options: ScreeningOptions, arguments: Mapping[str, Any], backbones: list[str]
) -> dict[str, Any]:
    """The content of inference.json."""
    # Places of this machine are told by nobody: whoever runs the bundle gives their own.
    given = {name: value for name, value in arguments.items() if name not in ("backbone", "pretrained")}
    if backbones:
        given["backbone"] = f"$@bundle_root + '/models/backbone/{backbones[0]}'"
    rule = {
        field.name: getattr(options.rule, field.name)
        for field in fields(DecisionRule)
        if field.name not in ("kind", "calibration")
    }
    calibrated = options.rule.calibration is not None
    return {
        "imports": ["$import pathlib"],
        "bundle_root": ".",
        "input": "$@bundle_root + '/input'",
        "output": "$@bundle_root + '/output'",
        "resume": False,
        "device": "auto",
        "class_name": scorer.class_name,
        "model_arguments": given,
        # All of them: one that is left out would have its default where the bundle runs, and nobody would be told.
        "reading": json.loads(json.dumps(asdict(options.reading))),
        "volume": json.loads(json.dumps(asdict(options.volume))),
        "rule": rule,
        "calibration": f"$@bundle_root + '/{CALIBRATION}'" if calibrated else None,
        "scorer": {
            "_target_": "anomalib_zsad.scoring.build.build_scorer",
            "checkpoint": "$pathlib.Path(@bundle_root) / 'models' / 'model.safetensors'",
            "arguments": "@model_arguments",
            "device": "@device",
            "class_name": "@class_name",
        },
        "network_def": "$@scorer.module.model",
        "screening": {
            "_target_": f"{_HERE}.BundleScreening",
            **{name: f"@{name}" for name in ("scorer", "input", "output", "resume")},
            **{name: f"@{name}" for name in ("reading", "volume", "rule", "calibration")},
        },
        "run": ["$@screening.run()"],
    }


class BundleScreening:
    """What a bundle's inference.json runs.

    Args:
        scorer: The model.
        input: A file, folder or zip archive.
        output: A new or empty folder, outside the input.
        resume: Go on with an earlier run in the same folder.
        reading: Fields of `ReadingOptions` by name, `budget` with those of `SizeBudget`.
        volume: Fields of `VolumeOptions` by name.
        rule: Fields of `DecisionRule` by name.
        calibration: A calibration file; `None` for none.

    Raises:
        ValueError: Something of it makes no sense.
        FileNotFoundError: There is no such calibration.
    """

    def __init__(
        self,
        scorer: ModelScorer,
        input: str,  # noqa: A002 - as the command's option
        output: str,
        resume: bool,
        reading: Mapping[str, Any],
        volume: Mapping[str, Any],
        rule: Mapping[str, Any],
        calibration: str | None,
    ) -> None:
        self.scorer, self.input, self.output = scorer, Path(input), Path(output)
        known = None if calibration is None else Calibration.load(calibration)
        self.options = ScreeningOptions(
            reading=ReadingOptions(**{**_tuples(reading), "budget": SizeBudget(**reading.get("budget", {}))}),
            volume=VolumeOptions(**_tuples(volume)),
            rule=DecisionRule("volumes", known, **rule),
            resume=resume,
        )

    def run(self) -> None:
        """Screen, and print what became of it.

        Raises:
            SystemExit: With the exit code that `anomalib-zsad screen` would have, where it is not 0.
        """
        code, entries = screen(self.input, self.output, self.scorer, self.options)
        for entry in entries:
            print(visible(f"{entry.series or 'file'}: {entry.status} {entry.reason}".rstrip()))
        print(visible(f"written to {self.output} (exit code {code.value}: {code.meaning})"))
        if code is not ExitCode.DONE:
            raise SystemExit(int(code))


def _tuples(given: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON and MONAI's configuration hold as lists, as the tuples that options are."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _metadata(scorer: ModelScorer, options: ScreeningOptions) -> dict[str, Any]:
    """The content of metadata.json, by MONAI's schema."""
    known = versions()
    side = scorer.module.model.backbone.image_size
    calibration = options.rule.calibration
    modality = ", ".join(calibration.population.get("modality", {})) if calibration is not None else ""
    plane = {"type": "image", "num_channels": 3, "spatial_shape": [side, side], "dtype": "float32"}
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "written by anomalib-zsad bundle"},
        "monai_version": known["monai"],
        "pytorch_version": known["torch"],
        "numpy_version": known["numpy"],
        "required_packages_version": {
            name: known[name] for name in ("anomalib-zsad", "anomalib", "nibabel", "pydicom")
        },
        "name": f"{type(scorer.module).__name__} for {scorer.class_name}",
        "task": f"Zero-shot anomaly detection on slices of volumes that show: {scorer.class_name}",
        "description": "Scores slices, maps what looks abnormal, and writes both on the input's grid.",
        "authors": "whoever saved the weights; see docs/README.md",
        "copyright": "see LICENSE and docs/README.md",
        "intended_use": "For research use only: not a medical device, not for diagnosis.",
        "network_data_format": {
            "inputs": {
                "image": {
                    **plane,
                    "format": "magnitude",
                    "modality": modality or "n/a",
                    "value_range": [-3, 3],
                    "is_patch_data": False,
                    "channel_def": {"0": "red", "1": "green", "2": "blue"},
                }
            },
            "outputs": {
                "pred": {
                    **plane,
                    "format": "probability",
                    "num_channels": 1,
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": "anomaly"},
                }
            },
        },
    }

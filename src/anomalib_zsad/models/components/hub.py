"""Models as folders, on disk or on the Hugging Face Hub: `save_pretrained`, `from_pretrained`, `push_to_hub`."""

import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from anomalib_zsad.outputs.atomic import whole_folder, write_text

from .checkpoint import STAMP
from .model_card import ModelFacts, model_card
from .safe_checkpoint import write_safe_checkpoint

WEIGHTS, CONFIG, CALIBRATION, BACKBONE = "model.safetensors", "config.json", "calibration.json", "backbone"
# What the weights file knows by itself, and what belongs to a machine or a use and not to the model.
_NOT_KEPT = (
    *("backbone", "pretrained", "image_size", "layers", "class_name", "checkpoint"),
    *("calibration", "false_alarm_rate", "keep_features", "keep_features_limit", "keep_features_folder"),
)


class HubMixin(ModelHubMixin):
    """What makes a folder of a model, and a model of a folder.

    A folder holds `model.safetensors` (what was learned, and the stamp that every checkpoint has; every command takes
    it as a checkpoint), `config.json` (further arguments), `calibration.json` where the model has one, `backbone/`
    where its configuration is a file, and the model card `README.md`. The frozen backbone's weights are not in it.
    """

    # Stops huggingface_hub from keeping the constructor's arguments, which hold paths; config.json is made below.
    _hub_mixin_config: dict[str, Any] | None = {}  # noqa: RUF012 - never written to
    model: Any
    calibration: Any
    hparams: Any

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the model into a new folder, which appears whole or not at all.

        Args:
            save_directory: A path where nothing is yet, or an empty folder.
            options: As in huggingface_hub: `repo_id`, `push_to_hub`, `model_card_kwargs` (see `generate_model_card`).

        Returns:
            The address of the commit with `push_to_hub`, else `None`.

        Raises:
            FileExistsError: There is something in the folder.
            ValueError: The model was not trained.
        """
        folder = Path(save_directory)
        self._check_trained()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        push, card = options.pop("push_to_hub", False), options.get("model_card_kwargs")
        repository = options.pop("repo_id", None) or folder.name
        with whole_folder(folder) as partial:
            super().save_pretrained(partial, config=None, model_card_kwargs=card)
        return self.push_to_hub(repository, **{**options, "model_card_kwargs": card}) if push else None

    def _check_trained(self) -> None:
        attached = getattr(self, "_trainer", None)
        fitted = attached is not None and attached.global_step > 0
        if not (getattr(self, "trained", False) or fitted):
            raise ValueError(
                f"this {type(self).__name__} was not trained, so there is nothing to save: train it, or build it from "
                "a checkpoint"
            )

    def _save_pretrained(self, save_directory: Path) -> None:
        stamp = self.stamp()  # type: ignore[attr-defined]
        known = stamp["backbone"]
        configuration = Path(known["name"])
        if configuration.suffix == ".json":
            (save_directory / BACKBONE).mkdir()
            text = configuration.read_text(encoding="utf-8")
            write_text(save_directory / BACKBONE / configuration.name, text)
        # Folders of this machine say nothing to others, and may name people.
        stamp = {**stamp, "backbone": {**known, "name": configuration.name, "pretrained": _name(known["pretrained"])}}
        state = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        whole = self.state_dict()  # type: ignore[attr-defined]
        state |= {name: value for name, value in whole.items() if name in _THRESHOLDS}
        write_safe_checkpoint(save_directory / WEIGHTS, {"state_dict": state, STAMP: stamp})
        config = self.kept_arguments()
        if self.calibration is not None:
            self.calibration.calibration.save(save_directory / CALIBRATION)
            config["false_alarm_rate"] = self.calibration.rule.false_alarm_rate
        config["library_name"], config["architecture"] = "anomalib_zsad", type(self).__name__
        write_text(save_directory / CONFIG, json.dumps(config, indent=1, sort_keys=True) + "\n")

    def kept_arguments(self) -> dict[str, Any]:
        """Arguments of the constructor that the weights file does not tell, in JSON's types."""
        given = {name: value for name, value in dict(self.hparams).items() if name not in _NOT_KEPT}
        return {name: value for name, value in given.items() if isinstance(value, str | int | float | bool | None)}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Any:
        """Build a model of a folder that `save_pretrained` wrote, here or on the Hub.

        Args:
            pretrained_model_name_or_path: A folder, or a repository on the Hub such as `"me/bayes-pfl"`.
            options: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download` as in huggingface_hub; all
                others are arguments of the model, such as `pretrained` for a backbone's weights file or
                `calibration=None` for leaving the folder's calibration out.

        Returns:
            The model, in evaluation mode, with answers equal to those of the model that was saved.

        Raises:
            FileNotFoundError: There is no such folder, nothing of the name can be fetched, or it holds no model.
            CheckpointError: The weights are damaged, or of another method.
        """
        given = {name: options.pop(name) for name in _DOWNLOAD if name in options}
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            folder = _fetched(str(pretrained_model_name_or_path), given)
        if not (folder / WEIGHTS).is_file():
            raise FileNotFoundError(f"'{folder}' holds no {WEIGHTS}; give a folder that save_pretrained wrote")
        return super().from_pretrained(folder, **options)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Any:
        folder = Path(model_id)
        arguments = {name: value for name, value in options.items() if name not in _DOWNLOAD}
        if (folder / CALIBRATION).is_file():
            arguments.setdefault("calibration", str(folder / CALIBRATION))
        configurations = sorted((folder / BACKBONE).glob("*.json"))
        if configurations:
            arguments.setdefault("backbone", str(configurations[0]))
        module: Any = cls(checkpoint=str(folder / WEIGHTS), **arguments)
        module.load_thresholds()
        return module.eval()

    def load_thresholds(self) -> None:
        """Take the thresholds of labels and masks from the checkpoint that the model was built from, if it has any."""
        built_from: Any = getattr(self, "built_from", None)
        content = {} if built_from is None else built_from.others
        for name, value in content.items():
            if name in _THRESHOLDS and name in dict(self.named_buffers()):  # type: ignore[attr-defined]
                self.get_buffer(name).copy_(value)  # type: ignore[attr-defined]

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The model card, made from what the model knows of itself.

        Args:
            args: None.
            kwargs: What it cannot know: `figures` (numbers in [0, 1] by name, such as `image_AUROC`), `figures_of` (on
                what they were measured), `protocol`, `license` (an identifier of the Hub, such as `apache-2.0`).

        Raises:
            TypeError: Something else was given.
        """
        del args
        return ModelCard(model_card(ModelFacts.of(self), **kwargs))


_THRESHOLDS = ("post_processor._image_threshold", "post_processor._pixel_threshold")
_DOWNLOAD = ("revision", "token", "cache_dir", "local_files_only", "force_download")


def _name(value: str | None) -> str | None:
    """A tag as it is, of a path its last part."""
    return None if value is None else Path(value).name


def _fetched(repository: str, options: dict[str, Any]) -> Path:
    """The folder of a repository in the Hub's cache.

    Raises:
        FileNotFoundError: It cannot be had.
    """
    patterns = [WEIGHTS, CONFIG, CALIBRATION, f"{BACKBONE}/*.json"]
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns, **options))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise FileNotFoundError(
            f"'{repository}' is no folder here, and it could not be fetched from the Hub{offline}: "
            f"{type(error).__name__}. Give a folder that save_pretrained wrote, or a repository that can be reached."
        ) from error

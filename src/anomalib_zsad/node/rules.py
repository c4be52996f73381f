"""Which series are screened, and with which settings: ordered rules in a YAML file; the first that fits wins."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from anomalib_zsad.calibration.calibration import Calibration
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.node.series_facts import SeriesFacts
from anomalib_zsad.scoring.engine_options import Engine, EngineOptions, Precision
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.volumes.options import ReadingOptions

_Part = TypeVar("_Part")
_PLANES = ("axial", "coronal", "sagittal")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Match:
    """What a series must be for a rule to take it; what is not given is not asked for.

    Attributes:
        modality: DICOM's code, such as CT or MR; capitals or not.
        description: A regular expression that is found somewhere in the series description, capitals or not.
        body_part: As `description`, in the body part examined.
        minimum_slices: Fewest slices.
        maximum_slices: Most slices.
        plane: axial, coronal or sagittal: the one that the slices are nearest to.
    """

    modality: str | None = None
    description: str | None = None
    body_part: str | None = None
    minimum_slices: int | None = None
    maximum_slices: int | None = None
    plane: str | None = None

    def __post_init__(self) -> None:
        _check_pattern("description", self.description)
        _check_pattern("body_part", self.body_part)
        if self.plane is not None and self.plane not in _PLANES:
            raise ValueError(f"plane is one of {', '.join(_PLANES)}, not {self.plane!r}")

    def __call__(self, facts: SeriesFacts) -> bool:
        """Whether a series is so."""
        fewest, most = self.minimum_slices, self.maximum_slices
        return (
            (self.modality is None or self.modality.upper() == facts.modality.upper())
            and (self.description is None or re.search(self.description, facts.description, re.IGNORECASE) is not None)
            and (self.body_part is None or re.search(self.body_part, facts.body_part, re.IGNORECASE) is not None)
            and (fewest is None or facts.slices >= fewest)
            and (most is None or facts.slices <= most)
            and (self.plane is None or self.plane == facts.plane)
        )


@dataclass(frozen=True)
class ModelSettings:
    """Which model screens.

    Attributes:
        checkpoint: The trained model.
        model: Its method; needed without a checkpoint only.
        class_name: What is shown, for the prompts; `None` for the checkpoint's.
        device: auto, cpu, cuda, cuda:1, ...
        arguments: Further arguments of the model, such as `num_samples`.
        allow_untrained: Run without a checkpoint, to try the node: scores mean nothing.
        engine: What runs it: torch, openvino or onnxruntime.
        precision: In what is computed: float32, bfloat16, or int8.
        int8_images: Folder of normal pictures that the scales of int8 are chosen by.
    """

    checkpoint: Path | None = None
    model: str | None = None
    class_name: str | None = None
    device: str = "auto"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    allow_untrained: bool = False
    engine: Engine = "torch"
    precision: Precision = "float32"
    int8_images: Path | None = None

    def __post_init__(self) -> None:
        if self.checkpoint is None and not self.allow_untrained:
            raise ValueError("no checkpoint is given; an untrained model's scores mean nothing (allow_untrained: true)")
        if self.checkpoint is not None and not self.checkpoint.is_file():
            raise ValueError(f"there is no checkpoint {self.checkpoint}")
        _ = self.engine_options  # what makes no sense is told at once

    @property
    def engine_options(self) -> EngineOptions:
        """Which engine computes, and how."""
        return EngineOptions(self.engine, self.precision, self.int8_images)

    @cached_property
    def key(self) -> str:
        """Equal for equal models: one that is loaded is kept for all rules with its key."""
        return json.dumps({**asdict(self), "checkpoint": str(self.checkpoint)}, sort_keys=True, default=str)


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: Its name: letters, digits, `-` and `_`; it is part of folders' names.
        match: Which series it takes.
        skip: Why those series are not screened; empty where they are.
        model: With which model they are; `None` where they are not.
        screening: How they are screened.
    """

    name: str
    match: Match
    skip: str = ""
    model: ModelSettings | None = None
    screening: ScreeningOptions = field(default_factory=ScreeningOptions)

    def folder(self, description: Mapping[str, Any]) -> str:
        """Name of the folder of its results in a study's: other settings or another model have another one.

        Args:
            description: What the scorer says of itself.
        """
        options = self.screening
        settings = {
            "model": {name: value for name, value in description.items() if name != "device"},
            "volume": asdict(options.volume),
            "reading": asdict(options.reading),
            "decisions": options.rule.settings(),
        }
        text = json.dumps(settings, sort_keys=True, default=str)
        return f"{self.name}-{sha256(text.encode()).hexdigest()[:8]}"


def _check_pattern(name: str, pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(f"{name} is no regular expression: {error}") from None


def choose(rules: tuple[Rule, ...], facts: SeriesFacts) -> Rule | None:
    """The first rule that takes a series."""
    return next((rule for rule in rules if rule.match(facts)), None)


def load_rules(path: Path) -> tuple[Rule, ...]:
    """Read rules.

    Args:
        path: A YAML file as configs/node.yaml. Paths in it are relative to its folder.

    Raises:
        ValueError: In one line, naming the file and what is wrong in it.
        FileNotFoundError: If there is no such file.
    """
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"there are no rules: no file {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{path.name} is no YAML file: {problem}") from None
    try:
        return _rules(content, path.parent)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _rules(content: Any, folder: Path) -> tuple[Rule, ...]:
    listed = _mapping(content, {"rules"}, "the file").get("rules")
    if not isinstance(listed, list) or not listed:
        raise ValueError("rules is a list of at least one rule")
    rules = tuple(_rule(entry, f"rule {number}", folder) for number, entry in enumerate(listed, 1))
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two rules have the name {twice}")
    return rules


def _rule(entry: Any, place: str, folder: Path) -> Rule:
    given = _mapping(entry, {"name", "match", "skip", "screen"}, place)
    name = given.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{place}: name is a word of letters, digits, - and _ (at most 40), not {name!r}")
    place = f"rule {name}"
    if ("skip" in given) == ("screen" in given):
        raise ValueError(f"{place} has either `screen`, with settings, or `skip`, with the reason")
    match = _told(place, lambda: _part(Match, _mapping(given.get("match") or {}, _names(Match), f"{place}, match")))
    if "skip" in given:
        if not isinstance(given["skip"], str) or not given["skip"].strip():
            raise ValueError(f"{place}: skip is a text that says why, not {given['skip']!r}")
        return Rule(name, match, given["skip"].strip())
    return _told(
        place, lambda: replace(screening_rule(name, given["screen"] or {}, folder, f"{place}, screen"), match=match)
    )


def _told(place: str, make: Callable[[], _Part]) -> _Part:
    """What `make` makes; its errors say where."""
    try:
        return make()
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        raise ValueError(text if text.startswith(place) else f"{place}: {text}") from None


_DECISIONS = {"calibration", "false_alarm_rate", "threshold", "uncertainty", "benjamini_hochberg"}
_READING = {"mode", "volume_index", "select", "hash_uids"}


def screening_rule(name: str, given: Any, folder: Path, place: str = "the settings") -> Rule:
    """A rule that takes every series.

    Args:
        name: Its name.
        given: Settings with the keys of `screen` in configs/node.yaml.
        folder: Where paths in them begin.
        place: How errors name them.

    Raises:
        ValueError: If they are no mapping, or a key or value makes no sense.
        FileNotFoundError: If a file that they name is not there.
    """
    known = _names(ModelSettings) | _names(VolumeOptions) | _DECISIONS | _READING
    settings = _mapping(given, known, place)
    for key in ("checkpoint", "calibration", "int8_images"):
        if settings.get(key) is not None:
            settings[key] = folder / Path(_checked(key, settings[key], str)).expanduser()
    model = _part(ModelSettings, {key: settings[key] for key in settings if key in _names(ModelSettings)})
    volume = _part(VolumeOptions, {key: settings[key] for key in settings if key in _names(VolumeOptions)})
    # The status page links to reports, so by default they hold no UIDs; DICOM objects always do.
    reading = _part(ReadingOptions, {"hash_uids": True, **{key: settings[key] for key in settings if key in _READING}})
    decisions = {key: settings[key] for key in settings if key in _DECISIONS}
    calibration = decisions.pop("calibration", None)
    if calibration is not None and "threshold" in decisions:
        raise ValueError("threshold and calibration exclude each other: a calibration sets the thresholds")
    if calibration is None and "false_alarm_rate" in decisions:
        raise ValueError("false_alarm_rate needs a calibration; `anomalib-zsad calibrate` makes one")
    if calibration is not None:
        decisions["calibration"] = Calibration.load(calibration)
    rule = _part(DecisionRule, {"kind": "volumes", **decisions})
    options = ScreeningOptions(reading=reading, volume=volume, rule=rule, resume=True, progress=False)
    return Rule(name, Match(), "", model, options)


def _names(part: Any) -> set[str]:
    return {entry.name for entry in fields(part)}


def _mapping(value: Any, known: set[str], place: str) -> dict[str, Any]:
    """A copy of a mapping of known keys.

    Raises:
        ValueError: If it is none, or a key is not known.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{place} is a mapping of {', '.join(sorted(known))}, not {value!r}")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ValueError(f"{place} has an unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return dict(value)


def _part(part: type[_Part], given: Mapping[str, Any]) -> _Part:
    """A dataclass, from values of the types that its defaults or hints tell.

    Raises:
        ValueError: If a value is of another type, or makes no sense.
    """
    hints = get_type_hints(part)
    made: dict[str, Any] = {}
    for entry in fields(part):  # type: ignore[arg-type]
        if entry.name not in given:
            continue
        value = given[entry.name]
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        text = str(hints[entry.name])
        if isinstance(value, Path | Calibration):
            made[entry.name] = value
        elif isinstance(default, tuple):
            items = value if isinstance(value, list) else [value]
            made[entry.name] = tuple(_checked(entry.name, item, str) for item in items)
        elif isinstance(default, dict):
            made[entry.name] = _checked(entry.name, value, dict)
        elif value is None and "None" in text:
            made[entry.name] = None
        elif isinstance(default, bool):
            made[entry.name] = _checked(entry.name, value, bool)
        elif isinstance(default, float) or re.search(r"\bfloat\b", text):
            made[entry.name] = float(_checked(entry.name, value, (int, float)))
        elif isinstance(default, int) or "int" in text.split("[", maxsplit=1)[0]:
            made[entry.name] = _checked(entry.name, value, int)
        else:
            made[entry.name] = _checked(entry.name, value, str)
    _check_choices(made, hints)
    return part(**made)


def _check_choices(made: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Refuse values that are none of those of a `Literal`."""
    for name, value in made.items():
        choices = _choices(hints[name])
        if choices and value is not None and value not in choices:
            raise ValueError(f"{name} is one of {', '.join(map(str, choices))}, not {value!r}")


def _choices(hint: Any) -> tuple[Any, ...]:
    from typing import Literal, get_args, get_origin

    return get_args(hint) if get_origin(hint) is Literal else ()


def _checked(name: str, value: Any, kinds: Any) -> Any:
    """The value, if it is of a type; a truth value is no number."""
    names = {str: "a text", int: "a whole number", bool: "true or false", dict: "a mapping"}
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        raise ValueError(
            f"{name} is {names.get(kinds, 'a number') if isinstance(kinds, type) else 'a number'}, not {value!r}"
        )
    return value

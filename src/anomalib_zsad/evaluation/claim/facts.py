"""What a run knows of CLAIM's items: counts, settings, versions, figures. Nothing is guessed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anomalib_zsad.evaluation.evaluate import TRAINED_ON, Evaluation
from anomalib_zsad.evaluation.result_tables import HEADINGS
from anomalib_zsad.evaluation.results import CategoryResult
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.strata.stratum import Stratum
from anomalib_zsad.evaluation.volumes.figures import counts, figures
from anomalib_zsad.evaluation.volumes.readers_report import title
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet

Facts = dict[int, list[str]]


def facts_of(
    evaluation: Evaluation, settings: Settings, provenance: Mapping[str, Any], strata: Sequence[Stratum]
) -> Facts:
    """What is known, by the item's number; items of which nothing is known are not there.

    Args:
        evaluation: What came of the run.
        settings: How it was evaluated.
        provenance: What made the figures, as the reports have it.
        strata: Of what was evaluated.
    """
    parts = (
        _of_data(evaluation, strata),
        _of_model(provenance),
        _of_evaluation(evaluation, settings, strata),
        _of_results(evaluation),
    )
    found: Facts = {}
    for part in parts:
        for number, facts in part.items():
            found[number] = [*found.get(number, []), *facts]
    return {number: facts for number, facts in found.items() if facts}


def _of_data(evaluation: Evaluation, strata: Sequence[Stratum]) -> Facts:
    volume_sets = evaluation.volume_sets
    sets = dict.fromkeys(f"{one.target} / {one.category}" for one in evaluation.results)
    facts: Facts = {
        7: [f"sets evaluated, by the names they were given: {', '.join(sets)}"],
        12: ["no value was filled in: what could not be read or scored is counted, and is in no figure"],
        14: ["abnormal is what a mask marks, or what the data set sorts as abnormal where it has no masks"],
        36: [_stratum_counts(one) for one in strata],
    }
    if not volume_sets:
        return facts
    facts[11] = ["volumes and patients have pseudonyms in every output, unless `--source-names` was given"]
    facts[20] = ["patients, not slices or volumes, are what intervals resample"]
    windows = dict.fromkeys(one.window for part in volume_sets for one in part.records)
    facts[9] = [f"slices as acquired, without resampling; windows: {', '.join(windows)}"]
    facts[13] = [f"modalities: {', '.join(sorted({one.modality for part in volume_sets for one in part.records}))}"]
    facts[14] = ["a volume is abnormal if its mask marks a voxel; a lesion is a connected region of it (26 neighbours)"]
    for part in volume_sets:
        number = counts(part)
        told = f"{title(part)}: {number['volumes failed']} of {number['volumes found']} volumes failed"
        facts[12].append(f"{told}, and {number['volumes left out for lack of a mask']} had no mask and were left out")
    return facts


def _stratum_counts(one: Stratum) -> str:
    told = ", ".join(f"{name} {count}" for name, count in one.counts.items() if name in _OF_STRATA)
    return f"{one.target} / {one.category}, {one.column} {one.value}: {told}"


_OF_STRATA = ("images", "volumes scored", "patients", "abnormal", "volumes with a lesion", "lesions")


def _of_model(provenance: Mapping[str, Any]) -> Facts:
    versions = {name: value for name, value in provenance.items() if name.startswith("version of ")}
    checkpoints = [f"{name} (SHA-256 {digest})" for name, digest in provenance.get("checkpoints", {}).items()]
    model, backbone = provenance.get("model", ""), provenance.get("backbone") or "not known to the run"
    arguments = provenance.get("arguments") or {}
    auxiliary = provenance.get("auxiliary set", "unknown")
    categories = provenance.get("auxiliary categories") or []
    trained = f"auxiliary set of the prompts: {auxiliary}" + (f" ({', '.join(categories)})" if categories else "")
    return {
        1: [f"deep learning: anomaly detection with {model}"],
        22: [
            f"{model}; backbone: {backbone}; arguments: {', '.join(f'{k}={v}' for k, v in arguments.items()) or 'none'}"
        ],
        23: [", ".join(f"{name.removeprefix('version of ')} {value}" for name, value in versions.items())],
        24: [f"the backbone ({backbone}) is frozen; what was learned is in the checkpoint"] if checkpoints else [],
        25: [trained, *(f"checkpoint: {text}" for text in checkpoints)] if checkpoints else [],
        43: [
            f"software: anomalib-zsad {versions.get('version of anomalib-zsad', '')}, Apache-2.0",
            *(f"checkpoint: {text}" for text in checkpoints),
        ],
    }


def _of_evaluation(evaluation: Evaluation, settings: Settings, strata: Sequence[Stratum]) -> Facts:
    volumes = bool(evaluation.volume_sets)
    measured = [f"of images or slices: {', '.join(HEADINGS.values())}; definitions: docs/protocol.md"]
    if volumes:
        asked = settings.lesions.lesion_figures
        measured.append(
            "of slices, volumes and lesions: AUROC, sensitivity and specificity at points of each other, FROC and "
            "average precision of places, best Dice (an oracle)"
            + (f"; by overlap: {', '.join(asked)}, least overlap {settings.lesions.min_overlap:g}" if asked else "")
        )
    uncertainty = []
    if volumes or strata:
        uncertainty = ["95 % percentile intervals from 2,000 resamples of patients; exact intervals of shares"]
        uncertainty.append("no figure but counts below five patients of a class; nothing is corrected for multiplicity")
    overlaps = [one for one in evaluation.results if TRAINED_ON in one.notes]
    known = evaluation.subjects and all(one.auxiliary is not None for one in evaluation.subjects)
    apart = "no set that was evaluated is known to hold a category that the prompts were trained on"
    if overlaps:
        apart = f"trained on, and so not zero-shot: {', '.join(dict.fromkeys(one.category for one in overlaps))}"
    elif not known:
        apart = "it is not known to the run what the prompts were trained on"
    runs = {(one.run.checkpoint, one.run.seed) for one in evaluation.results}
    columns = dict.fromkeys(one.column for one in strata)
    return {
        19: [apart],
        27: [f"models and seeds evaluated, each by itself: {len(runs)}; their answers were not joined"],
        28: measured,
        29: uncertainty,
        30: [f"strata by {', '.join(columns)}: strata.md"] if columns else [],
        31: ["maps show where a score comes from; how well they meet the masks is under 37"],
        33: [f"{apart}; the methods are made to be tested on sets of another source"] if known and not overlaps else [],
    }


def _of_results(evaluation: Evaluation) -> Facts:
    included, accuracy, failures = [], [], []
    performance = [_line(one) for one in evaluation.results if not one.few]
    for part in evaluation.volume_sets:
        number = counts(part)
        included.append(f"{title(part)}: " + ", ".join(f"{name} {count}" for name, count in number.items()))
        told = list(_figure_lines(part))
        performance += [f"{title(part)}: {text}" for group, text in told if group != "calibrated"]
        accuracy += [f"{title(part)}: {text}" for group, text in told if group in {"calibrated", "volumes"}]
        failures += [f"{title(part)}: {one.volume}: {one.reason}" for one in part.failures]
    if not evaluation.volume_sets:
        included = [f"{_name(one)}: images {one.images}, abnormal {one.abnormal}" for one in evaluation.results]
    else:
        failures.append("report.html lists the hardest cases of both kinds, by pseudonym and slice")
    return {35: included, 37: performance, 38: accuracy, 39: failures}


def _name(one: CategoryResult) -> str:
    run = one.run
    return f"{one.target} / {one.category}, {run.checkpoint or 'untrained'}, {run.protocol}, seed {run.seed}"


def _line(one: CategoryResult) -> str:
    shown = {HEADINGS[name]: value for name, value in one.metrics.items() if value is not None}
    figures_told = ", ".join(f"{name} {100 * value:.1f} %" for name, value in shown.items()) or "nothing is defined"
    return f"{_name(one)}: {figures_told}"


def _figure_lines(part: VolumeSet) -> Iterator[tuple[str, str]]:
    """Group and text of the figures that a paper reports."""
    for group, made in figures(part).items():
        for name, figure in made.items():
            if figure.value is not None and (not figure.few or figure.of is not None):
                told = f" ({figure.remark})" if figure.remark else ""
                yield group, f"{group}, {name}: {figure.text()}{told}"

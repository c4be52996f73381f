"""Several models on the same sets under one protocol: one table, and paired differences from the first model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.evaluation.paired_areas import AreaDifference, compare_areas
from anomalib_zsad.evaluation.result_tables import MEAN, Row, make_rows
from anomalib_zsad.evaluation.results import CategoryResult
from anomalib_zsad.evaluation.volumes.bootstrap import Clusters


@dataclass(frozen=True)
class ModelRow:
    """The mean of one model over the categories of a set, or one category.

    Attributes:
        model: Its label.
        row: Its figures, as of an evaluation of this model alone.
    """

    model: str
    row: Row


@dataclass(frozen=True)
class Difference:
    """How the image AUROC of a model differs from the first one's.

    Attributes:
        target, category, protocol: On what; the category is "mean" for the mean over categories.
        reference, model: Labels of the first model and of the one that is compared with it.
        areas: The two, with interval and p-value.
        unit: What is resampled: image or patient.
    """

    target: str
    category: str
    protocol: str
    reference: str
    model: str
    areas: AreaDifference
    unit: str


def model_rows(results: Mapping[str, Sequence[CategoryResult]], methods: Mapping[str, str]) -> list[ModelRow]:
    """Rows of all models: for each set and protocol the means of all, then category by category.

    Args:
        results: Of each model, by label.
        methods: Name of each model's method, by label.
    """
    rows = [
        ModelRow(label, row)
        for label, own in results.items()
        for row in make_rows(own, methods[label], None)
        if row.runs
    ]
    keys = list(dict.fromkeys((one.row.target, one.row.protocol, one.row.category) for one in rows))
    keys.sort(key=lambda key: key[2] != MEAN)
    order = {key: place for place, key in enumerate(sorted(keys, key=lambda key: (key[0], key[1])))}
    return sorted(rows, key=lambda one: order[one.row.target, one.row.protocol, one.row.category])


def differences(results: Mapping[str, Sequence[CategoryResult]]) -> list[Difference]:
    """Paired differences of all models from the first, by category and of the mean over categories.

    Args:
        results: Of each model, by label, of one seed each; those of a category that lack a class are left out.
    """
    (reference, first), *others = results.items()
    found = []
    for label, second in others:
        by_key = {(one.target, one.run.protocol, one.category): one for one in second}
        groups: dict[tuple[str, str], list[tuple[Difference, NDArray[np.float64] | None]]] = {}
        for number, one in enumerate(first):
            other = by_key[one.target, one.run.protocol, one.category]
            if not (any(one.labels) and not all(one.labels)):
                continue
            areas, resampled = compare_areas(_clusters(one), _clusters(other), seed=number)
            unit = "image" if len(set(one.units)) == len(one.units) else "patient"
            made = Difference(one.target, one.category, one.run.protocol, reference, label, areas, unit)
            groups.setdefault((one.target, one.run.protocol), []).append((made, resampled))
        for pairs in groups.values():
            found += [made for made, _ in pairs]
            if len(pairs) > 1:
                found.append(_of_means(pairs))
    return found


def _clusters(result: CategoryResult) -> Clusters:
    return Clusters.of(np.array(result.scores), np.array(result.labels), result.units)


def _of_means(pairs: Sequence[tuple[Difference, NDArray[np.float64] | None]]) -> Difference:
    """The difference of the means over categories, whose images are resampled independently of each other."""
    made = [difference for difference, _ in pairs]
    resampled = [values for _, values in pairs if values is not None]
    first, second = (float(np.mean([getattr(one.areas, name) for one in made])) for name in ("first", "second"))
    units = sum(one.areas.units for one in made)
    if len(resampled) < len(made):
        areas = AreaDifference(first, second, None, None, None, units, "no interval: a category has none")
    else:
        low, high = (float(value) for value in np.percentile(np.mean(resampled, axis=0), (2.5, 97.5)))
        areas = AreaDifference(first, second, low, high, None, units, "no p-value: DeLong's test is of one area")
    one = made[0]
    return Difference(one.target, MEAN, one.protocol, one.reference, one.model, areas, one.unit)

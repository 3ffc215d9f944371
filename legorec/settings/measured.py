"""Rules of the metrics that a run measures: what they need, and whose code they are."""

from __future__ import annotations

from typing import Any

from legorec.compose import Composition, Problem
from legorec.registry import why_not_outside
from legorec.settings.checks import allowed_packages
from legorec.settings.exp_layer import ExpSettings


def without_refused_metrics(exp: Any, composition: Composition) -> Any:
    """The layer without the metrics whose code a saved run may not bring in, after that was noted."""
    if composition.saved is None or not isinstance(exp, dict):
        return exp
    evaluation = exp.get("evaluation")
    if isinstance(evaluation, dict) and _refused(evaluation.get("metric"), "evaluation.metric", composition):
        exp = {**exp, "evaluation": {key: value for key, value in evaluation.items() if key != "metric"}}
    names = exp.get("metrics")
    if not isinstance(names, list):
        return exp
    kept = [each for each in names if not _refused(each, "metrics", composition)]
    if kept == names:
        return exp
    return {key: value for key, value in exp.items() if key != "metrics"} | (
        {"metrics": kept} if kept else {}
    )


def judge_list_metrics(exp: ExpSettings, composition: Composition) -> None:
    """List metrics are of all items, and compare them by what the settings name."""
    from legorec.metrics import list_needs, longest_list, parse_sum  # no numpy to refuse a misspelt flag

    judges = [each.name for each in parse_sum(exp.evaluation.metric)]
    named = [("exp.metrics", exp.metrics), ("exp.evaluation.metric", judges)]
    for place, names in named:
        of_lists = [name for name in names if longest_list([name])]
        by_category = [name for name in of_lists if "categories" in list_needs([name])]
        if of_lists and exp.evaluation.candidates != "full":
            message = (
                f"{of_lists[0]!r} is about lists of the best of all items; give --candidates full "
                "(`exp.evaluation.candidates`), or leave it out"
            )
        elif by_category and exp.evaluation.list_category is None:
            message = (
                f"{by_category[0]!r} compares items by a category; name a field of the store, as in "
                "--exp.evaluation.list_category genres, or leave it out"
            )
        else:
            continue
        if not composition.is_unresolved(place):
            composition.problems.append(Problem(composition.where(place), place, message))


def _refused(name: Any, key: str, composition: Composition) -> bool:
    place = f"exp.{key}"
    if composition.saved is None or not isinstance(name, str) or not composition.is_saved(place):
        return False
    paths = [each.strip().partition("@")[0] for each in name.split("+")]
    allowed, folder = allowed_packages(composition), composition.saved.folder
    wrong = [why for path in paths if (why := why_not_outside(path, allowed, folder))]
    composition.problems += [Problem(composition.where(place), place, why) for why in wrong]
    return bool(wrong)

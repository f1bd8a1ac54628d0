"""What can be named on the command line: one line per experiment, method, metric and test set."""

from __future__ import annotations

from collections.abc import Callable

from evalkit import datasets, measures
from evalkit.experiments import Column, experiment_names, get_experiment
from evalkit.generator import configured_method
from evalkit.methods import method_names
from evalkit.resolve import Selection

Lister = Callable[[Selection], list[dict[str, str]]]
"""Called with what the command line selects; gives rows of `name` and `about`."""


def experiments(_selection: Selection) -> list[dict[str, str]]:
    """The registered experiments."""
    return [{"name": name, "about": get_experiment(name).title.format(seconds="10010")} for name in experiment_names()]


def methods(selection: Selection) -> list[dict[str, str]]:
    """Methods, what each needs, and whether it can run here."""
    found = []
    for name in method_names(selection.generator):
        method = configured_method(name, selection.generator)
        problem = method.problem(selection.profile)
        about = f"{method.kind}: {method.title}; needs {method.needs or 'nothing'}"
        found.append({"name": name, "about": about + (f"; NOT READY: {problem}" if problem else "")})
    return found


def metrics(selection: Selection) -> list[dict[str, str]]:
    """Metrics and the network behind each."""
    found = []
    for name in measures.metric_names():
        info = measures.describe(Column(name, name, ""), selection.metric_setup)
        about = info.reason or measures.backbone_label(info.backbone) or "from speed records"
        found.append({"name": name, "about": about})
    return found


def sample_sets(_selection: Selection) -> list[dict[str, str]]:
    """Test sets and their sizes."""
    found = []
    for name in datasets.dataset_names():
        made = datasets.get_dataset(name)
        sizes = ", ".join(f"{count} samples in {suite}" for suite, count in made.sizes.items())
        found.append({"name": name, "about": f"{made.title}: {sizes}"})
    return found


TABLES: dict[str, Lister] = {"experiments": experiments, "methods": methods, "metrics": metrics, "datasets": sample_sets}

"""The paper's claims as a reader sees them: what it printed, what was measured here, and whether the direction holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from reports import format as fmt
from reports.data import Json, Run, number
from reports.tables import table_definitions, title

ORDER = ("contradicted", "confirmed", "undecided")


@dataclass
class ClaimView:
    """The section: one count per outcome, and a row per claim; those without a number of ours stand apart."""

    counts: list[tuple[str, int]] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    unmeasured: list[list[str]] = field(default_factory=list)
    backing: str = ""


def claim_view(run: Run) -> ClaimView:
    """What the run says about the paper's claims; empty when it says nothing."""
    if not run.claims:
        return ClaimView()
    titles = {str(table["name"]): str(table.get("title") or table["name"]) for table in table_definitions(run)}
    ordered = sorted(run.claims, key=lambda one: ORDER.index(str(one.get("outcome"))) if one.get("outcome") in ORDER else 9)
    counts = [(outcome, sum(one.get("outcome") == outcome for one in ordered)) for outcome in ORDER]
    rows = [(number(one.get("mean")) is not None, _row(run, titles, one)) for one in ordered]
    measured, others = ([row for is_measured, row in rows if is_measured == wanted] for wanted in (True, False))
    return ClaimView([pair for pair in counts if pair[1]], measured, others, _backing(run))


def _row(run: Run, titles: dict[str, str], one: Json) -> list[str]:
    metric = run.metrics.get(str(one.get("metric")))
    digits = metric.digits if metric else 2
    dataset = run.datasets.get(str(one.get("dataset")))
    place = dataset.title if dataset else str(one.get("dataset"))
    against = str(one.get("against"))
    versus = run.datasets[against].title if against in run.datasets else title(run, against)
    paper = [
        fmt.quoted(value) if (value := number(one.get(name))) is not None else "" for name in ("paper", "paper_against")
    ]
    here = fmt.signed(one.get("mean"), digits)
    bounds = fmt.interval(one.get("low"), one.get("high"), digits)
    name = titles.get(str(one.get("table")), str(one.get("table")))
    return [
        f"{metric.title if metric else one.get('metric')}, {title(run, str(one.get('method')))} against {versus}",
        f"{name}; {place}",
        f"{paper[0]} against {paper[1]}",
        f"{here} ({bounds})" if bounds else here,
        str(one.get("outcome") or ""),
        str(one.get("why") or ""),
    ]


def _backing(run: Run) -> str:
    """Whose numbers these are: profile and measuring networks."""
    networks = sorted({str(metric.backbone.get("name")) for metric in run.metrics.values() if metric.backbone.get("name")})
    profile = str(run.experiment.get("profile") or "not stated")
    return f"Ours: profile {profile}, measured by {', '.join(networks) or 'no network'}."

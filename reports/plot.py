"""One way to draw: Matplotlib to inline SVG whose colours follow the page's theme.

Figures are drawn with marker colours that become CSS variables, so the same bytes are legible on light
and dark. Text stays text, ids are unique per figure, and nothing depends on the clock.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgba, to_rgba_array
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# "-", or (offset, lengths of strokes and gaps in line widths).
Dash = str | tuple[float, tuple[float, ...]]

# Marker colour -> CSS colour with a mid-tone fallback for readers that know no variables.
INK, MUTED, GRID, GOOD, BAD, PAPER = "#b00001", "#b00002", "#b00003", "#b00004", "#b00005", "#b00006"
THEME = {
    INK: "var(--ink,#6f7680)",
    MUTED: "var(--muted,#7a818b)",
    GRID: "var(--line,#8b919a)",
    GOOD: "var(--good,#2f8f6b)",
    BAD: "var(--bad,#c0564a)",
    PAPER: "var(--surface,#ffffff)",
}
SERIES_COUNT = 8
SERIES_FALLBACK = ("#2a8a83", "#8a8f98", "#c07a2c", "#8468b8", "#4f83bd", "#b8587f", "#7c8a2f", "#a0673f")
PRINT_SERIES = ("#0e7f77", "#5f6872", "#b0640f", "#6f4fb0", "#2c6cb5", "#b03f74", "#66761a", "#8a4f2a")
DASHES: tuple[Dash, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)), "-", (0, (5, 2)), (0, (1.2, 1.6)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reports",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "lines.linewidth": 1.7,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


PRINT = {INK: "#1d2327", MUTED: "#4c545d", GRID: "#d9d6cf", GOOD: "#1d7a55", BAD: "#b3392f", PAPER: "#ffffff"}
PRINT |= {f"#c000{index:02x}": colour for index, colour in enumerate(PRINT_SERIES)}
_FOLDER: ContextVar[Path | None] = ContextVar("folder of figure files", default=None)


@dataclass
class Picture:
    """A finished figure with its words: the alternative text and the numbers as a table."""

    svg: str
    alternative: str
    caption: str = ""
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


def series_colour(index: int) -> str:
    """Marker colour of the n-th method; one page uses the same index for a method everywhere."""
    return f"#c000{index % SERIES_COUNT:02x}"


def series_dash(index: int) -> Dash:
    """Line pattern of the n-th method, so that colour never speaks alone."""
    return DASHES[index % SERIES_COUNT]


def series_marker(index: int) -> str:
    """Marker shape of the n-th method."""
    return MARKERS[index % SERIES_COUNT]


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """A transparent figure of ``width`` x ``height`` inches in the page's style."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        yield figure


def panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in fractions of the figure, with a transparent ground."""
    axes = figure.add_axes((left, bottom, width, height))
    axes.patch.set_alpha(0)
    return axes


def svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element to put in a page; ``name`` makes its ids unique.

    Inside ``saved_to`` the figure is written as files too, in print colours.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    folder = _FOLDER.get()
    if folder is not None:
        _save(figure, folder, name)
    return _themed(_trimmed(buffer.getvalue(), name))


@contextmanager
def saved_to(folder: Path) -> Iterator[None]:
    """Every figure drawn inside is also written as NAME.svg and NAME.pdf, fit for print on white."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def _save(figure: Figure, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _recolour(figure)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})


def _recolour(figure: Figure) -> None:
    """Replace marker colours by those of print in everything that is drawn."""
    for artist in figure.findobj():
        for part in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            getter, setter = getattr(artist, f"get_{part}", None), getattr(artist, f"set_{part}", None)
            if getter is None or setter is None:
                continue
            found = _printed(getter())
            if found is not None:
                setter(found)


def _printed(colour: Any) -> Any:
    """The print colour (or colours) that stands for a marker, None where there is none; transparency stays."""
    try:
        rows = to_rgba_array(colour)
    except (TypeError, ValueError):
        return None
    hexes = [to_hex(row) for row in rows]
    if not any(one in PRINT for one in hexes):
        return None
    made = [to_rgba(PRINT.get(one, one), float(row[3])) for one, row in zip(hexes, rows, strict=True)]
    return made if len(made) != 1 else made[0]


def _trimmed(text: str, name: str) -> str:
    """Leave out prolog, metadata and namespaces (an HTML parser needs none); make ids unique."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"([^>]*?) (?:width|height)="[^"]*"', r"\1\2", text, count=1)
    text = text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size:\1px", text)
    text = re.sub(r"font: (\w+) ([\d.]+)px [^;\"]*", r"font-weight:\1;font-size:\2px", text)
    return re.sub(r"\n\s*", "\n", text).strip()


def _themed(text: str) -> str:
    """Replace marker colours by CSS variables."""
    for marker, colour in THEME.items():
        text = text.replace(marker, colour)
    for index, fallback in enumerate(SERIES_FALLBACK):
        text = text.replace(series_colour(index), f"var(--m{index},{fallback})")
    return text

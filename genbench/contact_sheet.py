"""One picture of a whole set: its name and numbers, the coverage table, and every reference picture with its face box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from genbench.composition import STYLES
from genbench.coverage import cells_of, coverage_table
from genbench.manifest import Manifest, Sample
from genbench.picture import png_bytes, read_pixels

if TYPE_CHECKING:
    from PIL import Image

WIDTH, LEAST_WIDTH, MARGIN, GAP = 1680, 1240, 40, 10
_PAPER, _INK, _GREY, _LINE = "#fbfaf7", "#26262b", "#77777f", "#dedcd4"
_TINTS = {"photo": (196, 120, 74), "cartoon": (66, 122, 168), "animal": (84, 140, 92)}
_OTHER_TINT = (120, 120, 128)
_LABEL = 34
_TILE_ASPECT = 4 / 3
_CELL_W, _CELL_H, _NAME_W = 128, 40, 130


def contact_sheet(manifest: Manifest) -> bytes:
    """The sheet as a PNG file; the same set gives the same pixels."""
    import numpy as np
    from PIL import Image, ImageDraw

    groups = _groups(manifest.samples)
    columns = 12 if len(manifest.samples) > 40 else 8 if len(manifest.samples) > 8 else 4
    tile_w = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    # Few samples get larger tiles, but never larger than a sheet of eight.
    tile_w = min(tile_w, 240)
    tile_h = round(tile_w * _TILE_ASPECT)
    head = 150 + 30 + (len(coverage_table(cells_of(manifest.samples))[1]) + 1) * _CELL_H + 40
    rows = sum(-(-len(samples) // columns) for _, samples in groups)
    height = head + len(groups) * 56 + rows * (tile_h + _LABEL + GAP) + MARGIN
    widest = min(columns, max(len(samples) for _, samples in groups))
    width = max(LEAST_WIDTH, 2 * MARGIN + widest * (tile_w + GAP) - GAP)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_head(draw, manifest)
    _draw_coverage(draw, manifest.samples, 150)
    y = head
    for style, samples in groups:
        draw.text((MARGIN, y + 12), f"{style}  ({len(samples)})", fill=_tint(style), font=_font(24))
        y += 56
        for first in range(0, len(samples), columns):
            for column, sample in enumerate(samples[first : first + columns]):
                _draw_tile(sheet, draw, sample, (MARGIN + column * (tile_w + GAP), y), (tile_w, tile_h))
            y += tile_h + _LABEL + GAP
    return png_bytes(np.asarray(sheet))


def _groups(samples: Sequence[Sample]) -> list[tuple[str, list[Sample]]]:
    """Samples by style, within a style by composition."""
    styles = [*STYLES, *sorted({sample.style for sample in samples} - set(STYLES))]
    grouped = [
        (style, sorted((s for s in samples if s.style == style), key=lambda s: (s.composition, s.id))) for style in styles
    ]
    return [(style, members) for style, members in grouped if members]


def _draw_head(draw: Any, manifest: Manifest) -> None:
    seconds = sum(sample.duration_s for sample in manifest.samples)
    low, high = (pick(sample.duration_s for sample in manifest.samples) for pick in (min, max))
    draw.text((MARGIN, 34), f"{manifest.name}  ·  {manifest.suite}", fill=_INK, font=_font(38))
    makers = ", ".join(f"{role} by {made.get('name', '?')}" for role, made in manifest.providers.items())
    speech = f"{seconds / 60:.1f} min of speech, {low:.1f} to {high:.1f} s each"
    line = f"{len(manifest.samples)} samples  ·  {speech}  ·  seed {manifest.seed}"
    draw.text((MARGIN, 86), line, fill=_INK, font=_font(20))
    line = f"digest {manifest.digest[:32]}  ·  {makers}  ·  white frames: face boxes"
    draw.text((MARGIN, 114), line, fill=_GREY, font=_font(18))


def _draw_coverage(draw: Any, samples: Sequence[Sample], top: int) -> None:
    names, rows = coverage_table(cells_of(samples))
    most = max((max(counts[:-1], default=0) for style, counts in rows if style != "all"), default=1) or 1
    y = top + 30
    for index, name in enumerate(names):
        draw.text((MARGIN + _NAME_W + index * _CELL_W + _CELL_W / 2, y + 20), name, fill=_GREY, font=_font(15), anchor="mm")
    for style, counts in rows:
        y += _CELL_H
        draw.text(
            (MARGIN, y + _CELL_H / 2), style, fill=_tint(style) if style != "all" else _INK, font=_font(19), anchor="lm"
        )
        for index, count in enumerate(counts):
            x = MARGIN + _NAME_W + index * _CELL_W
            is_sum = style == "all" or index == len(counts) - 1
            if not is_sum:
                share = count / most
                shade = tuple(round(251 + (tone - 251) * 0.75 * share) for tone in _tint(style))
                draw.rounded_rectangle((x + 2, y + 2, x + _CELL_W - 2, y + _CELL_H - 2), 6, fill=shade, outline=_LINE)
            text = str(count) if count or is_sum else "-"
            draw.text((x + _CELL_W / 2, y + _CELL_H / 2), text, fill=_INK if count else _GREY, font=_font(18), anchor="mm")


def _draw_tile(sheet: Image.Image, draw: Any, sample: Sample, corner: tuple[int, int], size: tuple[int, int]) -> None:
    from PIL import Image

    picture = Image.fromarray(read_pixels(sample.inputs().image))
    scale = min(size[0] / picture.width, size[1] / picture.height)
    small = picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS
    )
    x, y = corner[0] + (size[0] - small.width) // 2, corner[1] + (size[1] - small.height) // 2
    sheet.paste(small, (x, y))
    if sample.face_box is not None:
        x0, y0, x1, y1 = sample.face_box
        box = (x + x0 * small.width, y + y0 * small.height, x + x1 * small.width, y + y1 * small.height)
        draw.rectangle(box, outline="#ffffff", width=1)
    draw.rectangle((corner[0], corner[1], corner[0] + size[0] - 1, corner[1] + size[1] - 1), outline=_LINE)
    under = corner[1] + size[1]
    draw.text((corner[0] + 1, under + 3), _fitted(draw, sample.id, size[0], 13), fill=_INK, font=_font(13))
    told = f"{sample.composition.replace('_', ' ')}, {sample.duration_s:.1f} s"
    draw.text((corner[0] + 1, under + 18), _fitted(draw, told, size[0], 12), fill=_GREY, font=_font(12))


def _fitted(draw: Any, text: str, width: int, size: int) -> str:
    """The text, its end left out where it is wider than its tile."""
    if draw.textlength(text, font=_font(size)) <= width:
        return text
    while text and draw.textlength(text + "…", font=_font(size)) > width:
        text = text[:-1]
    return text + "…"


def _tint(style: str) -> tuple[int, int, int]:
    return _TINTS.get(style, _OTHER_TINT)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)

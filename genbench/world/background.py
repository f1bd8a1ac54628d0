"""Still backgrounds: drawn once per clip, quiet in colour so that the character stands out."""

from __future__ import annotations

import torch
from torch import Tensor

from genbench.world.character import Character
from genbench.world.look import Colour, look_of, mix, scaled


def background(character: Character, height: int, width: int) -> Tensor:
    """Background [3, height, width] in 0..1."""
    look = look_of(character)
    upper, lower, accent = look.background
    x = ((torch.arange(width) + 0.5) / width)[None, :].expand(height, width)
    y = ((torch.arange(height) + 0.5) / width)[:, None].expand(height, width)
    layout = character.value("background_layout")
    draw = {"gradient": _gradient, "sun": _sun, "bokeh": _bokeh, "stripes": _stripes, "room": _room}
    image = draw[look.words["background"]](x, y, layout, (upper, lower, accent))
    if character.composition == "full_body":
        image = _floor(image, x, y, lower)
    if look.is_soft:
        image = image * (1 - 0.16 * ((x - 0.5) ** 2 * 2.2 + (y - 0.6) ** 2))
    return image.clamp(0, 1)


def _paint(colour: Colour) -> Tensor:
    return torch.tensor(colour)[:, None, None]


def _over(image: Tensor, colour: Colour, cover: Tensor) -> Tensor:
    return image + (_paint(colour) - image) * cover


def _edge(distance: Tensor, softness: float = 0.0) -> Tensor:
    """Coverage of a distance field in widths; at least one pixel of blend."""
    step = max(softness, 1 / distance.shape[-1])
    return (0.5 - distance / step).clamp(0, 1)


def _gradient(x: Tensor, y: Tensor, layout: float, tones: tuple[Colour, Colour, Colour]) -> Tensor:
    amount = (y * 0.6 + (x - 0.5) * (layout - 0.5) * 0.8).clamp(0, 1)
    image = _paint(tones[0]) + (_paint(tones[1]) - _paint(tones[0])) * amount
    glow = (1 - torch.sqrt((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.75).clamp(min=0)
    return _over(image, tones[2], 0.55 * glow)


def _sun(x: Tensor, y: Tensor, layout: float, tones: tuple[Colour, Colour, Colour]) -> Tensor:
    image = _gradient(x, y, 0.5, (tones[0], mix(tones[0], tones[1], 0.7), tones[0]))
    centre_x = 0.30 + 0.40 * layout
    distance = torch.sqrt((x - centre_x) ** 2 + (y - 0.42) ** 2)
    image = _over(image, tones[2], 0.35 * _edge(distance - 0.46, 0.25))
    image = _over(image, tones[2], 0.85 * _edge(distance - 0.36))
    hill = y - 1.02 + 0.10 * torch.sin(x * 4.5 + 6 * layout)
    return _over(image, mix(tones[1], scaled(tones[1], 0.8), 0.5), _edge(-hill))


def _bokeh(x: Tensor, y: Tensor, layout: float, tones: tuple[Colour, Colour, Colour]) -> Tensor:
    image = _gradient(x, y, layout, (mix(tones[1], scaled(tones[1], 0.7), 0.6), scaled(tones[1], 0.75), tones[1]))
    for i in range(11):
        # Golden-ratio steps scatter the lights evenly without a random draw.
        u, v = (layout + 0.618034 * i) % 1.0, (0.37 * layout + 0.7548777 * i * 0.618) % 1.0
        radius = 0.045 + 0.075 * ((0.41 * i + layout) % 1.0)
        distance = torch.sqrt((x - u) ** 2 + (y - v * 1.25) ** 2) - radius
        tone = tones[2] if i % 3 else tones[0]
        image = _over(image, tone, (0.20 + 0.18 * (i % 2)) * _edge(distance, 0.03))
    return image


def _stripes(x: Tensor, y: Tensor, layout: float, tones: tuple[Colour, Colour, Colour]) -> Tensor:
    base = mix(tones[0], tones[2], 0.3)
    image = _paint(base).expand(3, *x.shape)
    along = (x + y * (layout - 0.5) * 1.6 + 0.05) * 5.0
    band = ((along - along.floor()) - 0.5).abs() - 0.25
    return _over(image, mix(base, tones[1], 0.30), _edge(band / 5.0))


def _room(x: Tensor, y: Tensor, layout: float, tones: tuple[Colour, Colour, Colour]) -> Tensor:
    wall = mix(tones[0], tones[1], 0.25)
    image = _gradient(x, y, 0.5, (wall, mix(wall, tones[1], 0.4), wall))
    left = 0.06 if layout < 0.5 else 0.62
    centre_x, centre_y, half_x, half_y = left + 0.16, 0.36, 0.19, 0.27

    def pane(grow: float) -> Tensor:
        return torch.maximum((x - centre_x).abs() - half_x - grow, (y - centre_y).abs() - half_y - grow)

    image = _over(image, mix(tones[2], (1, 1, 1), 0.5), _edge(pane(0.022)))
    image = _over(image, mix(tones[0], (0.75, 0.90, 1.0), 0.75), _edge(pane(0.0)))
    image = _over(
        image, (1, 1, 1), 0.5 * _edge(torch.maximum((x - centre_x + 0.5 * (y - centre_y)).abs() - 0.05, pane(0.0)))
    )
    bars = torch.minimum((x - centre_x).abs(), (y - centre_y).abs()) - 0.009
    image = _over(image, mix(tones[2], (1, 1, 1), 0.5), _edge(torch.maximum(bars, pane(0.0))))
    shelf_x = 1.0 - centre_x
    image = _over(
        image, scaled(tones[1], 0.62), _edge(torch.maximum((x - shelf_x).abs() - 0.15, (y - 0.47).abs() - 0.011))
    )
    for i, tone in enumerate((tones[2], scaled(tones[1], 0.8), mix(tones[1], tones[2], 0.5), scaled(tones[0], 0.85))):
        book_x, tall = shelf_x - 0.10 + 0.05 * i, 0.055 + 0.012 * ((i * 2) % 3)
        book = torch.maximum((x - book_x).abs() - 0.019, (y - 0.459 + tall).abs() - tall)
        image = _over(image, tone, _edge(book))
    return image


def _floor(image: Tensor, x: Tensor, y: Tensor, tone: Colour) -> Tensor:
    """Ground for a standing character with a soft contact shadow."""
    image = _over(image, scaled(mix(tone, (0.9, 0.85, 0.8), 0.25), 0.92), _edge(1.14 - y))
    oval = torch.sqrt(((x - 0.5) / 0.24) ** 2 + ((y - 1.262) / 0.035) ** 2) - 1
    return _over(image, scaled(tone, 0.45), 0.55 * _edge(oval + 0.2, 0.9))

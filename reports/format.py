"""How numbers, times and intervals read on the page."""

from __future__ import annotations

from reports.data import number

MINUS = "\N{MINUS SIGN}"
EN_DASH = "\N{EN DASH}"


def decimal(value: object, digits: int = 2) -> str:
    """``5.69``; a real minus sign; an en dash when there is no number."""
    measured = number(value)
    if measured is None:
        return EN_DASH
    return f"{measured:z.{digits}f}".replace("-", MINUS)  # z: no minus before a zero


def quoted(value: float) -> str:
    """A published figure as it was printed: two digits, more only when it has more."""
    two = f"{value:.2f}"
    return (two if abs(float(two) - value) < 1e-9 else f"{value:g}").replace("-", MINUS)


def signed(value: object, digits: int = 2) -> str:
    """``+0.31`` or ``-0.31`` with a real minus sign."""
    measured = number(value)
    if measured is None:
        return EN_DASH
    return f"{measured:+.{digits}f}".replace("-", MINUS)


def p_value(value: object) -> str:
    """``0.031``, ``below 0.001``; empty when there is none."""
    measured = number(value)
    if measured is None:
        return ""
    return "below 0.001" if measured < 0.001 else f"{measured:.3f}"


def interval(low: object, high: object, digits: int = 2) -> str:
    """``5.21-6.02`` with an en dash, ``to`` where a minus sign stands; nothing when a bound is missing."""
    first, last = number(low), number(high)
    if first is None or last is None:
        return ""
    between = " to " if first < 0 or last < 0 else EN_DASH
    return f"{decimal(low, digits)}{between}{decimal(high, digits)}"


def seconds(value: object) -> str:
    """A duration a reader can say: ``480 ms``, ``5.0 s``, ``1 min 12 s``."""
    measured = number(value)
    if measured is None:
        return EN_DASH
    if measured < 1:
        return f"{measured * 1000:.0f} ms"
    if measured < 90:
        return f"{measured:.1f} s"
    whole = round(measured)
    return f"{whole // 60} min {whole % 60} s"


def clock(value: float) -> str:
    """``0:07``, ``1:02``: a position in a video."""
    return f"{int(value) // 60}:{int(value) % 60:02d}"


def size(count: int) -> str:
    """``0 KB``, ``312 KB``, ``4.1 MB``."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} KB"


def short_digest(digest: str) -> str:
    """The first twelve characters after any ``sha256:``."""
    return digest.rpartition(":")[2][:12]


def plural(count: int, noun: str) -> str:
    """``1 record``, ``3 records``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

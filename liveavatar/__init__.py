"""Live Avatar: a picture and a voice in, an endless real-time stream of talking video out (arXiv 2512.04677)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liveavatar.avatar import Avatar, Frame

__version__ = "0.1.0"
__all__ = ["Avatar", "Frame", "__version__"]


def __getattr__(name: str) -> object:
    """The public classes, imported when first asked for: `import liveavatar` itself loads no network code."""
    if name in ("Avatar", "Frame"):
        from liveavatar import avatar

        return getattr(avatar, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

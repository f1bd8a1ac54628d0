"""How methods that run our generator find its weights and where it runs: chosen once per run, known to every process."""

from __future__ import annotations

from dataclasses import dataclass, fields

from evalkit.methods import get_method
from evalkit.methods.base import Method


@dataclass(frozen=True)
class GeneratorSetup:
    """Empty means the profile's own choice. size: "WIDTHxHEIGHT" in pixels. Words are those of the command line.

    settings, assigned: the file that says where other systems lie, and what was set besides; see `evalkit.settings`.
    """

    weights: str = ""
    size: str = ""
    device: str = "cpu"
    dtype: str = ""
    fp8: bool = False
    offload: bool = False
    settings: str = ""
    assigned: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "assigned", tuple(self.assigned))  # a list when read from a file

    def words(self) -> list[str]:
        """The options that give this setup again."""
        found: list[str] = []
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "assigned":
                found += [word for text in self.assigned for word in ("--set", text)]
            elif value != one.default:
                found += [f"--{one.name}"] if value is True else [f"--{one.name}", str(value)]
        return found


def configured_method(name: str, setup: GeneratorSetup) -> Method:
    """The method called `name`, told how the generator is set up and where other systems lie."""
    method = get_method(name)
    method.configure(setup)
    return method

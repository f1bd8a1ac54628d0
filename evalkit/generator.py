"""How methods that run our generator find its weights and where it runs: chosen once per run, known to every process."""

from __future__ import annotations

from dataclasses import dataclass, fields

from evalkit.methods import get_method
from evalkit.methods.base import Method


@dataclass(frozen=True)
class GeneratorSetup:
    """Empty means the profile's own choice. size: "WIDTHxHEIGHT" in pixels. Words are those of the command line."""

    weights: str = ""
    size: str = ""
    device: str = "cpu"
    dtype: str = ""
    fp8: bool = False
    offload: bool = False

    def words(self) -> list[str]:
        """The options that give this setup again."""
        found: list[str] = []
        for one in fields(self):
            value = getattr(self, one.name)
            if value != one.default:
                found += [f"--{one.name}"] if value is True else [f"--{one.name}", str(value)]
        return found


def configured_method(name: str, setup: GeneratorSetup) -> Method:
    """The method called `name`, told how the generator is set up; methods of other systems do not listen."""
    method = get_method(name)
    method.configure(setup)
    return method

"""The networks of stage 2 by role: separate copies, or one frozen base whose adapters are switched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from torch import nn

from liveavatar.training.clips import Generator

STUDENT, CRITIC, TEACHER = "student", "critic", "teacher"


class Roles(Protocol):
    """Student, critic (fake score) and teacher (real score), whatever they share."""

    @property
    def trained(self) -> dict[str, nn.Module]:
        """What is trained of the student and of the critic, the student first."""

    def use(self, role: str) -> AbstractContextManager[Generator]:
        """A context in which the network given plays this role; the role before comes back after it."""


class Copies:
    """Three networks. Right where the base is small, or where stage 1 changed all of it."""

    def __init__(self, student: Generator, critic: Generator, teacher: Generator) -> None:
        self.trained: dict[str, nn.Module] = {STUDENT: student, CRITIC: critic}
        self._of_role = {STUDENT: student, CRITIC: critic, TEACHER: teacher.requires_grad_(False).eval()}

    @contextmanager
    def use(self, role: str) -> Iterator[Generator]:
        """The role's own network."""
        yield self._of_role[role]

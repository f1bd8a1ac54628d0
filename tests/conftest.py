"""Threads of tests: one per process of a parallel run, and what a test does to them ends with it."""

import os
import sys
from collections.abc import Iterator

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # pools of threads on the same processors stand in each other's way
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


@pytest.fixture(autouse=True)
def threads_stay() -> Iterator[None]:
    """Commands set torch's threads for their process; results differ in their last bits with another number."""
    torch = sys.modules.get("torch")
    before = torch and torch.get_num_threads()
    yield
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)

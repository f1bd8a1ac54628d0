"""Shared by the genbench tests: one thread, so that a busy machine does not slow small pictures down."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)

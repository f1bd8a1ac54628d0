"""A process's threads, shared between denoising and decoding: for programs that own their process."""

from __future__ import annotations

_shares = 1  # how many kinds of work at once torch's threads of this process were divided among


def share_threads(device: str = "cpu") -> bool:
    """Halve torch's threads of this process; whether streams should overlap decoding with denoising (`pipeline.load`).

    On a processor with two threads or more. Two halves, each at its own work, finish a stream sooner than both together on
    one operation after the other (docs/performance.md).
    """
    import torch

    global _shares
    threads = torch.get_num_threads()
    if torch.device(device).type != "cpu" or threads < 2:
        return False
    torch.set_num_threads(threads // 2)
    _shares = 2
    return True


def threads_of_process() -> int:
    """Torch's threads of this process, those of all shares together."""
    import torch

    return _shares * torch.get_num_threads()

"""A cap on a process's GPU memory, to run a trial as on a smaller card; past it a trial is out of memory."""

from __future__ import annotations

import torch

GIB = 2**30


def cap_memory(gib: float | None) -> None:
    """Lets this process take at most so much of each GPU's memory: past it a trial is out of memory. None: no cap.

    ValueError for a cap over what a GPU has.
    """
    if gib is None:
        return
    for index in range(torch.cuda.device_count()):
        whole = torch.cuda.get_device_properties(index).total_memory / GIB
        if gib > whole:
            raise ValueError(f"memory cap {gib} GiB is more than the {whole:.1f} GiB of GPU {index}; give a lower one")
        torch.cuda.set_per_process_memory_fraction(gib / whole, index)


def memory_cap_gib(device: str) -> float | None:
    """The cap that `cap_memory` set on a device, None where there is none."""
    target = torch.device(device)
    if target.type != "cuda":
        return None
    index = torch.cuda.current_device() if target.index is None else target.index  # torch wants a number here
    share = torch.cuda.get_per_process_memory_fraction(index)
    return None if share >= 1 else round(share * torch.cuda.get_device_properties(index).total_memory / GIB, 3)

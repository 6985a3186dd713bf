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
    usable, whole = usable_bytes(target), torch.cuda.get_device_properties(target).total_memory
    return None if usable >= whole else round(usable / GIB, 3)


def usable_bytes(device: torch.device) -> float:
    """Of a GPU's memory for this process: all of it, or what the cap leaves."""
    index = torch.cuda.current_device() if device.index is None else device.index  # torch wants a number here
    share = torch.cuda.get_per_process_memory_fraction(index)
    return share * torch.cuda.get_device_properties(index).total_memory


def free_bytes(device: torch.device) -> float:
    """Of a GPU's memory what this process may still take: what nobody has, and no more than the cap leaves."""
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    left = usable_bytes(device) - torch.cuda.memory_allocated(device)
    return min(torch.cuda.mem_get_info(device)[0] + cached, left)

"""What benchmarks need to know of a device."""

import torch


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was given: a clock on the host means nothing before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

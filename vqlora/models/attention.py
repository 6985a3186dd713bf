"""Which attention kernels may run: those whose gradients can be trusted."""

from __future__ import annotations

import torch


def sound_attention() -> None:
    """Switches cuDNN's attention off in this process; flash and memory-efficient kernels take over.

    Its backward pass returns NaN for some lengths under a mask (pytorch/pytorch issue 196678, default on H100 since
    torch 2.11); one such step is the end of a fine-tune. It ended a pretraining run of our Flamingo base.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)

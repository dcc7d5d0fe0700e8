"""Several processes train one network: `torchrun --nproc-per-node 2 --no-python earshot train ...`.

Every process (rank) works on its slice of the same batches, and DistributedDataParallel takes the mean of gradients:
a step is the step of one process on the whole batch. Two things are not the same. Batch norm sees the rank's slice
alone, because SyncBatchNorm exists on GPUs only; and a clip is mixed with clips of its own slice.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def processes() -> Iterator[torch.device]:
    """Join the processes that torchrun has started, or be the only one; the device of this one."""
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world_size() == 1:
        yield device
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if rank() > 0:
        logging.disable(logging.WARNING)  # the first one says it all
    try:
        yield device
    finally:
        logging.disable(logging.NOTSET)
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process; 0 writes and logs."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Return how many processes there are."""
    return int(os.environ.get("WORLD_SIZE", 1))


def processes_here() -> int:
    """Return how many processes share this computer, and so its cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def wait_for_all() -> None:
    """Return when every process has come this far."""
    if dist.is_initialized():
        dist.barrier()


def total(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; no gradient flows through it."""
    if dist.is_initialized():
        value = value.clone()
        dist.all_reduce(value)
    return value


def parallel(network: nn.Module) -> nn.Module:
    """Return the network with gradients that are the mean over all processes."""
    return DistributedDataParallel(network) if dist.is_initialized() else network

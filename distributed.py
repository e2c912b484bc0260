"""One process, or several that torchrun started: which is this, its share of a list, what all of them have together.

    torchrun --nproc-per-node 2 train.py ...

Without torchrun there is one process, which has everything, and nothing here communicates.
"""

import contextlib
import os
import sys
from datetime import timedelta
from functools import partialmethod, wraps
from itertools import chain, zip_longest

import torch
from torch import distributed
from torch.nn import SyncBatchNorm
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from command import BadInput, number_of


def rank():
    """Number of this process, from 0; process 0 alone writes and prints."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world():
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def by_process_0(function):
    """Decorator of a function that writes: in the other processes it does nothing."""
    return wraps(function)(lambda *args: None if rank() else function(*args))


@contextlib.contextmanager
def joined(device):
    """Inside, the processes of torchrun work together: by NCCL on GPUs, one each, by gloo on CPUs. Raises BadInput."""
    if not distributed.is_torchelastic_launched():
        yield
        return
    if device.type == "cuda":
        if (here := int(os.environ["LOCAL_WORLD_SIZE"])) > torch.cuda.device_count():
            there = number_of(torch.cuda.device_count(), "GPU")
            raise BadInput(f"--nproc-per-node {here}: only {there} here; start no more processes")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    patience = timedelta(days=1)  # a share of a huge folder may take that much longer than another
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
    if rank():
        tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)  # one bar is enough
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere if rank() else sys.stdout):
        yield
    distributed.destroy_process_group()


@contextlib.contextmanager
def process_0_first():
    """The block runs in process 0, then in the others: what it writes is there when they look for it."""
    if rank():
        distributed.barrier()
    yield
    if world() > 1 and not rank():
        distributed.barrier()


def share(items):
    """Every world()-th of a sequence, from the rank()-th on: the shares differ by one item at most."""
    return items[rank() :: world()]


def gathered(mine):
    """List of what each process made of its `share` -> list for all items, in their order, in every process."""
    if world() == 1:
        return mine
    shares = [None] * world()
    distributed.all_gather_object(shares, mine)
    nothing = object()
    return [item for item in chain(*zip_longest(*shares, fillvalue=nothing)) if item is not nothing]


def total(tensor):
    """Sum of a tensor over all processes; the gradient flows to this process's own part.

    Each process that goes on to compute the same loss from it gets the derivatives by its own photos, and the sum of
    these over the processes is the gradient of the whole batch.
    """
    if world() == 1:
        return tensor
    everyone = tensor.detach().clone()
    distributed.all_reduce(everyone)
    return everyone + (tensor - tensor.detach())


def anywhere(fact, device):
    """Is it true in at least one process? Every process gets the same answer."""
    return bool(fact) if world() == 1 else bool(total(torch.tensor(float(bool(fact)), device=device)))


def parallel(model, device):
    """The network as training calls it: its gradients are averaged over the processes.

    On GPUs batch norm takes its statistics over the whole batch. PyTorch's SyncBatchNorm runs on GPUs only, so on CPUs
    each process takes those of its own share, and the running ones are those of process 0.
    """
    if world() == 1:
        return model
    if device.type == "cuda":
        model = SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(model)


def same_everywhere(model):
    """Give every process the running statistics of process 0, which are those that are saved."""
    if world() > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)

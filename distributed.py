"""Several processes that share the work, started by torchrun; or one process, which does all of it.

    torchrun --nproc-per-node 2 train.py ...

Without torchrun there is one process, and nothing here communicates.
"""

import contextlib
import functools
import itertools
import os
from datetime import timedelta

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
    """Decorator for a function that writes: in the other processes it does nothing."""

    @functools.wraps(function)
    def only_there(*args):
        if rank() == 0:
            function(*args)

    return only_there


@contextlib.contextmanager
def joined(device):
    """Inside, the processes of torchrun work together: by NCCL on GPUs, one each, by gloo on CPUs. Raises BadInput."""
    if not distributed.is_torchelastic_launched():
        yield
        return
    backend = "gloo"
    if device.type == "cuda":
        backend = "nccl"
        processes = int(os.environ["LOCAL_WORLD_SIZE"])
        if processes > torch.cuda.device_count():
            there = number_of(torch.cuda.device_count(), "GPU")
            raise BadInput(f"--nproc-per-node {processes}: only {there} here; start no more processes")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # a process waits this long for another, whose part of a huge folder may take that much longer
    distributed.init_process_group(backend, timeout=timedelta(days=1))
    with contextlib.ExitStack() as stack:
        if rank() > 0:  # only process 0 prints and shows a progress bar
            tqdm.__init__ = functools.partialmethod(tqdm.__init__, disable=True)
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield
    distributed.destroy_process_group()


@contextlib.contextmanager
def process_0_first():
    """The block runs in process 0, then in the others: what it writes is there when they look for it."""
    if rank() > 0:
        distributed.barrier()
    yield
    if world() > 1 and rank() == 0:
        distributed.barrier()


def share(items):
    """The part of a sequence that this process works on: every world()-th item, from the rank()-th on."""
    return items[rank() :: world()]


def gathered(mine):
    """Each process's list -> one list, the same in every process: the first items of all, the second ones, and so on.

    Where the lists say something about each item of `share`, this is the order of all items. A process may also have
    found fewer than another: the unfinished photos of its share, for instance.
    """
    if world() == 1:
        return mine
    lists = [None] * world()
    distributed.all_gather_object(lists, mine)
    ended = object()
    turns = itertools.zip_longest(*lists, fillvalue=ended)
    return [item for turn in turns for item in turn if item is not ended]


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
    if world() == 1:
        return bool(fact)
    return bool(total(torch.tensor(float(bool(fact)), device=device)))


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

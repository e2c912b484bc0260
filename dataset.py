"""(input, mask) pairs for training and validation, and the command that shows an export or a folder of photos."""

import contextlib
import math
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from command import COMMON, SAMPLE, BadInput, execute, flags, in_short, number_of
from data import collection
from data.audit import audit
from distributed import share
from formats.coco import each_once, read_export, refuse_masks
from formats.photo import ceil32, pad, picture_name, write_image
from formats.pictures import contact_sheet

DRAW_SAMPLE = Path(__file__).parent / "data" / "synthesize.py"


class CrackDataset(Dataset):
    """(input (3, h, w) float32, mask (1, h, w) uint8, index of the photo) for each photo and each augmented version.

    The sampler sends a worker one number, epoch · len(self) + item, because the worker's copy of this object is never
    updated: with 6 items, key 14 = 2 · 6 + 2 is item 2 of epoch 2. The random changes depend only on seed, epoch and
    item, so the number of workers does not matter. Version 0 of a photo is the photo itself. With `once`, every epoch
    shows the versions of epoch 0 again.
    """

    def __init__(self, photos, preprocess, augment=None, versions=0, seed=0, once=False):
        self.photos = photos
        self.preprocess = preprocess
        self.augment = augment
        self.versions = 1 + versions if augment else 1
        self.seed = seed
        self.once = once

    def __len__(self):
        return len(self.photos) * self.versions

    def __getitem__(self, key):
        epoch, k = divmod(key, len(self))
        index, version = divmod(k, self.versions)
        photo, mask = resized(self.photos[index], self.preprocess)
        if version:
            epoch = 0 if self.once else epoch
            photo, mask = self.augment(photo, mask, np.random.default_rng([self.seed, epoch, k]))
        # padded like the photo in `normalise`; the padding is labelled as road, and counts in the loss, not in scores
        height, width = ceil32(mask)
        mask = torch.from_numpy(pad(mask[None], height, width))
        return torch.from_numpy(self.preprocess.normalise(photo)), mask, index


# keeps 128 photos, of 0.8 MB each at 512, so that a worker decodes each photo of a small set only once
@lru_cache(maxsize=128)
def resized(photo, preprocess):
    """Photo of an export -> (h, w, 3) uint8 photo and (h, w) uint8 mask at the network's size.

    They stay in memory for the next epochs: do not change them in place.
    """
    return preprocess.resize(*photo.read())


class Batches(Sampler):
    """The keys of each batch of an epoch: shuffled by seed and epoch, or in order without a seed.

    Set `epoch` before each pass. `first` is the batch to begin with, for an epoch that was interrupted. With several
    processes, each gets its share of every batch.
    """

    def __init__(self, count, batch_size, seed=None):
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.first = 0

    def __len__(self):
        return math.ceil(self.count / self.batch_size)

    def __iter__(self):
        order = np.arange(self.count)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        keys = (self.epoch * self.count + order).tolist()
        for start in range(self.first * self.batch_size, self.count, self.batch_size):
            batch = keys[start : start + self.batch_size]
            # every process must run the network: one without a share repeats the first photo, whose result is ignored
            yield share(batch) or batch[:1]

    def size(self, step):
        """Batch number -> (photos in the batch, how many of them this process handles)."""
        photos = min(self.batch_size, self.count - step * self.batch_size)
        return photos, len(share(range(photos)))


def collate(items):
    """Items of different size -> one batch, padded to the largest height and width. Raises BadInput.

    The padding is 0. In the normalised input that is the mean colour, and in the mask it is road.
    """
    height = max(mask.shape[1] for _, mask, _ in items)
    width = max(mask.shape[2] for _, mask, _ in items)
    inputs, masks = [], []
    for network_input, mask, _ in items:
        margin = (0, width - mask.shape[2], 0, height - mask.shape[1])  # left, right, above, below
        inputs.append(F.pad(network_input, margin))
        masks.append(F.pad(mask, margin))
    batch = torch.stack(inputs), torch.stack(masks), torch.tensor([index for *_, index in items])
    if get_worker_info():
        # PyTorch would do this later, in a thread whose errors are lost: the training would wait for ever
        try:
            for tensor in batch:
                tensor.share_memory_()
        except RuntimeError as error:
            raise BadInput(f"--workers: no shared memory for a batch ({in_short(error)}); give --workers 0") from None
    return batch


def loader(data, batch_size, workers=0, seed=None, pin=False):
    """DataLoader over a CrackDataset, shuffled if a seed is given; `pin` for pinned memory (with a GPU)."""
    return DataLoader(
        data,
        batch_sampler=Batches(len(data), batch_size, seed),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        persistent_workers=workers > 0,
        worker_init_fn=ignore_signals,
    )


def ignore_signals(worker):
    """Ctrl-C and SIGTERM reach the workers, too, but the training decides when they end: after it has saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextlib.contextmanager
def workers_ended(batches):
    """Ends the workers of a loader after the block, also after an error. PyTorch ends them only when nothing refers to
    the loader any more; after an error the traceback still refers to it."""
    try:
        yield
    finally:
        # private, because PyTorch has no public way to end workers that stay from epoch to epoch (persistent_workers)
        if batches._iterator:
            batches._iterator._shutdown_workers()


def find_export(data=None, classes=None):
    """`read_export` of the data, by default the drawn sample, which is drawn if it is missing. Raises BadInput."""
    data = Path(data or SAMPLE)
    if not data.exists() and data.resolve() == SAMPLE.resolve():
        print(f"{data} is missing: drawing the sample set first, a few seconds", flush=True)
        # in a separate process, so that training does not import the drawing code
        draw = [sys.executable, str(DRAW_SAMPLE), "--out", str(data)]
        if subprocess.run(draw, stdout=subprocess.DEVNULL).returncode != 0:
            raise BadInput(f"{data}: could not be drawn, the line above says why; {' '.join(draw[1:])} tries again")
    return read_export(data, classes)


def open_data(data=None, classes=None):
    """`find_export` for training and scoring: prints what was left out. Raises BadInput."""
    export = find_export(data, classes)
    refuse_masks(export)
    notes = each_once(export.problems)
    for note in notes[:5]:
        print("note:", note)
    if len(notes) > 5:
        print(f"note: {len(notes) - 5} more; python dataset.py {export.root} lists them all")
    return export


def show_photos(folder, out):
    """Print a check of photos without labels; save a picture of them. Raises BadInput."""
    found = collection.check(folder)
    print(collection.table(found), *collection.not_labels(folder), sep="\n")
    tiles = collection.tiles(found)
    if not tiles:
        raise BadInput(f"{folder}: no photo can be read; the last column says what to do")
    write_image(out, contact_sheet(tiles, columns=6))
    print(f"picture: {out}")


def show_export(export, out, seed):
    """Print an audit of a COCO export; save a picture of some photos with their masks -> exit code, 1 if the export
    would stop training. Raises BadInput."""
    report, tiles, would_stop_training = audit(export, seed)
    print(report)
    if not tiles:
        raise BadInput(f"{export.root}: no photo can be used; the list above says why")
    write_image(out, contact_sheet(tiles))
    print(f"picture of {number_of(len(tiles), 'photo')}: {out}")
    return 1 if would_stop_training else 0


def arguments(argv):
    parser = flags(
        "Look at a COCO export before training: prints what it holds and what looks wrong, and saves a picture of "
        "photos with their masks. The exit code is 1 if the export would stop training. "
        "Or look at photos before labelling: are there enough, are they sharp and well lit, is any place photographed "
        "twice?",
        "python dataset.py",
        "python dataset.py my-photos",
        "python dataset.py my-export --classes Riss",
        common=("seed",),
    )
    parser.add_argument(
        "data", nargs="?", help="COCO export (folder or .zip) or folder of photos (default: data/sample)"
    )
    parser.add_argument("--classes", **COMMON["classes"])
    parser.add_argument("--out", type=Path, help="file for the picture (default: audit-DATA.png)")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    name = Path(args.data or SAMPLE).resolve().name.removesuffix(".zip")
    out = picture_name(args.out or f"audit-{name}.png")  # checked before the work
    if args.data and collection.unlabelled(args.data):
        show_photos(args.data, out)
        return 0
    return show_export(find_export(args.data, args.classes), out, args.seed)


if __name__ == "__main__":
    execute(main)

"""(photo, mask) pairs for training and scoring, and the audit of an export; how COCO is read stands in coco.py."""

import contextlib
import signal
from functools import lru_cache
from pathlib import Path

from command import BadInput, answer_flags, execute, flags, in_short, number_of


def arguments(argv):
    parser = flags(
        "What is in this COCO export? Prints an audit and saves a picture of processed photos with their masks. "
        "Of photos without labels: are they enough, sharp, well lit, and each of another place?",
        "python dataset.py",
        "python dataset.py my-photos",
        "python dataset.py my-export --classes Riss",
        common=("seed",),
    )
    parser.add_argument("data", nargs="?", help="a COCO export, folder or .zip, or photos (default: data/sample)")
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="names that mean crack, all of them (default: any spelling)"
    )
    parser.add_argument("--out", type=Path, help="file for the picture (default: audit-DATA.png)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    answer_flags(arguments)  # --help and wrong flags at once: the imports below take seconds

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler, get_worker_info

from data.audit import audit
from distributed import share
from formats.coco import each_once, read_export, refuse_masks
from formats.photo import ceil32, pad, picture_name, write_image
from report.figure import contact_sheet

SAMPLE = Path(__file__).parent / "data" / "sample"


class CrackDataset(Dataset):
    """(input (3, h, w) float32, mask (1, h, w) uint8, index of the photo) for each photo and each augmented version.

    Item k of epoch e is addressed as e * len(self) + k: what is drawn depends on the seed, e and k alone, never on
    the worker. Version 0 of a photo is the photo itself. With `once` the versions of all epochs are those of epoch 0.
    """

    def __init__(self, photos, preprocess, augment=None, versions=0, seed=0, once=False):
        self.photos, self.preprocess, self.augment, self.seed, self.once = photos, preprocess, augment, seed, once
        self.versions = 1 + versions if augment else 1

    def __len__(self):
        return len(self.photos) * self.versions

    def __getitem__(self, key):
        epoch, k = divmod(key, len(self))
        index, version = divmod(k, self.versions)
        photo, mask = resized(self.photos[index], self.preprocess)
        if version:
            epoch = 0 if self.once else epoch
            photo, mask = self.augment(photo, mask, np.random.default_rng([self.seed, epoch, k]))
        height, width = ceil32(mask)
        mask = torch.from_numpy(pad(mask[None], height, width))
        return torch.from_numpy(self.preprocess.normalise(photo)), mask, index


@lru_cache(maxsize=128)  # each worker decodes a course set once, a big one stays on disk: 0.8 MB a photo at 512
def resized(photo, preprocess):
    return preprocess.resize(*photo.read())


def collate(items):
    """Items of different size -> one batch, padded to the largest height and width. Raises BadInput."""
    height, width = (max(item[0].shape[axis] for item in items) for axis in (1, 2))
    inputs, masks, indices = zip(*items, strict=True)
    stack = [torch.from_numpy(np.stack([pad(one.numpy(), height, width) for one in many])) for many in (inputs, masks)]
    batch = *stack, torch.tensor(indices)
    if get_worker_info():  # share here: where PyTorch does it, nobody hears of an error and the training waits for ever
        try:
            return tuple(tensor.share_memory_() for tensor in batch)
        except RuntimeError as error:
            raise BadInput(f"--workers: no shared memory for a batch ({in_short(error)}); give --workers 0") from None
    return batch


class Shuffled(Sampler):
    """The keys of one epoch in an order that depends on seed and epoch alone; set `epoch` before each pass.

    `first` is where an epoch begins that was stopped in the middle.
    """

    def __init__(self, count, seed):
        self.count, self.seed, self.epoch, self.first = count, seed, 0, 0

    def __len__(self):
        return self.count

    def __iter__(self):
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        return iter((self.epoch * self.count + order[self.first :]).tolist())


class Shares(BatchSampler):
    """Of every batch the keys that this process takes; one process takes them all.

    Where a batch has fewer photos than there are processes, the others take its first along, for every process must
    go through the network; `photos` says that it does not count.
    """

    def __iter__(self):
        return (share(keys) or keys[:1] for keys in super().__iter__())

    def photos(self, step):
        """Batch number -> (photos in it, those that count in this process)."""
        count = min(self.batch_size, len(self.sampler) - step * self.batch_size)
        return count, len(share(range(count)))


def loader(data, batch_size, workers, sampler=None, pin=False):
    """DataLoader that keeps its workers between epochs; `pin` memory where a GPU will fetch it."""
    return DataLoader(
        data,
        batch_sampler=Shares(sampler or SequentialSampler(data), batch_size, drop_last=False),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        persistent_workers=workers > 0,
        worker_init_fn=outlive_signals,
        generator=torch.Generator(),  # else every pass draws from the one of dropout
    )


def outlive_signals(worker):
    """Ctrl-C, and SIGTERM of a batch system, reach the workers too; the training says when they end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def workers_ended(batches):
    """After the block the workers of this loader are gone, which PyTorch sees to only where nothing refers to them: a
    traceback does, and Python, before it ends, would wait for ever for workers that take no signal."""
    try:
        yield
    finally:
        if batches._iterator:
            batches._iterator._shutdown_workers()


def find_export(data=None, classes=None):
    """`read_export`, after drawing the sample set where that is wanted and missing."""
    data = Path(data or SAMPLE)
    if not data.exists() and data.resolve() == SAMPLE.resolve():
        from data import synthesize  # only this once

        print(f"{data} is missing: drawing the sample set first, a few seconds", flush=True)
        synthesize.draw_export(data)
    return read_export(data, classes)


def open_data(data=None, classes=None):
    """`find_export` for training and scoring: says in a few lines what was left out. Raises BadInput."""
    export = find_export(data, classes)
    refuse_masks(export)
    notes = each_once(export.problems)
    for note in notes[:5]:
        print("note:", note)
    if len(notes) > 5:
        print(f"note: {len(notes) - 5} more; python dataset.py {export.root} lists them all")
    return export


def main(argv=None):
    from data import collection  # a file that only this command needs

    args = arguments(argv)
    name = Path(args.data or SAMPLE).resolve().name.removesuffix(".zip")
    out = picture_name(args.out or f"audit-{name}.png")  # before the work, not after
    if args.data and collection.unlabelled(args.data):
        found = collection.check(args.data)
        print(collection.table(found), *collection.not_labels(args.data), sep="\n")
        if not (tiles := collection.tiles(found)):
            raise BadInput(f"{args.data}: no photo that can be read; the last column says what to do")
        write_image(out, contact_sheet(tiles, columns=6))
        print(f"picture: {out}")
        return 0
    report, tiles = audit(find_export(args.data, args.classes), args.seed)
    print(report)
    if not tiles:
        raise BadInput(f"{args.data}: no photo that can be used; what is listed says why")
    write_image(out, contact_sheet(tiles))
    print(f"picture of {number_of(len(tiles), 'photo')}: {out}")
    return 0


if __name__ == "__main__":
    execute(main)

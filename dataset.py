"""(photo, mask) pairs for training and scoring, and the audit of an export; how COCO is read stands in coco.py."""

import contextlib
import io
import signal
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from command import BadInput, answer_flags, execute, flags, in_short, number_of, tally


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

import cv2
import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler, get_worker_info
from tqdm import tqdm

from coco import each_once, read_export, refuse_masks
from distributed import share
from photo import ORANGE, Preprocess, ceil32, pad, picture_name, write_image
from quantify.skeleton import skeleton, widths
from split import CRACKED, NOT_VALIDATED, UNDAMAGED, copies, split, what_is_kept

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
        return self.preprocess.normalise(photo), pad(torch.from_numpy(mask)[None], height, width), index


@lru_cache(maxsize=128)  # each worker decodes a course set once, a big one stays on disk: 0.8 MB a photo at 512
def resized(photo, preprocess):
    return preprocess.resize(*photo.read())


def collate(items):
    """Items of different size -> one batch, padded to the largest height and width. Raises BadInput."""
    height, width = (max(item[0].shape[axis] for item in items) for axis in (1, 2))
    inputs, masks, indices = zip(*items, strict=True)
    stack = [torch.stack([pad(tensor, height, width) for tensor in tensors]) for tensors in (inputs, masks)]
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


# ---------------------------------------------------------------------------------------------- audit


def outlined(photo, mask):
    """Copy of the photo with an orange line one pixel outside the mask, so that a thin crack stays visible."""
    outlines, _ = cv2.findContours(cv2.dilate(mask, np.ones((3, 3), np.uint8)), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(photo.copy(), outlines, -1, ORANGE, 1)


def contact_sheet(tiles, columns=4):
    """[(caption, (h, w, 3) uint8)] -> one (H, W, 3) uint8 picture, each tile undistorted above its caption."""
    columns = min(columns, len(tiles))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    width = max(tile.shape[1] for _, tile in tiles) + 8
    strips = []
    for row in rows:
        strip = np.full((max(tile.shape[0] for _, tile in row) + 28, columns * width, 3), 255, np.uint8)
        for left, (caption, tile) in zip(range(0, columns * width, width), row, strict=False):
            cv2.putText(
                strip, caption, (left, tile.shape[0] + 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA
            )
            strip[: tile.shape[0], left : left + tile.shape[1]] = tile
        strips.append(strip)
    return np.vstack(strips)


def odd_polygons(photo):
    """What is odd about each polygon that is kept although it looks like a slip of the mouse."""
    kinds = []
    for annotation in photo.annotations:
        polygons = annotation["segmentation"] if isinstance(annotation["segmentation"], list) else []
        for polygon in polygons:
            x, y = np.asarray(polygon[0::2]), np.asarray(polygon[1::2])
            if np.ptp(x) < 2 or np.ptp(y) < 2:
                kinds.append("under 2 pixels wide or high")
            if min(x.min(), y.min(), photo.width - x.max(), photo.height - y.max()) < -1:
                kinds.append("reaching outside the photo, cut at its border")
    return kinds


def some(names, most=12):
    """The first of many names, as words."""
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")


def suspicions(export, copied):
    """Lines about everything in an export that may be a mistake."""
    lines = each_once(export.problems)
    odd = [(kind, photo.name) for photo in export.photos for kind in odd_polygons(photo)]
    for kind, count in Counter(kind for kind, _ in odd).items():
        names = list(dict.fromkeys(name for other, name in odd if other == kind))
        lines.append(f"{number_of(count, 'polygon')} {kind}, kept: {some(names)}")
    empty = [photo.name for photo in export.photos if not photo.cracked]
    if empty:
        lines.append(
            f"without a crack annotation and so taken for undamaged: {number_of(len(empty), 'photo')} "
            f"({len(empty) / len(export.photos):.0%}); a forgotten label teaches the opposite: {some(empty)}"
        )
    parts = {photo.name: photo.part for photo in export.photos}
    for names in copied:
        apart = len({parts[name] for name in names}) > 1
        what = "stand in DIFFERENT parts, so scores will be too good" if apart else "are kept in one part"
        lines += [f"copies of one photo {what}: {', '.join(names)}"] if len(names) > 1 else []
    return lines


def audit(export, seed=0, shown=12):
    """(report in words, tiles for the contact sheet of `shown` photos drawn by the seed) of an export."""
    preprocess, readable, masks, broken = Preprocess(), [], [], []
    for photo in tqdm(export.photos, "reading", leave=False, unit="photo"):
        try:
            masks.append(preprocess.resize(*photo.read())[1])
            readable.append(photo)
        except BadInput as error:
            broken.append(str(error))
    groups = copies(readable)
    copied = [[p.name for p, h in zip(readable, groups, strict=True) if h == g] for g in sorted(set(groups))]
    usable = replace(export, photos=readable)
    doubts, lines = suspicions(usable, copied), describe(usable, [mask for mask in masks if mask.any()])
    if refused := why_refused(usable, seed):
        lines.append(f"training refuses it: {refused}")
    if broken:
        count = number_of(len(broken), "photo")
        lines.append(f"not usable, and training refuses such: {count}; mend what is wrong or take it out:")
        lines += [f"  - {line}" for line in broken]
    lines += ["to check by eye:" if doubts else "nothing to check", *(f"  - {line}" for line in doubts)]
    chosen = sorted(np.random.default_rng(seed).permutation(len(readable))[:shown])
    return "\n".join(lines), [tile(readable[i], preprocess) for i in chosen]


def why_refused(export, seed):
    """Why no training can begin with these photos, in words; nothing where one can."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # of copies the audit speaks itself
            return "" if split(export, seed)["valid"] else NOT_VALIDATED
    except BadInput as error:
        return str(error).removeprefix(f"{export.root}: ")


def tile(photo, preprocess):
    """(caption, processed photo with its mask outlined)."""
    image, mask = preprocess.resize(*photo.read())
    return f"{photo.title[-40:]}  {mask.mean():.1%} crack", outlined(image, mask)


def describe(export, masks):
    """Counts, sizes, fractions, widths and categories, a line each; `masks` are the cracked ones at 512."""
    photos = export.photos
    parts = Counter(photo.part for photo in photos if photo.part)
    sizes = Counter(f"{photo.width}×{photo.height}" for photo in photos).most_common()
    cracked = sum(photo.cracked for photo in photos)
    lines = [f"{export.root}: {tally(len(photos), cracked)}"]
    if cracked < CRACKED or len(photos) - cracked < UNDAMAGED:
        lines.append(f"fewer than the {CRACKED} cracked and {UNDAMAGED} undamaged that the course asks for")
    if parts:
        counted = ", ".join(f"{part} {count}" for part, count in parts.items())
        lines.append(f"comes split: {counted}; {what_is_kept(set(parts))}")
    lines.append("sizes: " + ", ".join(f"{size} ({n})" for size, n in sizes[:5]) + (" ..." if len(sizes) > 5 else ""))
    if masks:
        fractions = [mask.mean() for mask in masks]
        low, median, high = np.percentile(
            np.concatenate([widths(mask, skeleton(mask)) for mask in masks]), [10, 50, 90]
        )
        lines.append(f"crack fraction of a cracked photo: median {np.median(fractions):.2%}, most {max(fractions):.2%}")
        lines.append(
            f"crack width, the longer side made 512 pixels: median {median:.0f} px, 10th percentile {low:.0f}, "
            f"90th {high:.0f}"
        )
    kinds = {"unused": "no annotation has it, so it does not matter"}
    return lines + [f"category {name!r}: {kinds.get(how, how)}" for name, how in export.categories.items()]


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

"""Trains the weights that ship: on square crops of several exports, with the strong changes of variety.py.

    python weights/train_weights.py --from weights/crack.pt --data data/drawn=6 data/sut-aligned=2 --out runs/stage2

Every tenth photo of each export is kept for validation, and all of --valid. Started again with the same arguments, it
continues. Writes last.pt (to continue), best.pt (the average of the weights after the last step, and its threshold)
and splits.json.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
import cv2
import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from command import SEED, Parser, execute, number, written_whole
from data.split import write_splits
from formats.coco import read_export
from formats.photo import Preprocess
from metrics import best_threshold, summary_at
from model import CrackNet, autocast, load_checkpoint, save_checkpoint
from runs import Run, run_of
from train import dice_bce, threshold_counts
from weights.variety import vary

VALIDATE_EVERY = 10  # each tenth photo
WARM_UP = 200  # steps
DECAY = 0.4  # share of the steps, at the end, over which the learning rate falls to 0
SAVE_EVERY = 250  # steps
# crops show the photos at half to three times their size: small ones need no enlarging
PREPROCESS = Preprocess(enlarges=False)


class Crops(Dataset):
    """Item i is a crop drawn by a generator seeded with i: the same whenever the run is stopped and continued.

    `exports` is [([Photo], share)]: first an export is drawn by its share, then a photo of it.
    """

    def __init__(self, exports, seed):
        self.exports, self.seed = exports, seed
        shares = np.array([share for _, share in exports])
        self.shares = shares / shares.sum()

    def __getitem__(self, i):
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, i])
        photos, _ = self.exports[rng.choice(len(self.exports), p=self.shares)]
        photo, mask = vary(*photos[rng.integers(len(photos))].read(), rng)
        return torch.from_numpy(PREPROCESS.normalise(photo)), torch.from_numpy(mask)[None]


def photos_of(folder):
    """[Photo] of an export, named DIR/NAME: photos of two exports often have the same names."""
    folder = Path(folder)
    return [replace(photo, name=f"{folder.name}/{photo.name}") for photo in read_export(folder).photos]


def open_exports(data, undamaged_only, valid_only=()):
    """Two lists of "DIR=SHARE", one of folders that only validate -> exports as Crops takes them, [Photo] by part."""
    exports, parts = [], {"train": [], "valid": [], "test": []}
    for text in data + undamaged_only:
        folder, share = text.rsplit("=", 1)
        photos = photos_of(folder)
        if text in undamaged_only:
            photos = [photo for photo in photos if not photo.cracked]
        valid = photos[VALIDATE_EVERY - 1 :: VALIDATE_EVERY]
        kept = [photo for photo in photos if photo not in valid]
        exports.append((kept, float(share)))
        parts["train"] += kept
        parts["valid"] += valid
    for folder in valid_only:
        parts["valid"] += photos_of(folder)
    return exports, parts


def learning_rate(step, steps):
    """Share of the highest learning rate: rises, stays, falls to 0 along a line."""
    return min(1, (step + 1) / WARM_UP, (steps - step) / (DECAY * steps))


def validate(model, photos):
    """Network and photos -> (IoU of the crack at the best threshold, undamaged photos left empty, threshold)."""
    counts = threshold_counts(model.eval(), PREPROCESS, photos)
    threshold = best_threshold(counts)
    scores = summary_at(counts, threshold)
    return scores["iou_cracked"], scores["undamaged_correct"], threshold


def learn(batch, model, optimizer):
    """One step on (inputs (N, 3, H, W), masks (N, 1, H, W)) -> its loss."""
    inputs, masks = batch
    with autocast(inputs.device):
        logits = model(inputs.to(memory_format=torch.channels_last))
    loss = dice_bce(logits.float(), masks)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def restore(folder, state):
    """Loads last.pt of the run folder, if there is one, into the parts of `state` -> steps that are done."""
    file = Run(folder).last
    if not file.exists():
        return 0
    saved = torch.load(file, weights_only=True)
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return saved["step"]


def save(folder, state, step):
    """Writes last.pt, from which `restore` continues, and average.pt, to look at meanwhile."""
    content = {"step": step} | {name: part.state_dict() for name, part in state.items()}
    with written_whole(Run(folder).last) as temporary:
        torch.save(content, temporary)
    save_checkpoint(folder / "average.pt", state["average"].module, vars(PREPROCESS), 0.5)


def report(step, steps, losses, speed):
    """A line on the screen."""
    print(f"step {step} of {steps}, loss {np.mean(losses):.4f}, {speed:.1f} crops/s", flush=True)


def train(args):
    """One stage; see the top of this file."""
    args.out.mkdir(parents=True, exist_ok=True)
    exports, parts = open_exports(args.data, args.undamaged, args.valid)
    model = load_checkpoint(args.start)[0] if args.start else CrackNet(width=args.width)
    model = model.to(memory_format=torch.channels_last).train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(args.ema), use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    state = {"model": model, "average": average, "optimizer": optimizer}
    first = restore(args.out, state)
    items = range(first * args.batch_size, args.steps * args.batch_size)
    batches = DataLoader(Crops(exports, args.seed), args.batch_size, sampler=items, num_workers=args.workers)
    losses, began = [], time.time()
    for step, batch in enumerate(batches, first + 1):
        for group in optimizer.param_groups:
            group["lr"] = args.lr * learning_rate(step - 1, args.steps)
        losses.append(learn(batch, model, optimizer))
        average.update_parameters(model)
        if step % SAVE_EVERY == 0:
            report(step, args.steps, losses, len(losses) * args.batch_size / (time.time() - began))
            save(args.out, state, step)
            losses, began = [], time.time()
    finish(args, average.module, parts)


def finish(args, model, parts):
    """Chooses the threshold on the validation photos and writes best.pt and splits.json."""
    iou, empty, threshold = validate(model, parts["valid"])
    print(f"validation: iou_cracked {iou:.3f} at threshold {threshold:.2f}, undamaged left empty {empty:.2f}")
    run = Run(args.out)
    save_checkpoint(run.best, model, vars(PREPROCESS), threshold)
    before = run_of(args.start).splits if args.start else None
    write_splits(run.splits, parts, before)


def arguments(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("--data", nargs="+", required=True, metavar="DIR=SHARE", help="exports and their shares")
    parser.add_argument(
        "--undamaged", nargs="+", default=[], metavar="DIR=SHARE", help="exports whose cracked photos are left out"
    )
    parser.add_argument("--valid", nargs="+", default=[], metavar="DIR", help="exports that only validate")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--from", dest="start", type=Path, help="checkpoint to begin with (default: random weights)")
    parser.add_argument("--width", type=number(int, 1), default=16, help="channels of a new network (default: 16)")
    parser.add_argument("--steps", type=number(int, 1), default=6000, help="batches to learn from (default: 6000)")
    parser.add_argument("--batch-size", type=number(int, 1), default=8, help="crops in a batch (default: 8)")
    parser.add_argument(
        "--lr", type=number(float, above=0), default=0.001, help="highest learning rate (default: 0.001)"
    )
    parser.add_argument(
        "--ema", type=number(float, 0, below=1), default=0.998, help="decay of the average per step (default: 0.998)"
    )
    parser.add_argument("--seed", type=SEED, default=0, help="random seed (default: 0)")
    parser.add_argument("--workers", type=number(int, 0), default=1, help="processes that draw crops (default: 1)")
    parser.add_argument("--threads", type=number(int, 1), default=1, help="threads of the network (default: 1)")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    train(args)


if __name__ == "__main__":
    execute(main)

"""Train CrackNet on a COCO export: loss, one epoch, validation, the loop; the run folder is in run.py."""

import math
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from augment import UNCHANGED, VERSIONS, augment
from command import BadInput, answer_flags, choose_device, execute, flags, in_short

EPOCHS = 20  # on 35 photos of CrackForest 15 end at 0.518, 30 at 0.523 (results/README.md)


def arguments(argv):
    parser = flags(
        "Train CrackNet on a COCO export. Writes a run folder: best.pt (the epoch, with its threshold, of the best IoU "
        "of the crack on validation), last.pt (to resume), history.csv, curves.png, splits.json, arguments.json.",
        "python train.py",
        "python train.py --data my-export --epochs 40",
        "python train.py --data my-export --from weights/crack.pt",
        "python train.py --resume runs/my-export-20260101-120000",
        "torchrun --nproc-per-node 2 train.py --data my-export",
    )
    add = parser.add_argument_group("data").add_argument
    add("--data", help="folder or .zip of a COCO export (default: data/sample, drawn on first use)")
    add("--classes", nargs="+", metavar="NAME", help="names that mean crack, all of them (default: any spelling)")
    add("--splits", type=Path, metavar="FILE", help="splits.json that says which photo is in train, valid and test "
        "(default: the export's own parts, else 70/15/15)")  # fmt: skip
    add("--versions", type=int, default=VERSIONS, help="augmented versions of each train photo, drawn anew each epoch: "
        "few photos go far; 0 turns augmentation off (default: %(default)s)")  # fmt: skip
    add("--without", nargs="+", default=[], choices=tuple(UNCHANGED), help="changes left out of the versions, to see "
        "what each is worth")  # fmt: skip
    add("--once", action="store_true", help="draw the versions once instead of anew each epoch")
    add("--size", type=int, help="longer side of the network's input, pixels: larger shows thinner cracks and takes "
        "longer (default: that of --from, else 512)")  # fmt: skip
    add = parser.add_argument_group("network").add_argument
    add("--from", dest="start", metavar="CHECKPOINT", help="best.pt or run folder to fine-tune: its network, weights "
        "and preprocessing (default: random weights)")  # fmt: skip
    add("--dropout", type=float, help="share of feature maps dropped at the coarsest stage, against learning by heart; "
        "0 builds no such layer (default: that of --from, else 0)")  # fmt: skip
    add_encoder_flags(add)
    add_optimisation_flags(parser.add_argument_group("optimisation").add_argument)
    add = parser.add_argument_group("machine").add_argument
    add("--out", type=Path, metavar="RUN", help="run folder (default: runs/DATA-TIME)")
    add("--resume", type=Path, metavar="RUN", help="go on with a run where it stopped; its own arguments hold, only "
        "--data and those of the machine may change")  # fmt: skip
    add("--workers", type=int, default=2, help="processes that read and augment photos (default: %(default)s)")
    add("--save-minutes", type=float, default=5, metavar="MINUTES", help="save this often inside an epoch: no more is "
        "lost when the machine dies (default: %(default)s)")  # fmt: skip
    args = check(parser, parser.parse_args(argv))
    untyped = type(args)(**dict.fromkeys(vars(args)))  # argparse gives no default to what is there already
    args.typed = {name for name, value in vars(parser.parse_args(argv, untyped)).items() if value is not None}
    return args


def add_optimisation_flags(add):
    """How it learns."""
    add("--epochs", type=int, default=EPOCHS, help="passes over all photos and versions (default: %(default)s)")
    add("--batch-size", type=int, default=4, help="photos per step, over all processes: few make many steps of a small "
        "set (default: %(default)s)")  # fmt: skip
    add("--lr", type=float, help="highest learning rate of AdamW; lower it where the loss jumps (default: 0.003, with "
        "--from 0.001)")  # fmt: skip
    add("--dice", type=float, default=1.0, help="weight of the Dice loss: the crack as a whole (default: %(default)s)")
    add("--bce", type=float, default=1.0, help="weight of cross-entropy: each pixel by itself (default: %(default)s)")
    add("--weight-decay", type=float, default=0.0, help="of AdamW, against large weights; the base model has no "
        "regularisation (default: %(default)s)")  # fmt: skip
    add("--ema", type=float, default=0.0, metavar="DECAY", help="keep a running average of the weights, which forgets "
        "1 - DECAY of itself a step (0.99: over some 100 steps), and save that (default: 0, none)")  # fmt: skip


def add_encoder_flags(add):
    """Flags of the transfer-learning study."""
    add("--encoder", metavar="NAME", help="instead of CrackNet's own encoder one of torchvision: mobilenet_v2, "
        "mobilenet_v3_small, mobilenet_v3_large, resnet18, resnet34 or resnet50")  # fmt: skip
    add("--encoder-weights", metavar="FILE", help="its weights: a state dict of torchvision's network, or the word "
        "imagenet, which downloads them (default: random)")  # fmt: skip
    add("--encoder-rate", type=float, default=1.0, metavar="FACTOR", help="its learning rate as a factor of --lr; 0 "
        "freezes it (default: 1)")  # fmt: skip


def check(parser, args):
    """The arguments, if they make sense together; else the parser's one-line error."""
    if args.lr is None:
        args.lr = 0.001 if args.start else 0.003
    lowest = {"epochs": 1, "batch_size": 1, "size": 32, "versions": 0, "workers": 0, "lr": 1e-9, "dice": 0, "bce": 0,
              "save_minutes": 0, "encoder_rate": 0, "weight_decay": 0}  # fmt: skip
    for name, bound in lowest.items():
        if (value := getattr(args, name)) is not None and not bound <= value < math.inf:
            least = f"of at least {bound}" if bound != 1e-9 else "above 0"
            parser.error(f"--{name.replace('_', '-')} {value}: must be a number {least}")
    if not args.dice + args.bce:
        parser.error("--dice and --bce cannot both be 0")
    for name in ("dropout", "ema"):
        if not 0 <= (getattr(args, name) or 0) < 1:
            parser.error(f"--{name} must be at least 0 and below 1")
    if args.start and args.resume:
        parser.error("--from starts a new run and --resume goes on with an old one; leave one out")
    if args.start and args.encoder or args.encoder_weights and not args.encoder:
        parser.error("--encoder builds a new network, with --encoder-weights in it; --from brings its own")
    return args


if __name__ == "__main__":
    answer_flags(arguments)  # --help and wrong flags at once: the imports below take seconds

import numpy as np
import torch
import torchvision
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

import distributed
import runs
from data.split import NOT_VALIDATED, same_photos, split
from dataset import CrackDataset, Shuffled, loader, open_data, workers_ended
from evaluate import best_threshold, threshold_counts
from formats.photo import Preprocess
from inference import open_model
from metrics import THRESHOLDS, summary
from model import CrackNet, TransferNet, autocast, precision


def dice_bce(logits, mask, dice_weight=1.0, bce_weight=1.0):
    """(N, 1, H, W) logits and 0/1 mask -> weighted sum of soft Dice loss and binary cross-entropy.

    Dice is taken over the whole batch: per photo, an undamaged one would be worth 0 or 1 whatever the network does
    (Milletari et al. 2016; batch variant as in nnU-Net). The batch is that of all processes, so the four sums are too.
    """
    probability = logits.sigmoid()
    overlap, total = (probability * mask).sum(), probability.sum() + mask.sum()
    entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="sum")
    pixels = torch.full_like(entropy, logits.numel())
    overlap, total, entropy, pixels = distributed.total(torch.stack([overlap, total, entropy, pixels]))
    dice = 1 - (2 * overlap + 1) / (total + 1)  # +1 pixel: a batch without any crack has a gradient too
    return dice_weight * dice + bce_weight * entropy / pixels


def train_step(model, inputs, masks, loss_of, optimizer, schedule, scaler):
    """Learn from one batch; its loss. Raises FloatingPointError when that is not finite."""
    with autocast(inputs.device):
        logits = model(inputs)
    loss = loss_of(logits[: len(masks)].float(), masks.float())
    if not math.isfinite(value := loss.item()):
        raise FloatingPointError(f"loss is {value}")
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss * distributed.world()).backward()  # the gradients are averaged over the processes, not summed
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    schedule.step()
    return value


def train_one_epoch(model, batches, loss_of, optimizer, schedule, scaler, device, done, average=None):
    """One pass over the loader, or the rest of one: after each step, with `done` (batches, photos, seconds and the sum
    of the losses so far) and the average of the weights brought up to date, yields whether that was the last.

    Raises FloatingPointError when a loss is not finite.
    """
    model.train()
    plan = batches.batch_sampler
    plan.sampler.first = done["batches"] * plan.batch_size
    began = time.perf_counter()
    with tqdm(batches, "training", len(plan), initial=done["batches"], leave=False, unit="batch") as bar:
        for inputs, masks, indices in bar:
            # addressed like the photos, so that dropout is the same after a stop
            where = [plan.sampler.seed, plan.sampler.epoch, done["batches"], distributed.rank()]
            torch.manual_seed(int(np.random.SeedSequence(where).generate_state(1)[0]))
            photos, mine = plan.photos(done["batches"])
            inputs = inputs.to(device, memory_format=torch.channels_last, non_blocking=True)
            masks = masks[:mine].to(device, non_blocking=True)
            try:
                loss = train_step(model, inputs, masks, loss_of, optimizer, schedule, scaler)
            except FloatingPointError as error:
                names = ", ".join(sorted({batches.dataset.photos[i].name for i in indices.tolist()}))
                raise FloatingPointError(f"{error} on {names}; try a smaller --lr or look at these photos") from None
            if average:
                average.update_parameters(model)
            now = time.perf_counter()
            for name, more in {"batches": 1, "photos": photos, "loss": loss * photos, "seconds": now - began}.items():
                done[name] += more
            began = now
            bar.set_postfix(loss=f"{done['loss'] / done['photos']:.3f}")
            yield done["batches"] == len(plan)


@torch.inference_mode()
def validate(model, batches, preprocess, loss_of, device):
    """{valid_loss, IoUs at 0.5, best threshold and IoU at it}: loss at the network's size, IoU at the photos' own."""
    distributed.same_everywhere(model)
    model.eval()
    total = 0.0
    for step, (inputs, masks, _) in enumerate(batches):
        photos, mine = batches.batch_sampler.photos(step)
        with autocast(device):
            logits = model(inputs.to(device, memory_format=torch.channels_last, non_blocking=True))
        total += loss_of(logits[:mine].float(), masks[:mine].to(device).float()).item() * photos
    if not math.isfinite(total):
        raise FloatingPointError("the validation loss is not finite: the network has diverged; try a smaller --lr")
    mine = distributed.share(batches.dataset.photos)
    counts = threshold_counts(model, preprocess, mine)  # at the photos' own size, specks and all
    counts = np.array(distributed.gathered(list(counts)))
    best = best_threshold(counts)
    scores, at_best = (summary(counts[:, THRESHOLDS.tolist().index(value)]) for value in (0.5, best))
    row = {"valid_loss": total / len(batches.dataset)} | {key: scores[key] for key in runs.IOU_KEYS}
    return row | {"threshold": best, "iou_at_threshold": at_best["iou_cracked"]}


def loaders(parts, preprocess, args, device):
    """(train batches with their augmented versions in shuffled order, validation batches as the photos are)."""
    change = partial(augment, without=args.without) if args.without else augment
    data = CrackDataset(parts["train"], preprocess, change, args.versions, args.seed, args.once)
    train_batches = loader(data, args.batch_size, args.workers, Shuffled(len(data), args.seed), device.type == "cuda")
    return train_batches, loader(CrackDataset(parts["valid"], preprocess), args.batch_size, 0)


def pace(step, steps):
    """Share of the highest learning rate: rises over the first tenth of the steps, then half a cosine to 0."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * min(1, (step - warm) / max(1, steps - warm))))


def optimisation(model, args, steps, device):
    """AdamW, 10 % warm-up then cosine, loss scaling, and the average of the weights where one is wanted."""
    trunk = set(model.trunk.parameters()) if args.encoder_rate != 1 else set()
    groups = [{"params": [weight for weight in model.parameters() if weight not in trunk]}]
    if trunk and args.encoder_rate:
        groups.append({"params": list(model.trunk.parameters()), "lr": args.lr * args.encoder_rate})
    optimizer = torch.optim.AdamW(groups, lr=args.lr, weight_decay=args.weight_decay)
    schedule = LambdaLR(optimizer, partial(pace, steps=steps))
    scaler = torch.amp.GradScaler(device.type, enabled=precision(device) == torch.float16)  # small ones would vanish
    state = {"optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    if args.ema:
        state["average"] = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(args.ema), use_buffers=True)
    return state


def transfer(args):
    """TransferNet with the encoder and weights that the flags name. Raises BadInput."""
    if args.encoder not in TransferNet.MAPS:
        raise BadInput(f"--encoder {args.encoder}: not known; choose one of {', '.join(TransferNet.MAPS)}")
    model = TransferNet(args.encoder)
    try:
        if args.encoder_weights == "imagenet":
            model.load_trunk(torchvision.models.get_model_weights(args.encoder).DEFAULT.get_state_dict(progress=True))
        elif args.encoder_weights:
            model.load_trunk(torch.load(args.encoder_weights, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises a dozen types, a download as many
        why = f"{args.encoder_weights}: {in_short(error)}"
        raise BadInput(f"--encoder-weights {why}; give {args.encoder}'s weights") from None
    return model


def network(args, folder, saved):
    """(network, its encoder frozen if asked, Preprocess): of the run to go on, of --from, or new. Raises BadInput."""
    if saved or args.start:
        model, preprocess, _ = open_model(folder / "last.pt" if saved else Path(args.start), "cpu")
    else:
        model, preprocess = transfer(args) if args.encoder else CrackNet(), Preprocess()
    if args.dropout is not None:
        if "dropout" not in model.arguments:
            raise BadInput(f"--dropout: {type(model).__name__} has none; leave it out")
        start, model = model, type(model)(**model.arguments | {"dropout": args.dropout})
        model.load_state_dict(start.state_dict())
    if args.encoder_rate != 1 and not isinstance(model, TransferNet):
        raise BadInput("--encoder-rate: this network has no encoder of torchvision; leave it out or give --encoder")
    if not args.encoder_rate:
        model.trunk.requires_grad_(False)
    return model, replace(preprocess, size=args.size or preprocess.size)


def open_parts(args, folder, saved):
    """{"train": [Photo], "valid": [...], "test": [...]} of the data, those of the run that goes on. Raises BadInput."""
    with distributed.process_0_first():  # it may draw the sample
        export = open_data(args.data, args.classes)
    if saved and not same_photos(folder / "splits.json", export):
        raise BadInput(f"{export.root}: other photos than those of {folder}; give the run's own with --data")
    args.data = str(export.root)
    parts = split(export, args.seed, args.splits)
    if not parts["valid"]:
        raise BadInput(f"{export.root}: {NOT_VALIDATED}")
    return parts


def train(args, device):
    """The command, in each of the processes that share the work."""
    folder, saved = runs.open_run(args)
    torch.manual_seed(args.seed)
    parts = open_parts(args, folder, saved)

    model, preprocess = network(args, folder, saved)
    args.size, args.dropout = preprocess.size, model.arguments.get("dropout")
    model = model.to(device, memory_format=torch.channels_last)
    parallel = distributed.parallel(model, device)

    train_batches, valid_batches = loaders(parts, preprocess, args, device)
    state = optimisation(model, args, args.epochs * len(train_batches), device)
    loss_of = partial(dice_bce, dice_weight=args.dice, bce_weight=args.bce)
    history, done, threshold = runs.restore(folder, saved, state) if saved else ([], dict(runs.NOTHING_DONE), 0.5)
    print(runs.introduction(folder, parts, model, args, device, saved), flush=True)
    runs.write_facts(folder, args, parts, device, history)

    with workers_ended(train_batches):
        for epoch in range(len(history), args.epochs):
            train_batches.batch_sampler.sampler.epoch = epoch
            steps = train_one_epoch(parallel, train_batches, loss_of, **state, device=device, done=done)
            save_now = partial(runs.save, folder, model, preprocess, threshold, args, state, history, done)
            runs.learn(steps, save_now, args.save_minutes, device)
            began = time.perf_counter()
            ships = state["average"].module if args.ema else model
            scores = validate(ships, valid_batches, preprocess, loss_of, device)
            threshold = scores["threshold"]
            row = {"epoch": epoch + 1, "train_loss": done["loss"] / done["photos"]} | scores
            history.append(row | {"seconds": done["seconds"] + time.perf_counter() - began})
            done = dict(runs.NOTHING_DONE)
            runs.save_epoch(folder, model, ships, preprocess, threshold, args, state, history)
            print(runs.in_words(history[-1], args.epochs), flush=True)
    print(runs.conclusion(history, len(parts["valid"]), folder, args.data))


def main(argv=None):
    args = arguments(argv)
    device = choose_device(args.device)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what a batch system sends before it kills
    try:
        with distributed.joined(device):
            train(args, device)
    except KeyboardInterrupt:
        if args.out and (args.out / "last.pt").exists():
            raise KeyboardInterrupt(f"saved; python train.py --resume {args.out} goes on") from None
        raise
    except torch.OutOfMemoryError:
        raise MemoryError(f"{device}: out of memory; try a smaller --batch-size or --size") from None
    return 0


if __name__ == "__main__":
    execute(main)

"""Train CrackNet on a COCO export: settings, loss, one epoch, validation, the loop. The run folder is in runs.py."""

import math
import signal
import time
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

import distributed
import metrics
import runs
from augment import UNCHANGED, VERSIONS, augment
from command import COMMON, SEED, BadInput, choose_device, execute, flags, number, number_of, some
from data.split import NOT_VALIDATED, relabelled, same_photos, split
from dataset import CrackDataset, loader, open_data, workers_ended
from formats.photo import Preprocess
from model import LARGEST_SIZE, CrackNet, TransferNet, autocast, load_checkpoint, precision, predict, transfer_net

# How long to train, unless --epochs says so. CrackForest, 35 train photos: 800 to 1,600 steps reach an IoU of 0.515 to
# 0.523, 8,800 only 0.508, because of overfitting. DeepCrack, 255 photos: 770 steps reach 0.681, 3,000 reach 0.705,
# 9,000 reach 0.719, 17,900 only 0.708. So the steps grow with the number of photos, up to a maximum
# (results/README.md has the scores).
STEPS_A_PHOTO = 30
FEWEST_STEPS = 1000
MOST_STEPS = 8000
MOST_STEPS_A_PHOTO = 100  # overrides FEWEST_STEPS: 1,000 steps would be hundreds of epochs of two or three photos
STEPS_BEFORE_ESTIMATE = 20  # after these, print how long the training will take


# ------------------------------------------------------------------------------------------------ settings


@dataclass(frozen=True)
class Settings:
    """Every setting that affects the result of a training. --resume reads them from the run.

    They are named after the flags in `arguments`, except `start`, which is --from. The help of a flag says what None
    means.
    """

    data: str | None = None
    classes: list | None = None
    splits: str | None = None
    seed: int = 0
    versions: int = VERSIONS
    without: list = field(default_factory=list)
    once: bool = False
    size: int | None = None
    start: str | None = None
    dropout: float | None = None
    encoder: str | None = None
    encoder_weights: str | None = None
    encoder_rate: float = 1.0
    epochs: int | None = None
    batch_size: int = 4
    lr: float | None = None
    dice: float = 1.0
    bce: float = 1.0
    weight_decay: float = 0.0
    ema: float = 0.0


def arguments(argv):
    """Flags -> namespace. A setting that was not given is None; `Settings` has the defaults."""
    parser = flags(
        "Train CrackNet on a COCO export. Writes a run folder: best.pt (weights and threshold of the epoch with the "
        "best validation IoU), last.pt (to resume), history.csv, curves.png, splits.json, arguments.json.",
        "python train.py",
        "python train.py --data my-export --epochs 40",
        "python train.py --data my-export --from weights/crack.pt",
        "python train.py --resume runs/my-export-20260101-120000",
        "torchrun --nproc-per-node 2 train.py --data my-export",
        common=("device",),
    )
    add = parser.add_argument_group("data").add_argument
    add("--data", help="folder or .zip of a COCO export (default: data/sample, drawn on first use)")
    add("--classes", **COMMON["classes"])
    add(
        "--splits",
        metavar="FILE",
        help="splits.json: which photo is in train, valid and test (default: the export's own, else 70/15/15)",
    )
    add(
        "--versions",
        type=number(int, 0),
        help=f"augmented versions of each train photo per epoch (default: {VERSIONS})",
    )
    add("--without", nargs="+", choices=tuple(UNCHANGED), help="leave these changes out of the augmentation")
    add("--once", action="store_true", default=None, help="use the same versions in every epoch")
    add(
        "--size",
        type=number(int, 32, at_most=LARGEST_SIZE),
        help="longer side of the input, pixels (default: that of --from, else 512)",
    )
    add = parser.add_argument_group("network").add_argument
    add(
        "--from",
        dest="start",
        metavar="CHECKPOINT",
        help="fine-tune this best.pt or run folder (default: random weights)",
    )
    add(
        "--dropout",
        type=number(float, 0, below=1),
        help="dropout rate at the smallest feature maps (default: that of --from, else 0)",
    )
    add("--encoder", choices=tuple(TransferNet.MAPS), help="torchvision encoder to use instead of CrackNet's own")
    add(
        "--encoder-weights",
        metavar="FILE",
        help="file with its weights (a state dict), or imagenet to download them (default: random weights)",
    )
    add(
        "--encoder-rate",
        type=number(float, 0),
        metavar="FACTOR",
        help=f"factor on --lr for the encoder; 0 freezes it (default: {Settings.encoder_rate:g})",
    )
    add = parser.add_argument_group("optimisation").add_argument
    add(
        "--epochs",
        type=number(int, 1),
        help=f"passes over all photos and versions (default: as many as make {STEPS_A_PHOTO} steps per photo, between "
        f"{FEWEST_STEPS:,} and {MOST_STEPS:,}; never more than {MOST_STEPS_A_PHOTO} per photo)",
    )
    add(
        "--batch-size",
        type=number(int, 1),
        help=f"photos per step, over all processes (default: {Settings.batch_size})",
    )
    add("--lr", type=number(float, 1e-9), help="highest learning rate of AdamW (default: 0.003, with --from 0.001)")
    add("--dice", type=number(float, 0), help=f"weight of the Dice loss (default: {Settings.dice:g})")
    add("--bce", type=number(float, 0), help=f"weight of the binary cross-entropy (default: {Settings.bce:g})")
    add("--weight-decay", type=number(float, 0), help=f"weight decay of AdamW (default: {Settings.weight_decay:g})")
    add(
        "--ema",
        type=number(float, 0, below=1),
        metavar="DECAY",
        help=f"average the weights: EMA decay per step (default: {Settings.ema:g})",
    )
    add("--seed", type=SEED, help=f"random seed (default: {Settings.seed})")
    add = parser.add_argument_group("machine").add_argument
    add("--out", type=Path, metavar="RUN", help="run folder (default: runs/DATA-TIME)")
    add("--resume", type=Path, metavar="RUN", help="continue an interrupted run with its original settings")
    add("--workers", type=number(int, 0), default=2, help="processes that read and augment photos (default: 2)")
    add("--save-minutes", type=number(float, 0), default=5, help="minutes between saves within an epoch (default: 5)")
    args = parser.parse_args(argv)
    if args.dice == 0 and args.bce == 0:
        parser.error("--dice and --bce cannot both be 0")
    if args.start and args.resume:
        parser.error("--from starts a new run and --resume continues an old one; leave one out")
    if args.start and args.encoder:
        parser.error("--encoder builds a new network and --from brings its own; leave one out")
    if args.encoder_weights and not args.encoder:
        parser.error("--encoder-weights: give --encoder, too")
    return args


def settings_of(args):
    """Flags -> (Run, Settings): of a new run, or those of the run that --resume names. Raises BadInput."""
    names = [setting.name for setting in fields(Settings)]
    given = {name: getattr(args, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    if not args.resume:
        given.setdefault("lr", 0.001 if args.start else 0.003)
        return runs.new_run(args.out, args.data), Settings(**given)
    if args.out:
        raise BadInput(f"--resume {args.resume}: a resumed run stays in its folder; leave out --out")
    run = runs.interrupted_run(args.resume)
    data = given.pop("data", None)
    settings = Settings(**runs.own_settings(run, given, names))
    return run, replace(settings, data=data or runs.own_data(run, asdict(settings)))


# ------------------------------------------------------------------------------------------------ data and network


def open_parts(settings, run):
    """Settings -> (name of the data, {"train": [Photo], "valid": [...], "test": [...]}). Raises BadInput."""
    with distributed.process_0_first():  # it may draw the sample
        export = open_data(settings.data, settings.classes)
    if run.saved:
        check_same_data(run, export)
    parts = split(export, settings.seed, run.splits if run.saved else settings.splits)
    if not parts["valid"]:
        raise BadInput(f"{settings.splits or export.root}: {NOT_VALIDATED}")
    return str(export.root), parts


def check_same_data(run, export):
    """Raises BadInput where the export holds other photos or labels than those that the run began with."""
    if not same_photos(run.splits, export):
        raise BadInput(f"{export.root}: other photos than those of {run.folder}; give the run's own with --data")
    changed = relabelled(run.splits, export)
    if changed:
        raise BadInput(
            f"{export.root}: the labels of {some(changed)} have changed since {run.folder} began; give the earlier "
            f"export with --data, or start a new run with --from {run.folder}"
        )


def loaders(parts, preprocess, settings, workers=0, pin=False):
    """(shuffled batches of train photos and their augmented versions, batches of the valid photos as they are)."""
    change = partial(augment, without=settings.without)
    data = CrackDataset(parts["train"], preprocess, change, settings.versions, settings.seed, settings.once)
    train_batches = loader(data, settings.batch_size, workers, settings.seed, pin)
    # read once and kept in memory if they are few, so worker processes would not be worth it
    valid_batches = loader(CrackDataset(parts["valid"], preprocess), settings.batch_size)
    return train_batches, valid_batches


def network(settings, run):
    """(network, Preprocess): of the run to continue, of --from, or new. Raises BadInput."""
    preprocess = Preprocess()
    if run.saved:  # --resume: last.pt has everything, also of a run that began with --from
        model, preprocess, _ = load_checkpoint(run.last)
    elif settings.start:
        model, preprocess, _ = load_checkpoint(runs.weights_file(settings.start))
    elif settings.encoder:
        model = transfer_net(settings.encoder, settings.encoder_weights)
    else:
        model = CrackNet()
    if settings.dropout is not None:
        model = with_dropout(model, settings.dropout)
    if settings.encoder_rate != 1 and not isinstance(model, TransferNet):
        raise BadInput("--encoder-rate: this network has no torchvision encoder; leave it out or give --encoder")
    if settings.encoder_rate == 0:  # frozen: without a gradient the optimiser leaves it as it is
        model.trunk.requires_grad_(False)
    return model, replace(preprocess, size=settings.size or preprocess.size)


def with_dropout(model, dropout):
    """The same network and weights with another dropout. Raises BadInput."""
    if "dropout" not in model.arguments:
        raise BadInput(f"--dropout: {type(model).__name__} has none; leave it out")
    changed = type(model)(**model.arguments | {"dropout": dropout})
    changed.load_state_dict(model.state_dict())
    return changed


def default_steps(photos):
    """Number of train photos -> (steps, in words why so many)."""
    steps = STEPS_A_PHOTO * photos
    if steps > MOST_STEPS:
        return MOST_STEPS, f"at most {MOST_STEPS:,}"
    if steps >= FEWEST_STEPS:
        return steps, f"{STEPS_A_PHOTO} for each of {photos} photos"
    if MOST_STEPS_A_PHOTO * photos < FEWEST_STEPS:
        return MOST_STEPS_A_PHOTO * photos, f"{MOST_STEPS_A_PHOTO} for each of {number_of(photos, 'photo')}"
    return FEWEST_STEPS, f"at least {FEWEST_STEPS:,}"


def number_of_epochs(epochs, photos, batches):
    """--epochs or None, number of train photos, batches in an epoch -> (epochs, words on how many steps and why)."""
    why = ""
    if epochs is None:
        steps, reason = default_steps(photos)
        epochs = max(1, round(steps / batches))
        why = f" ({reason}; --epochs changes it)"
    return epochs, f"{epochs * batches:,} steps in {number_of(epochs, 'epoch')}{why}"


# ------------------------------------------------------------------------------------------------ learning


@dataclass
class Progress:
    """How far an epoch has come."""

    steps: int = 0
    photos: int = 0
    loss: float = 0.0  # sum over the photos
    seconds: float = 0.0


@dataclass
class TrainState:
    """Everything that changes while a network learns."""

    model: nn.Module
    parallel: nn.Module  # the same network, wrapped for several processes, see distributed.parallel
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    scaler: torch.amp.GradScaler
    steps: int  # of the whole training
    average: AveragedModel | None = None  # of the weights, with --ema
    history: list = field(default_factory=list)  # a row for each finished epoch: losses and scores
    progress: Progress = field(default_factory=Progress)  # of the epoch that is not finished

    @property
    def for_prediction(self):
        """The network that is validated and saved as best.pt."""
        return self.average.module if self.average else self.model

    def end_epoch(self, scores, seconds):
        """Add the epoch that has just ended to the history, with the result of `validate` and the seconds it took."""
        row = {"epoch": len(self.history) + 1, "train_loss": self.progress.loss / self.progress.photos}
        self.history.append(row | scores | {"seconds": self.progress.seconds + seconds})
        self.progress = Progress()

    def state_dict(self):
        """Everything except the network's own weights, for `torch.save`."""
        content = {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
            "progress": asdict(self.progress),
        }
        if self.average:
            content["average"] = self.average.state_dict()
        return content

    def load_state_dict(self, content):
        """The inverse of `state_dict`."""
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        if content["scaler"]:  # empty if the run began on a device that needs no loss scaling
            self.scaler.load_state_dict(content["scaler"])
        self.history = content["history"]
        self.progress = Progress(**content["progress"])
        if self.average:
            self.average.load_state_dict(content["average"])


def learning_rate_factor(step, steps):
    """Share of the highest learning rate at a step.

    It rises linearly over the first tenth of the steps, then falls to 0 along half a cosine.
    """
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * min(1, (step - warm) / max(1, steps - warm))))


def optimisation(model, settings, steps, device):
    """The initial TrainState: AdamW, warm-up then cosine over all `steps`, loss scaling in float16, EMA with --ema."""
    parallel = distributed.parallel(model, device)
    groups = [{"params": list(model.parameters())}]
    if settings.encoder_rate != 1:
        trunk = set(model.trunk.parameters())
        groups = [
            {"params": [weight for weight in model.parameters() if weight not in trunk]},
            {"params": list(model.trunk.parameters()), "lr": settings.lr * settings.encoder_rate},
        ]
    # without weight decay, the default, AdamW is Adam
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = LambdaLR(optimizer, partial(learning_rate_factor, steps=steps))
    # in float16 small gradients would become 0, so the loss is scaled up
    scaler = torch.amp.GradScaler(device.type, enabled=precision(device) == torch.float16)
    average = None
    if settings.ema:
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
    return TrainState(model, parallel, optimizer, schedule, scaler, steps, average)


def dice_bce(logits, mask, dice_weight=1.0, bce_weight=1.0):
    """(N, 1, H, W) logits and mask of 0 and 1 -> weighted sum of soft Dice loss and binary cross-entropy.

    Dice is computed over the whole batch, not for each photo, because an undamaged photo alone gives almost no gradient
    (Milletari et al. 2016; batch variant as in nnU-Net). A batch without any crack has almost no Dice gradient either:
    there the cross-entropy teaches. With several processes, the batch is that of all processes, so the four sums are
    added up over them.
    """
    probability, mask = logits.sigmoid(), mask.float()
    overlap, total = (probability * mask).sum(), probability.sum() + mask.sum()
    entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="sum")
    pixels = torch.full_like(entropy, logits.numel())
    overlap, total, entropy, pixels = distributed.total(torch.stack([overlap, total, entropy, pixels]))
    dice = 1 - (2 * overlap + 1) / (total + 1)  # +1 avoids 0 / 0 where there is no crack
    return dice_weight * dice + bce_weight * entropy / pixels


def train_step(state, inputs, masks, loss_of):
    """Learn from one batch -> its loss. Raises FloatingPointError when that is not finite."""
    with autocast(inputs.device):
        logits = state.parallel(inputs)
    # With several processes, one may get no photo of a small last batch. `dataset.Batches` then gives it a photo all
    # the same, and `train_one_epoch` no mask; what the network says about that photo is dropped here.
    loss = loss_of(logits[: len(masks)].float(), masks)
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(f"loss is {value}")
    state.optimizer.zero_grad(set_to_none=True)
    # With several processes, each one's gradient is only its own photos' part of the whole. PyTorch averages these
    # parts over the processes, so the loss is multiplied by their number to get the sum.
    loss = loss * distributed.world()
    state.scaler.scale(loss).backward()
    state.scaler.unscale_(state.optimizer)
    # so that a rare batch with a huge gradient cannot spoil the weights
    nn.utils.clip_grad_norm_(state.parallel.parameters(), 1.0)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.schedule.step()
    if state.average:
        state.average.update_parameters(state.model)
    return value


def seed_step(*where):
    """Seed dropout by the position in the training, so that an interrupted run draws the same as an undisturbed one."""
    torch.manual_seed(int(np.random.SeedSequence(where).generate_state(1)[0]))


def train_one_epoch(state, batches, loss_of, device, after_step):
    """One pass over the train photos, or the rest of one that was interrupted; calls after_step() after every step.

    `state.progress` is kept up to date. Raises FloatingPointError when a loss is not finite.
    """
    state.parallel.train()
    batch_order = batches.batch_sampler
    done = state.progress  # the object itself, so that what is added here is saved with the state
    batch_order.first = done.steps  # 0, except after --resume
    steps_before = len(state.history) * len(batch_order) + done.steps
    began = time.perf_counter()
    # the bar counts the steps of the whole training, so that it shows the time that is left of it
    with tqdm(batches, "training", state.steps, initial=steps_before, leave=False, unit="step") as bar:
        for inputs, masks, indices in bar:
            seed_step(batch_order.seed, batch_order.epoch, done.steps, distributed.rank())
            photos, own_photos = batch_order.size(done.steps)
            inputs = inputs.to(device, memory_format=torch.channels_last, non_blocking=True)
            masks = masks[:own_photos].to(device, non_blocking=True)
            try:
                loss = train_step(state, inputs, masks, loss_of)
            except FloatingPointError as error:
                names = ", ".join(sorted({batches.dataset.photos[i].name for i in indices.tolist()}))
                raise FloatingPointError(f"{error} on {names}; try a smaller --lr or look at these photos") from None
            now = time.perf_counter()
            done.steps += 1
            done.photos += photos
            done.loss += loss * photos
            done.seconds += now - began
            began = now
            bar.set_postfix(loss=f"{done.loss / done.photos:.3f}")
            if done.steps == min(STEPS_BEFORE_ESTIMATE, len(batch_order)) and not state.history:
                estimate = runs.duration(state.steps * done.seconds / done.steps)
                tqdm.write(f"the training will take about {estimate}, plus validation")
            after_step()


# ------------------------------------------------------------------------------------------------ validation


def threshold_counts(model, preprocess, photos):
    """(photos, thresholds, 4) counts at each photo's own size for `metrics.THRESHOLDS`.

    Specks are not removed: doing that at every threshold would take seconds for a phone's photo.
    """
    result = []
    for item in tqdm(photos, "validating", leave=False, unit="photo"):
        photo, truth = item.read()
        result.append(metrics.counts_by_threshold(predict(model, preprocess, photo), truth))
    return np.array(result)


@torch.inference_mode()
def validate(model, batches, preprocess, loss_of, device):
    """Loss and IoU on the validation photos -> {column of history.csv: value}.

    valid_loss: mean loss over `batches`, at the network's input size
    iou_cracked, iou_all, iou_pooled: at the photos' own size and threshold 0.5
    threshold, iou_at_threshold: the best threshold (`metrics.best_threshold`) and iou_cracked at it

    Raises FloatingPointError when the loss is not finite.
    """
    distributed.same_everywhere(model)
    model.eval()
    total = 0.0
    for step, (inputs, masks, _) in enumerate(batches):
        photos, own_photos = batches.batch_sampler.size(step)
        with autocast(device):
            logits = model(inputs.to(device, memory_format=torch.channels_last, non_blocking=True))
        total += loss_of(logits[:own_photos].float(), masks[:own_photos].to(device)).item() * photos
    if not math.isfinite(total):
        raise FloatingPointError("the validation loss is not finite: the network has diverged; try a smaller --lr")
    own_counts = threshold_counts(model, preprocess, distributed.share(batches.dataset.photos))
    counts = np.array(distributed.gathered(list(own_counts)))
    threshold = metrics.best_threshold(counts)
    at_half, at_best = metrics.summary_at(counts, 0.5), metrics.summary_at(counts, threshold)
    return {
        "valid_loss": total / len(batches.dataset),
        "iou_cracked": at_half["iou_cracked"],
        "iou_all": at_half["iou_all"],
        "iou_pooled": at_half["iou_pooled"],
        "threshold": threshold,
        "iou_at_threshold": at_best["iou_cracked"],
    }


# ------------------------------------------------------------------------------------------------ the loop


def train(settings, run, device, workers=0, save_minutes=5):
    """The whole training, in each of the processes that share the work."""
    torch.manual_seed(settings.seed)
    data, parts = open_parts(settings, run)

    model, preprocess = network(settings, run)
    model = model.to(device, memory_format=torch.channels_last)

    train_batches, valid_batches = loaders(parts, preprocess, settings, workers, device.type == "cuda")
    epochs, how_long = number_of_epochs(settings.epochs, len(parts["train"]), len(train_batches))

    dropout = model.arguments.get("dropout")
    # record the values actually used, so that --resume finds them
    settings = replace(settings, data=data, size=preprocess.size, dropout=dropout, epochs=epochs)
    state = optimisation(model, settings, epochs * len(train_batches), device)
    loss_of = partial(dice_bce, dice_weight=settings.dice, bce_weight=settings.bce)
    if run.saved:
        runs.restore(run, state)
        runs.write_history(run, state.history, settings)  # a run killed while it saved may lack the last row
    if len(state.history) >= epochs:
        print(
            f"{run.folder}: already finished; to go on in a new run: {runs.new_run_from(run, data)} --epochs {epochs}"
        )
        print(runs.conclusion(run, state.history, len(parts["valid"]), data))
        return

    print(runs.introduction(run, parts, model, settings, device), how_long, sep="\n", flush=True)
    runs.write_facts(run, settings, parts, device)
    save_now = partial(runs.save, run, state, preprocess, settings)
    with workers_ended(train_batches):
        for epoch in range(len(state.history), epochs):
            train_batches.batch_sampler.epoch = epoch
            # Ctrl-C waits for the end of the step, then saves
            with runs.autosave(save_now, save_minutes, device) as after_step:
                train_one_epoch(state, train_batches, loss_of, device, after_step)
            began = time.perf_counter()
            scores = validate(state.for_prediction, valid_batches, preprocess, loss_of, device)
            state.end_epoch(scores, time.perf_counter() - began)
            runs.save_epoch(run, state, preprocess, settings)
            print(runs.in_words(state.history, epochs), flush=True)
    print(runs.conclusion(run, state.history, len(parts["valid"]), data))


def main(argv=None):
    args = arguments(argv)
    device = choose_device(args.device)
    run, settings = settings_of(args)
    # a batch system sends SIGTERM before it kills; treat it like Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with distributed.joined(device):
            train(settings, run, device, args.workers, args.save_minutes)
    except KeyboardInterrupt:
        if run.last.exists():
            raise KeyboardInterrupt(f"python train.py --resume {run.folder} continues from the last save") from None
        raise
    except torch.OutOfMemoryError:
        raise MemoryError(f"{device}: out of memory; try a smaller --batch-size or --size") from None
    return 0


if __name__ == "__main__":
    execute(main)

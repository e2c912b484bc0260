"""CrackNet beside other networks: cost, speed, and quality for the same training time.

    python results/benchmark.py cost                                  # parameters, work, time per photo, memory
    python results/benchmark.py photos                                # whole photos and folders, file to mask; loader
    python results/benchmark.py quality --data DIR --splits FILE --minutes 10 --seeds 0 1 2

Times are those of this machine, so quote ratios. Nothing else may run beside cost and photos. All networks compute in
bfloat16 where the processor has instructions for it, else in float32 (model.precision).

quality counts minutes in steps: as many as the machine of cost and photos makes in that time. So trainings may run on any
device and beside other work. Each network is trained with the first seed at both learning rates, or at the better one if
the JSON file already knows it; then CrackNet and the two best others, by validation, with the other seeds. A finished
training is added to the JSON file at once and not repeated.
"""

import json
import math
import platform
import re
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.fx.experimental.optimization import fuse
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs as a script

import runs
import survey
from augment import augment
from command import BadInput, Parser, choose_device, execute, write_json
from data.split import split
from data.synthesize import draw_photo
from dataset import CrackDataset, Shuffled, loader, open_data
from evaluate import best_threshold, score_photo, score_sheet, threshold_counts
from formats.photo import Preprocess, read_photo, write_image
from inference import crack_mask, open_model, predict
from metrics import THRESHOLDS, summary
from model import CrackNet, autocast, fused, parameter_count, precision
from results.contenders import CONTENDERS, available
from runs import NOTHING_DONE, number_type
from train import arguments as recipe
from train import dice_bce, pace, train_one_epoch, train_step

CPU = torch.device("cpu")
BATCH = recipe([]).batch_size
SHOWN = ("iou_cracked", "f1_2px", "cldice", "recall_to_3px", "recall_3_to_10px")  # printed by quality
SIZE = Preprocess.size  # longer side of the input at which all networks are compared
MATRIX = 2048  # side of the matrices whose product shows what the machine can do
RATES = (1e-3, 3e-3)  # learning rates that each network may choose from, by validation


# ---------------------------------------------------------------------------------------------- cost


def median_seconds(call, runs=9):
    """Median wall time of a call after two that warm up."""
    return side_by_side({"": call}, runs)[""]


def side_by_side(calls, runs=9):
    """{name: function} -> {name: median wall time}, taken in turns, so that a slow minute slows all of them."""
    times = {name: [] for name in calls}
    for _ in range(runs + 2):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: sorted(each[2:])[runs // 2] for name, each in times.items()}


def matrix_product(dtype):
    """A function that multiplies square matrices: its 2 MATRIX³ operations a second are the limit of this machine."""
    a = torch.randn(MATRIX, MATRIX, dtype=dtype)
    return lambda: a @ a


def giga_macs(model, side=512):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 2e9


def ready(build):
    """A contender as one predicts with it: batch norm merged into the convolutions, that of the others by torch.fx."""
    model = build().eval()
    return fused(model) if isinstance(model, CrackNet) else fuse(model)


def answering(model, dtype=None, channels_last=True, side=512):
    """A function that gives the logits of one photo; `dtype` is by default what this machine predicts in."""
    dtype = dtype or precision(CPU)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model, photo = model.to(memory_format=layout), torch.randn(1, 3, side, side).to(memory_format=layout)

    @torch.inference_mode()
    def answer():
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return model(photo)

    return answer


def training_step(model, batch=BATCH, side=512):
    """A function that does one training step on random photos: forward, loss, backward, optimiser."""
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    photos = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
    masks = (torch.rand(batch, 1, side, side) > 0.97).float()

    def step():
        optimizer.zero_grad()
        with autocast(CPU):
            logits = model(photos)
        dice_bce(logits.float(), masks).backward()
        optimizer.step()

    return step


def training_seconds(build, batch=BATCH):
    """Seconds of a training step a photo."""
    return median_seconds(training_step(build(), batch), runs=5) / batch


def in_process(function, *args):
    """The function's result from a fresh process: peak memory never falls, so each is measured in one of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def peak_mb():
    """Peak memory of this process so far (Linux: `ru_maxrss` would begin with that of the process that started it)."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def training_memory(name):
    """Peak memory of training on batches of the recipe at 512×512, with all that Python and PyTorch take themselves."""
    training_step(CONTENDERS[name]())()
    return peak_mb()


def cost_of(name, seconds, rate):
    """Everything that can be known of a contender without training it; `seconds` for a photo as this machine predicts,
    `rate` is its matrix rate."""
    build = CONTENDERS[name]
    model = build().eval()
    row = {"parameters": parameter_count(model), "gmac_512": giga_macs(model), "ms_512": 1e3 * seconds}
    for dtype in {precision(CPU), torch.float32}:  # emulated bfloat16 would take minutes and nobody uses it
        for layout in ("", "_channels_last"):
            call = answering(ready(build), dtype, bool(layout))
            row[f"ms_512_{number_type(dtype)}{layout}"] = 1e3 * median_seconds(call)
    row["share_of_matrix_rate"] = 2e9 * row["gmac_512"] / seconds / rate
    seconds = training_seconds(build)
    row["share_of_matrix_rate_training"] = 3 * 2e9 * row["gmac_512"] / seconds / rate  # backward counts twice forward
    return row | {"training_photos_per_second": 1 / seconds, "training_mb": in_process(training_memory, name)}


def cost(args, results):
    names, dtype = available(args.contenders), precision(CPU)
    calls = {name: answering(ready(CONTENDERS[name])) for name in names}
    limits = {number_type(kind): matrix_product(kind) for kind in {dtype, torch.float32}}
    seconds = side_by_side(calls | limits, 15)
    results["matrix_gflops"] = {key: 2 * MATRIX**3 / seconds[key] / 1e9 for key in limits}
    results["cost"], rate = {}, 1e9 * results["matrix_gflops"][number_type(dtype)]
    for name in names:
        results["cost"][name] = cost_of(name, seconds[name], rate)
        save(args.json, results)
    ours = results["cost"].get("CrackNet", {}).get("ms_512", math.nan)
    print("matrix product:", ", ".join(f"{x:.0f} GFLOP/s {key}" for key, x in results["matrix_gflops"].items()))
    columns = "params  GMAC    ms  ours=1  fp32 ms  of matrix rate: forward, training  photos/s     MB"
    print(f"{number_type(dtype):22} {columns}")
    for name, row in results["cost"].items():
        print(
            f"{name:22} {row['parameters'] / 1e6:5.2f}M {row['gmac_512']:5.1f} {row['ms_512']:5.0f} "
            f"{row['ms_512'] / ours:7.2f} {row['ms_512_float32_channels_last']:8.0f} "
            f"{row['share_of_matrix_rate']:23.0%} {row['share_of_matrix_rate_training']:9.0%} "
            f"{row['training_photos_per_second']:9.1f} {row['training_mb']:6.0f}"
        )


# ---------------------------------------------------------------------------------------------- whole photos

SIZES = {0.25: (512, 512), 1: (886, 1182), 4: (1732, 2309), 12: (3000, 4000), 48: (6000, 8000)}  # megapixels: h, w


@cache
def shipped():
    """(model ready to predict, Preprocess, threshold) of the weights that ship: random ones would find noise."""
    model, preprocess, threshold = inference.open_model(runs.SHIPPED, "cpu")
    return fused(model), preprocess, threshold


def file_to_mask(path, native):
    """What a user waits for: read, look at (in tiles where native), threshold, write the mask."""
    model, preprocess, threshold = shipped()
    photo = read_photo(path)
    mask, _ = crack_mask(predict(model, preprocess, photo, max(photo.shape) if native else None), threshold)
    write_image(path.with_suffix(".png"), 255 * mask)


def file_memory(path):
    file_to_mask(path, True)
    return peak_mb()


def drawn_file(folder, megapixels, copy=0):
    """A JPEG of about so many megapixels; large ones are a drawn photo enlarged, with noise as cameras have it."""
    height, width = SIZES[megapixels]
    rng = np.random.default_rng([copy, height])
    photo, _ = draw_photo(rng, (min(height, 900), min(width, 1200)), True)
    photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(-6, 7, (height, width, 1), dtype=np.int16)
    path = folder / f"{megapixels}-{copy}.jpg"
    write_image(path, np.clip(photo + noise, 0, 255).astype(np.uint8))
    return path


def folder_rate(folder, megapixels, photos):
    """Photos a second of `inference.py FOLDER` with the weights that ship, everything included: mask, measuring,
    overlay, tables, report."""
    files = folder / f"folder-{megapixels}"
    files.mkdir()
    for copy in range(photos):
        drawn_file(files, megapixels, copy)
    began = time.perf_counter()
    inference.main([str(files), "--checkpoint", str(runs.SHIPPED), "--out", str(files / "out")])
    return photos / (time.perf_counter() - began)


def loader_rates(parts, workers=2):
    """Photos a second that the loader alone gives, and that training takes, with the same photos and augmentation."""
    data = CrackDataset(parts["train"], Preprocess(), augment, 5, 0)
    batches, rates = loader(data, BATCH, workers, Shuffled(len(data), 0)), []
    model = CrackNet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    rest = dice_bce, optimizer, LambdaLR(optimizer, lambda _: 1.0), torch.amp.GradScaler("cpu", enabled=False), CPU
    next(iter(batches))  # the workers have started
    passes = (
        lambda: deque(batches, 0),
        lambda: deque(train_one_epoch(model, batches, *rest, dict(NOTHING_DONE)), 0),
    )
    for consume in passes:
        began = time.perf_counter()
        consume()
        rates.append(len(data) / (time.perf_counter() - began))
    return dict(zip(("loader", "training"), rates, strict=True))


def photos(args, results):
    found = results["photos"] = {}
    found["loader"] = loader_rates(split(open_data(args.data), 0, args.splits))
    print("loader alone {loader:.0f} photos/s, training {training:.1f}".format(**found["loader"]))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for megapixels in SIZES:
            path = drawn_file(folder, megapixels)
            row = {key: median_seconds(partial(file_to_mask, path, key == "native"), 3) for key in ("usual", "native")}
            found[f"{megapixels} MP"] = row | {"native_mb": in_process(file_memory, path)}
            print(
                f"{megapixels:5} MP, file to mask: {row['usual']:.2f} s, at its own pixels {row['native']:.2f} s, "
                f"peak {found[f'{megapixels} MP']['native_mb']:.0f} MB", flush=True
            )  # fmt: skip
            save(args.json, results)
        for megapixels, count in ((0.25, 60), (12, 12)):
            found[f"folder of {megapixels} MP, photos/s"] = folder_rate(folder, megapixels, count)
    print({key: round(value, 2) for key, value in found.items() if key.startswith("folder")})


# ---------------------------------------------------------------------------------------------- quality


def endless(batches):
    """A loader's batches, epoch after epoch."""
    for batches.batch_sampler.sampler.epoch in count():
        yield from batches


def steps_within(args, name, results):
    """Training steps that the machine of `cost` and `photos` makes in that time: the loader takes its share of it.

    Both were measured with photos of 512×512; the time of others is taken to grow with their pixels.
    """
    photo = 1 / results["cost"][name]["training_photos_per_second"] + 1 / results["photos"]["loader"]["loader"]
    return round(60 * args.minutes / photo / BATCH * (SIZE / args.size) ** 2)


def train_for(build, parts, steps, rate, seed, size):
    """A contender trained for so many steps with our data, augmentation, loss, precision and schedule."""
    torch.manual_seed(seed)
    model, preprocess = build().to(DEVICE, memory_format=torch.channels_last), Preprocess(size)
    data = CrackDataset(parts["train"], preprocess, augment, 5, seed)
    batches = loader(data, BATCH, 2, Shuffled(len(data), seed), DEVICE.type == "cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    schedule = LambdaLR(optimizer, partial(pace, steps=steps))
    scaler = torch.amp.GradScaler(DEVICE.type, enabled=precision(DEVICE) == torch.float16)
    model.train()
    for inputs, masks, _ in islice(endless(batches), steps):
        inputs = inputs.to(DEVICE, memory_format=torch.channels_last, non_blocking=True)
        train_step(model, inputs, masks.to(DEVICE, non_blocking=True), dice_bce, optimizer, schedule, scaler)
    return model, preprocess


def score_for(build, parts, steps, rate, seed, size):
    """{"valid": IoU at the best threshold, "test": score sheet at that threshold, "interval"} of one training."""
    model, preprocess = train_for(build, parts, steps, rate, seed, size)
    counts = threshold_counts(model, preprocess, parts["valid"])
    threshold = best_threshold(counts)
    rows = []
    for item in parts["test"]:
        photo, truth = item.read()
        rows.append(score_photo(crack_mask(predict(model, preprocess, photo), threshold)[0], truth))
    sheet, interval = score_sheet(rows)
    valid = summary(counts[:, THRESHOLDS.tolist().index(threshold)])["iou_cracked"]
    return {"valid": valid, "threshold": threshold, "test": sheet, "interval": interval}


def quality(args, results):
    if not {"cost", "photos"} <= results.keys():
        raise BadInput(f"{args.json}: how many steps a machine makes is not known; first: cost, photos")
    parts = split(open_data(args.data), 0, args.splits)
    done, rates, valid = results.setdefault("quality", {}), {}, {}
    train = partial(once, done, args, results, parts)
    for name in available(args.contenders):
        tried = {rate: train(name, rate, args.seeds[0]) for rate in known_rate(done, name, args) or RATES}
        rates[name] = max(tried, key=lambda rate, tried=tried: tried[rate]["valid"])
        valid[name] = tried[rates[name]]["valid"]
    best = sorted(valid.keys() - {"CrackNet"}, key=valid.get)[-2:]
    for name in valid:
        seeds = args.seeds if name in (*best, "CrackNet") else args.seeds[:1]
        found = [train(name, rates[name], seed) for seed in seeds]
        rows = [each["test"] for each in found]
        means = {key: sum(row[key] for row in rows) / len(rows) for key in SHOWN}
        spread = max(row["iou_cracked"] for row in rows) - min(row["iou_cracked"] for row in rows)
        words = f"{name + at_size(args):24} {args.minutes:g} min, {found[0]['steps']} steps, "
        words += f"rate {rates[name]:g}, {len(rows)} seeds: "
        words += ", ".join(f"{key} {value:.3f}" for key, value in means.items())
        print(words + f"; spread of iou_cracked {spread:.3f}", flush=True)


def known_rate(done, name, args):
    """[the better of RATES], where a shorter budget has tried both with this contender, or as long a one with smaller
    photos; else nothing."""
    tried = {row["minutes"] for row in done.values() if (row["minutes"], SIZE) < (args.minutes, args.size)}
    for shorter in sorted(tried, reverse=True):
        keys = {rate: f"{name}, {shorter:g} min, rate {rate:g}, seed 0" for rate in RATES}
        if all(key in done for key in keys.values()):
            return [max(RATES, key=lambda rate, keys=keys: done[keys[rate]]["valid"])]
    return []


def at_size(args):
    """What a name says of photos of another size than all contenders are compared at."""
    return "" if args.size == SIZE else f" at {args.size}"


def once(done, args, results, parts, name, rate, seed):
    """The stored result of this training, or the training."""
    key = f"{name}{at_size(args)}, {args.minutes:g} min, rate {rate:g}, seed {seed}"
    if key not in done:
        steps = steps_within(args, name, results)
        scored = score_for(CONTENDERS[name], parts, steps, rate, seed, args.size)
        done[key] = {"minutes": args.minutes, "steps": steps, "device": str(DEVICE)} | scored
        save(args.json, results)
        print(f"{key}: valid {scored['valid']:.3f}, test {scored['test']['iou_cracked']:.3f}", flush=True)
    return done[key]


def processor():
    """Its name, as far as it tells."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else None
    return found[1] if found else platform.processor() or platform.machine()


def save(path, results):
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1))


def main(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("what", choices=("cost", "photos", "quality"))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, help="default: all")
    parser.add_argument("--data", help="folder of a COCO export (default: data/sample)")
    parser.add_argument("--splits", help="splits.json (default: the split that train.py would use)")
    parser.add_argument("--minutes", type=float, default=10, help="training time of each contender (%(default)s)")
    parser.add_argument("--size", type=int, default=SIZE, help="quality: longer side of the input (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    parser.add_argument("--json", type=Path, default=Path("results/benchmark.json"), help="where results are kept")
    args = parser.parse_args(argv)
    results = json.loads(args.json.read_text()) if args.json.is_file() else {}
    if args.what != "quality":
        results["machine"] = {"cores": torch.get_num_threads(), "processor": processor(), "torch": torch.__version__,
                              "precision": number_type(precision(CPU)), "date": time.strftime("%Y-%m-%d")}  # fmt: skip
    {"cost": cost, "photos": photos, "quality": quality}[args.what](args, results)
    save(args.json, results)
    return 0


if __name__ == "__main__":
    execute(main)

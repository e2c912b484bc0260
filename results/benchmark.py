"""What CrackNet and other networks cost: parameters, work, time, memory; quality.py compares how well they learn.

    python results/benchmark.py cost                                  # parameters, work, time per photo, memory
    python results/benchmark.py photos                                # whole photos and folders, file to mask; loader

Times are those of this machine, so quote ratios. Nothing else may run beside it. All networks compute in bfloat16 where
the processor has instructions for it, else in float32 (model.precision).
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
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.fx.experimental.optimization import fuse
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs as a script

import inference
import runs
import survey
from augment import augment
from command import BadInput, Parser, execute, write_json
from data.split import split
from data.synthesize import draw_photo
from dataset import CrackDataset, loader, open_data
from formats.photo import Preprocess, read_photo, write_image
from inference import crack_mask, open_model
from model import CrackNet, autocast, fused, parameter_count, precision, predict
from results.contenders import CONTENDERS, available
from runs import number_type
from train import Settings, dice_bce, optimisation, train_one_epoch

CPU = torch.device("cpu")
BATCH = Settings.batch_size
SIZE = Preprocess.size  # longer side of the input at which all networks are compared
MATRIX = 2048  # side of the matrices whose product shows what the machine can do


# ---------------------------------------------------------------------------------------------- cost


def median_seconds(call, runs=9):
    """Median wall time of a call, after two calls to warm up."""
    return side_by_side({"call": call}, runs)["call"]


def side_by_side(calls, runs=9):
    """{name: function} -> {name: median wall time}. They take turns, so a slow minute slows all of them."""
    times = {name: [] for name in calls}
    for _ in range(runs + 2):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: sorted(each[2:])[runs // 2] for name, each in times.items()}


def matrix_product(dtype):
    """A function that multiplies two square matrices, with 2 MATRIX³ operations: about the limit of this machine."""
    a = torch.randn(MATRIX, MATRIX, dtype=dtype)
    return lambda: a @ a


def giga_macs(model):
    """Multiply-accumulates for one photo of SIZE × SIZE, in billions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, SIZE, SIZE))
    return counter.get_total_flops() / 2e9


def ready(build):
    """A network as one predicts with it: evaluation mode, batch norm merged into the convolutions."""
    model = build().eval()
    if isinstance(model, CrackNet):
        return fused(model)
    return fuse(model)


def answering(model, dtype):
    """A function that computes the logits of one photo in this number type."""
    model = model.to(memory_format=torch.channels_last)
    photo = torch.randn(1, 3, SIZE, SIZE).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def answer():
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return model(photo)

    return answer


def training_step(model):
    """A function that makes one training step on random photos: forward, loss, backward, optimiser."""
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    photos = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    masks = (torch.rand(BATCH, 1, SIZE, SIZE) > 0.97).float()

    def step():
        optimizer.zero_grad()
        with autocast(CPU):
            logits = model(photos)
        dice_bce(logits.float(), masks).backward()
        optimizer.step()

    return step


def in_process(function, *args):
    """The function's result from a process of its own, because the peak memory of a process never falls."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def peak_mb():
    """Peak memory of this process so far, from Linux: `ru_maxrss` would include the process that started it."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def training_memory(name):
    """Peak memory of a training step, including what Python and PyTorch take themselves."""
    training_step(CONTENDERS[name]())()
    return peak_mb()


def cost_of(name, seconds, matrix_rate):
    """Network, its seconds per photo, operations per second of the matrix product -> what it costs, as a dict."""
    build = CONTENDERS[name]
    model = build().eval()
    row = {"parameters": parameter_count(model), "gmac_512": giga_macs(model), "ms_512": 1e3 * seconds}
    for dtype in {precision(CPU), torch.float32}:  # bfloat16 without instructions for it would take minutes
        row[f"ms_512_{number_type(dtype)}"] = 1e3 * median_seconds(answering(ready(build), dtype))
    training = median_seconds(training_step(build()), runs=5) / BATCH
    operations = 2e9 * row["gmac_512"]
    row["share_of_matrix_rate"] = operations / seconds / matrix_rate
    row["share_of_matrix_rate_training"] = 3 * operations / training / matrix_rate  # backward costs twice forward
    row["training_photos_per_second"] = 1 / training
    row["training_mb"] = in_process(training_memory, name)
    return row


def cost(names, file, results):
    """Fill and print results["cost"]: a row for each network."""
    dtype = precision(CPU)
    calls = {name: answering(ready(CONTENDERS[name]), dtype) for name in names}
    limits = {number_type(kind): matrix_product(kind) for kind in {dtype, torch.float32}}
    seconds = side_by_side(calls | limits, 15)
    results["matrix_gflops"] = {key: 2 * MATRIX**3 / seconds[key] / 1e9 for key in limits}
    results["cost"] = {}
    for name in names:
        results["cost"][name] = cost_of(name, seconds[name], 1e9 * results["matrix_gflops"][number_type(dtype)])
        write_json(file, results)
    print_cost(results, number_type(dtype))


def print_cost(results, dtype):
    """The table on the screen."""
    ours = results["cost"].get("CrackNet", {}).get("ms_512", math.nan)
    print("matrix product:", ", ".join(f"{x:.0f} GFLOP/s {key}" for key, x in results["matrix_gflops"].items()))
    columns = "params  GMAC    ms  ours=1  fp32 ms  of matrix rate: forward, training  photos/s     MB"
    print(f"{dtype:22} {columns}")
    for name, row in results["cost"].items():
        print(
            f"{name:22} {row['parameters'] / 1e6:5.2f}M {row['gmac_512']:5.1f} {row['ms_512']:5.0f} "
            f"{row['ms_512'] / ours:7.2f} {row['ms_512_float32']:8.0f} "
            f"{row['share_of_matrix_rate']:23.0%} {row['share_of_matrix_rate_training']:9.0%} "
            f"{row['training_photos_per_second']:9.1f} {row['training_mb']:6.0f}"
        )


# ---------------------------------------------------------------------------------------------- whole photos

SIZES = {0.25: (512, 512), 1: (886, 1182), 4: (1732, 2309), 12: (3000, 4000), 48: (6000, 8000)}  # megapixels: h, w
FOLDERS = {0.25: 40, 12: 24}  # megapixels: photos; of more than 20, inference.py and survey.py draw no figures


@cache
def shipped():
    """(model ready to predict, Preprocess, threshold) of the shipped weights; random ones would find noise."""
    model, preprocess, threshold = open_model(runs.SHIPPED, "cpu")
    return fused(model), preprocess, threshold


def file_to_mask(path, full_resolution):
    """What a user waits for: read the photo, predict, threshold, write the mask."""
    model, preprocess, threshold = shipped()
    photo = read_photo(path)
    size = max(photo.shape) if full_resolution else None
    mask, _ = crack_mask(predict(model, preprocess, photo, size), threshold)
    write_image(path.with_suffix(".png"), 255 * mask)


def file_memory(path):
    """Peak memory of the same at full resolution."""
    file_to_mask(path, True)
    return peak_mb()


def drawn_file(folder, megapixels, copy=0):
    """A JPEG of about so many megapixels. Large ones are a drawn photo enlarged, with noise as cameras have it."""
    height, width = SIZES[megapixels]
    rng = np.random.default_rng([copy, height])
    photo, _ = draw_photo(rng, (min(height, 900), min(width, 1200)), True)
    photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(-6, 7, (height, width, 1), dtype=np.int16)
    path = folder / f"{megapixels}-{copy}.jpg"
    write_image(path, np.clip(photo + noise, 0, 255).astype(np.uint8))
    return path


def folder_rate(command, files, out):
    """Photos per second of `survey.py FOLDER` or `inference.py FOLDER`, given as a module, with the shipped weights."""
    began = time.perf_counter()
    command.main([str(files), "--checkpoint", str(runs.SHIPPED), "--out", str(out), "--device", "cpu"])
    return len(list(files.iterdir())) / (time.perf_counter() - began)


def loader_rates(train_photos):
    """Photos per second that the loader delivers on its own, and that training takes, on the same photos."""
    data = CrackDataset(train_photos, Preprocess(), augment, 5, 0)
    batches = loader(data, BATCH, 2, seed=0)
    next(iter(batches))  # the workers have started
    began = time.perf_counter()
    deque(batches, 0)
    alone = time.perf_counter() - began

    state = optimisation(CrackNet().to(memory_format=torch.channels_last), Settings(lr=1e-4), len(batches), CPU)
    began = time.perf_counter()
    train_one_epoch(state, batches, dice_bce, CPU, after_step=lambda: None)
    training = time.perf_counter() - began
    return {"loader": len(data) / alone, "training": len(data) / training}


def photos(train_photos, file, results):
    """Fill and print results["photos"]."""
    found = results["photos"] = {"loader": loader_rates(train_photos)}
    print("loader alone {loader:.0f} photos/s, training {training:.1f}".format(**found["loader"]))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for megapixels in SIZES:
            path = drawn_file(folder, megapixels)
            row = {
                "usual": median_seconds(partial(file_to_mask, path, False), 3),
                "native": median_seconds(partial(file_to_mask, path, True), 3),
                "native_mb": in_process(file_memory, path),
            }
            found[f"{megapixels} MP"] = row
            at_full = f"at full resolution {row['native']:.2f} s, peak {row['native_mb']:.0f} MB"
            print(f"{megapixels:5} MP, file to mask: {row['usual']:.2f} s, {at_full}", flush=True)
            write_json(file, results)
        for megapixels, copies in FOLDERS.items():
            found |= folder_times(folder, megapixels, copies, found[f"{megapixels} MP"]["usual"])
            write_json(file, results)


def folder_times(folder, megapixels, copies, alone):
    """Print and return what so many photos in a folder take, beside the seconds that one alone takes to its mask."""
    found, files = {}, folder / f"folder-{megapixels}"
    files.mkdir()
    for copy in range(copies):
        drawn_file(files, megapixels, copy)
    for command in (inference, survey):
        name = f"{command.__name__}.py on {copies} photos of {megapixels} MP"
        rate = folder_rate(command, files, folder / f"{command.__name__}-{megapixels}")
        found[f"{name}, photos/s"] = rate
        print(f"{name}: {rate:.2f} photos/s, {1 / rate / alone:.1f} times as long as file to mask", flush=True)
    return found


# ---------------------------------------------------------------------------------------------- command


def read_results(file):
    """What the JSON file holds so far; {} if there is none. Raises BadInput."""
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text()))
    except (ValueError, TypeError):
        raise BadInput(f"{file}: not a JSON file of results; give another --json") from None


def processor():
    """The processor's name, as far as the system tells it."""
    if sys.platform == "linux":
        named = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        if named:
            return named[1]
    return platform.processor() or platform.machine()


def machine():
    """What the times in the JSON file were measured on."""
    return {
        "cores": torch.get_num_threads(),
        "processor": processor(),
        "torch": torch.__version__,
        "precision": number_type(precision(CPU)),
        "date": time.strftime("%Y-%m-%d"),
    }


def add_flags(parser):
    """The flags of this command and of quality.py."""
    add = parser.add_argument
    add("--contenders", nargs="+", choices=CONTENDERS, metavar="NAME", help="networks to compare (default: all)")
    add("--data", metavar="EXPORT", help="photos to train on: folder or .zip of a COCO export (default: data/sample)")
    add(
        "--json",
        type=Path,
        default=Path("results/benchmark.json"),
        metavar="FILE",
        help="costs and results (default: %(default)s)",
    )


def arguments(argv):
    parser = Parser("results/benchmark.py", description=__doc__)
    parser.add_argument("what", choices=("cost", "photos"), help="what to measure")
    add_flags(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    results = read_results(args.json) | {"machine": machine()}
    if args.what == "cost":
        cost(available(args.contenders), args.json, results)
    else:
        photos(split(open_data(args.data), 0)["train"], args.json, results)
    return 0


if __name__ == "__main__":
    execute(main)

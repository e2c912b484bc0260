"""CrackNet beside what people would pick instead, all measured in one run: cost, speed, quality for equal time.

    python tests/benchmark.py cost                                  # parameters, work, latency, share of the machine
    python tests/benchmark.py quality --data DIR --splits FILE --minutes 10 --seeds 0 1 2

Every finished measurement is added to the JSON file at once and not repeated, so that a benchmark of hours can be
stopped and started. Absolute times are this machine's; quote the ratios. Nothing else may run beside it.
"""

import argparse
import json
import math
import platform
import resource
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent.parent))

from augment import augment
from command import execute, written_whole
from dataset import CrackDataset, Shuffled, loader, open_data
from evaluate import best_threshold, score_photo, score_sheet, threshold_counts
from inference import predict
from metrics import THRESHOLDS, summary
from model import CrackNet, autocast, parameter_count
from photo import Preprocess
from split import split
from train import dice_bce, pace, train_one_epoch

CPU = torch.device("cpu")
RATES = (1e-3, 3e-3)  # each contender gets the better of the two, chosen on validation


class UNet(nn.Module):
    """The plain U-Net of Ronneberger et al. 2015 with batch norm: two 3×3 convolutions a level, concatenated skips."""

    def __init__(self, base, levels=5):
        super().__init__()
        widths = [base * 2**i for i in range(levels)]
        self.down = nn.ModuleList(self.pair(cin, cout) for cin, cout in zip([3, *widths], widths, strict=False))
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]
        self.lift = nn.ModuleList(nn.ConvTranspose2d(deep, flat, 2, 2) for deep, flat in pairs)
        self.up = nn.ModuleList(self.pair(2 * flat, flat) for _, flat in pairs)
        self.head = nn.Conv2d(base, 1, 1)

    @staticmethod
    def pair(cin, cout):
        layers = []
        for channels in (cin, cout):
            layers += [nn.Conv2d(channels, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, x):
        skips = []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for lift, block, skip in zip(self.lift, self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([lift(x), skip], dim=1))
        return self.head(x)


class Out(nn.Module):
    """A torchvision segmentation network that answers with logits only."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)["out"]


def torchvision_network(name):
    from torchvision.models import segmentation

    return Out(getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=1))


def smp_unet():
    """U-Net-ResNet34 of segmentation_models_pytorch, an extra of this benchmark; ImportError where it is missing."""
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet34", encoder_weights=None, classes=1)


CONTENDERS = {
    "CrackNet": CrackNet,
    "U-Net 16": partial(UNet, 16),
    "U-Net 32": partial(UNet, 32),
    "LRASPP-MobileNetV3": partial(torchvision_network, "lraspp_mobilenet_v3_large"),
    "DeepLabV3-MobileNetV3": partial(torchvision_network, "deeplabv3_mobilenet_v3_large"),
    "U-Net-ResNet34": smp_unet,
}


def available(names):
    """{name: constructor}; says which optional contender is missing."""
    chosen = {name: CONTENDERS[name] for name in names or CONTENDERS}
    try:
        import segmentation_models_pytorch  # noqa: F401
    except ImportError:
        if chosen.pop("U-Net-ResNet34", None):
            print("U-Net-ResNet34 left out: pip install segmentation-models-pytorch")
    return chosen


# ---------------------------------------------------------------------------------------------- cost


def median_seconds(call, runs=9):
    """Median wall time of a call after two that warm up."""
    times = []
    for _ in range(runs + 2):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return sorted(times[2:])[runs // 2]


def matrix_rate(dtype, side=2048):
    """Floating-point operations a second of a square matrix product: the limit of this machine, here and now."""
    a = torch.randn(side, side, dtype=dtype)
    return 2 * side**3 / median_seconds(lambda: a @ a)


def giga_macs(model, side=512):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 2e9


@torch.inference_mode()
def latency(model, height, width, half=True, channels_last=True):
    """Seconds for one photo of the given size."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=layout).eval()
    photo = torch.randn(1, 3, height, width).to(memory_format=layout)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        return median_seconds(lambda: model(photo))


def training_seconds(model, batch=8, side=512):
    """Seconds of one training step a photo: forward, loss, backward, optimiser."""
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    photos = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
    masks = (torch.rand(batch, 1, side, side) > 0.97).to(torch.uint8)

    def step():
        optimizer.zero_grad()
        with autocast(CPU):
            logits = model(photos)
        dice_bce(logits.float(), masks).backward()
        optimizer.step()

    return median_seconds(step, runs=3) / batch


def cost_of(build, rate):
    """Everything that can be known of a contender without training it; `rate` is the bf16 matrix rate."""
    model = build().eval()
    row = {"parameters": parameter_count(model), "gmac_512": giga_macs(model)}
    for half in (False, True):
        for last in (False, True):
            key = f"ms_512_{'bf16' if half else 'fp32'}{'_channels_last' if last else ''}"
            row[key] = 1e3 * latency(model, 512, 512, half, last)
    row["share_of_matrix_rate"] = 2e9 * row["gmac_512"] / (row["ms_512_bf16_channels_last"] / 1e3) / rate
    row["training_photos_per_second"] = 1 / training_seconds(build())
    return row


def sizes_of(build):
    """{megapixels: milliseconds} of one forward pass over a whole photo."""
    model, shapes = build(), {0.25: (512, 512), 1: (1024, 1024), 4: (2048, 2048), 12: (3072, 4096)}
    return {megapixels: 1e3 * latency(model, *shape) for megapixels, shape in shapes.items()}


def cost(args, results):
    rate = matrix_rate(torch.bfloat16)
    results["matrix_gflops"] = {"fp32": matrix_rate(torch.float32) / 1e9, "bf16": rate / 1e9}
    results["cost"] = {}
    for name, build in available(args.contenders).items():
        results["cost"][name] = cost_of(build, rate)
        save(args.json, results)
    results["ms_by_megapixels"] = sizes_of(CrackNet)
    results["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ours = results["cost"].get("CrackNet", {})
    print(f"matrix product: {results['matrix_gflops']['fp32']:.0f} GFLOP/s fp32, {rate / 1e9:.0f} bf16")
    for name, row in results["cost"].items():
        ms = row["ms_512_bf16_channels_last"]
        ratio = ms / ours.get("ms_512_bf16_channels_last", math.nan)
        words = f"{name:24} {row['parameters'] / 1e6:6.2f} M {row['gmac_512']:6.1f} GMAC {ms:6.0f} ms bf16"
        words += (
            f" ({ratio:.1f} × CrackNet) {row['ms_512_fp32']:6.0f} ms fp32, {row['share_of_matrix_rate']:.0%} of the "
        )
        print(words + f"matrix rate, {row['training_photos_per_second']:5.1f} training photos/s")
    print("CrackNet, ms by megapixels:", {k: round(v) for k, v in results["ms_by_megapixels"].items()})


# ---------------------------------------------------------------------------------------------- quality


class Until:
    """A loader's batches, epoch after epoch, until the clock says stop."""

    def __init__(self, batches, deadline):
        self.batches, self.deadline, self.dataset = batches, deadline, batches.dataset

    def __iter__(self):
        for self.batches.sampler.epoch in range(10**6):
            for batch in self.batches:
                if time.perf_counter() >= self.deadline:
                    return
                yield batch


def train_for(build, parts, seconds, rate, seed):
    """A contender trained for a wall-clock budget with our data, augmentation, loss, precision and schedule."""
    torch.manual_seed(seed)
    model, preprocess = build().to(memory_format=torch.channels_last), Preprocess()
    data = CrackDataset(parts["train"], preprocess, augment, 5, seed)
    batches = loader(data, 8, 1, Shuffled(len(data), seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    began = time.perf_counter()
    schedule = LambdaLR(optimizer, lambda _: pace(int(1e4 * (time.perf_counter() - began) / seconds), 10**4))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    train_one_epoch(model, Until(batches, began + seconds), dice_bce, optimizer, schedule, scaler, CPU)
    return model, preprocess


def score_for(build, parts, seconds, rate, seed):
    """{"valid": IoU at the best threshold, "test": score sheet at that threshold, "interval"} of one training."""
    model, preprocess = train_for(build, parts, seconds, rate, seed)
    counts = threshold_counts(model, preprocess, parts["valid"])
    threshold = best_threshold(counts)
    rows = []
    for item in parts["test"]:
        photo, truth = item.read()
        rows.append(score_photo((predict(model, preprocess, photo) >= threshold).astype("uint8"), truth))
    sheet, interval = score_sheet(rows)
    valid = summary(counts[:, THRESHOLDS.tolist().index(threshold)])["iou_cracked"]
    return {"valid": valid, "threshold": threshold, "test": sheet, "interval": interval}


def quality(args, results):
    parts = split(open_data(args.data), 0, args.splits)
    done = results.setdefault("quality", {})
    for name, build in available(args.contenders).items():
        best = {}
        for rate in RATES:
            best[rate] = once(done, args, results, name, build, parts, rate, args.seeds[0])["valid"]
        rate = max(best, key=best.get)
        rows = [once(done, args, results, name, build, parts, rate, seed)["test"] for seed in args.seeds]
        means = {key: sum(row[key] for row in rows) / len(rows) for key in ("iou_cracked", "f1_2px", "cldice")}
        spread = max(row["iou_cracked"] for row in rows) - min(row["iou_cracked"] for row in rows)
        words = f"{name:24} {args.minutes:g} min, rate {rate:g}, {len(rows)} seed(s): "
        words += ", ".join(f"{key} {value:.3f}" for key, value in means.items())
        print(words + f"; spread of iou_cracked {spread:.3f}", flush=True)


def once(done, args, results, name, build, parts, rate, seed):
    """The stored result of this training, or the training."""
    key = f"{name}, {args.minutes:g} min, rate {rate:g}, seed {seed}"
    if key not in done:
        done[key] = score_for(build, parts, 60 * args.minutes, rate, seed)
        save(args.json, results)
    return done[key]


def save(path, results):
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "quality"))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, help="default: all")
    parser.add_argument("--data", help="folder of a COCO export (default: data/sample)")
    parser.add_argument("--splits", help="splits.json (default: the split that train.py would use)")
    parser.add_argument("--minutes", type=float, default=10, help="training time of each contender (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    parser.add_argument("--json", type=Path, default=Path("results/benchmark.json"), help="where results are kept")
    args = parser.parse_args(argv)
    results = json.loads(args.json.read_text()) if args.json.is_file() else {}
    results["machine"] = {"cores": torch.get_num_threads(), "processor": platform.processor() or platform.machine(),
                          "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}  # fmt: skip
    {"cost": cost, "quality": quality}[args.what](args, results)
    save(args.json, results)
    return 0


if __name__ == "__main__":
    execute(main)

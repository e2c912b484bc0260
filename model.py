"""CrackNet, a small encoder-decoder for thin dark lines; how it looks at a photo; the checkpoint that rebuilds it."""

import copy
import io
import math
import os
from dataclasses import replace
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from command import BadInput, execute, flags, in_short, number, written_whole
from formats.onnx import export_onnx, how_to_run
from formats.photo import Preprocess, tiles
from report.architecture import layers, table

CHECKPOINT_FORMAT = 4  # raised when the meaning of a key changes
BEST = "best.pt"  # the checkpoint in a run folder; runs.py has the other files
# pixels of the input's longer side; a downloaded checkpoint could ask for more than any memory holds
LARGEST_SIZE = 8192


def conv_norm(cin, cout, kernel=3, stride=1):
    """Convolution and batch norm. An odd kernel at stride 1 keeps the size. At stride 2, every kernel used here halves
    it."""
    conv = nn.Conv2d(cin, cout, kernel, stride, padding=(kernel - 1) // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout))


def double(x):
    """Twice the height and width, bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class FineBlock(nn.Module):
    """Two dense 3×3 convolutions with a residual: edges and texture where the photo is still large."""

    def __init__(self, channels):
        super().__init__()
        self.first = conv_norm(channels, channels)
        self.second = conv_norm(channels, channels)

    def forward(self, x):  # (N, C, h, w)
        return F.relu(x + self.second(F.relu(self.first(x), inplace=True)), inplace=True)


class StripBlock(nn.Module):
    """Mixes space along rows, columns and a 3×3 neighbourhood, then mixes channels, with a residual.

    A crack is long and thin: a 1×9 and a 9×1 strip follow it over 9 cells for the price of 18 weights a
    channel, where a square would take 81.
    """

    def __init__(self, channels, strip=9, expansion=3):
        super().__init__()
        self.square = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.row = nn.Conv2d(channels, channels, (1, strip), padding=(0, strip // 2), groups=channels, bias=False)
        self.column = nn.Conv2d(channels, channels, (strip, 1), padding=(strip // 2, 0), groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.expand = nn.Conv2d(channels, expansion * channels, 1)
        self.reduce = nn.Conv2d(expansion * channels, channels, 1)

    def forward(self, x):  # (N, C, h, w)
        mixed = self.norm(self.square(x) + self.row(x) + self.column(x))
        return x + self.reduce(F.relu(self.expand(mixed), inplace=True))


class Decoder(nn.Module):
    """The way up, for any encoder: a subclass's `encode` gives maps of c, 2c, 3c, 4c channels at strides 2, 4, 8, 16.

    Each map of the encoder is added to the upsampled coarser map, and a block mixes the two.
    """

    def __init__(self, width, dropout):
        super().__init__()
        c2, c4, c8, c16 = self.widths = [width, 2 * width, 3 * width, 4 * width]
        # Dropout2d stands at the coarsest map only: whole channels are dropped, because single pixels could be guessed
        # from their neighbours. With 0 there is no such layer.
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.lift8 = conv_norm(c16, c8, 1)
        self.merge8 = StripBlock(c8)
        self.lift4 = conv_norm(c8, c4, 1)
        self.merge4 = FineBlock(c4)
        self.lift2 = conv_norm(c4, c2, 1)
        self.merge2 = FineBlock(c2)
        # four logits for each cell, one for each pixel of the cell
        four = nn.Conv2d(c2, 4, 3, padding=1)
        self.head = nn.Sequential(conv_norm(c2, c2), nn.ReLU(inplace=True), four, nn.PixelShuffle(2))

    def forward(self, photo):  # (N, 3, H, W)
        height, width = photo.shape[-2:]
        if height % 16 or width % 16:  # four halvings must come out even
            photo = F.pad(photo, (0, -width % 16, 0, -height % 16), mode="replicate")
        x2, x4, x8, x16 = self.encode(photo)
        x8 = self.merge8(x8 + double(self.lift8(self.dropout(x16))))  # (N, 3c, H/8, W/8)
        x4 = self.merge4(x4 + double(self.lift4(x8)))  # (N, 2c, H/4, W/4)
        x2 = self.merge2(x2 + double(self.lift2(x4)))  # (N, c, H/2, W/2)
        return self.head(x2)[..., :height, :width]  # (N, 1, H, W)


class CrackNet(Decoder):
    """Photo (N, 3, H, W), normalised -> logits (N, 1, H, W) of "this pixel is crack", for any H and W.

    A crack is 2 to 20 pixels wide and hundreds long, so the answer must be sharp to the pixel while the evidence lies
    far along a line. At full resolution convolutions are most expensive and see the least context, so the first
    convolution moves in steps of 2 (its 6×6 pixels overlap: nothing is skipped or pooled away) and all work happens at
    strides 2 to 16: dense residual blocks at 4 (and, on the way up, at 2), where a crack is still a few cells wide,
    strip blocks at 8 and 16, where it is a one-cell line to be followed. The way up adds the encoder's map to the
    upsampled one instead of concatenating it (no extra convolution at the large sizes), and the head predicts the 4
    pixels of each cell at once: its 16 channels can say where in the cell an edge lies, so nothing is ever computed at
    full size. Not a U-Net: no pooling, no concatenation, no mirrored decoder, no layer at full resolution.

    `depths` is the number of blocks at strides 4, 8 and 16. There is none at stride 2: it cost a tenth of the time and
    brought nothing (results/experiments.md).
    """

    def __init__(self, width=16, depths=(2, 3, 3), dropout=0.0):
        super().__init__(width, dropout)
        self.arguments = {"width": width, "depths": list(depths), "dropout": dropout}
        c2, c4, c8, c16 = self.widths
        depth4, depth8, depth16 = depths
        self.stem = nn.Sequential(conv_norm(3, c2, 6, stride=2), nn.ReLU(inplace=True))
        self.stage4 = self._stage(c2, c4, FineBlock, depth4)
        self.stage8 = self._stage(c4, c8, StripBlock, depth8)
        self.stage16 = self._stage(c8, c16, StripBlock, depth16)

    @staticmethod
    def _stage(cin, cout, block, depth):
        """Half the height and width, `cout` channels, then `depth` blocks."""
        down = conv_norm(cin, cout, stride=2)
        blocks = [block(cout) for _ in range(depth)]
        return nn.Sequential(down, nn.ReLU(inplace=True), *blocks)

    def encode(self, photo):  # (N, 3, H, W)
        x2 = self.stem(photo)  # (N, c, H/2, W/2)
        x4 = self.stage4(x2)  # (N, 2c, H/4, W/4)
        x8 = self.stage8(x4)  # (N, 3c, H/8, W/8)
        x16 = self.stage16(x8)  # (N, 4c, H/16, W/16)
        return x2, x4, x8, x16


class TransferNet(Decoder):
    """CrackNet's decoder on the feature maps of a network of torchvision: for the transfer-learning study.

    The trunk is built with random weights; `load_trunk` loads ImageNet weights. Layers after stride 16 are dropped,
    and a 1×1 convolution brings each map to the decoder's width. A trunk whose weights need no gradient is frozen,
    batch norm included.
    """

    MAPS = {  # torchvision's names of the last maps at strides 2, 4, 8, 16
        "mobilenet_v2": ("features.1", "features.3", "features.6", "features.13"),
        "mobilenet_v3_small": ("features.0", "features.1", "features.3", "features.8"),
        "mobilenet_v3_large": ("features.1", "features.3", "features.6", "features.12"),
        "resnet18": ("relu", "layer1", "layer2", "layer3"),
        "resnet34": ("relu", "layer1", "layer2", "layer3"),
        "resnet50": ("relu", "layer1", "layer2", "layer3"),
    }

    def __init__(self, encoder, width=16, dropout=0.0):
        from torchvision.models import get_model  # here: it takes a second, and only this study needs it
        from torchvision.models.feature_extraction import create_feature_extractor

        super().__init__(width, dropout)
        self.arguments = {"encoder": encoder, "width": width, "dropout": dropout}
        nodes = {name: str(number) for number, name in enumerate(self.MAPS[encoder])}
        self.trunk = create_feature_extractor(get_model(encoder, weights=None), nodes)
        with torch.no_grad():
            maps = self.trunk.eval()(torch.zeros(1, 3, 32, 32)).values()
        self.squeeze = nn.ModuleList(conv_norm(x.shape[1], c, 1) for x, c in zip(maps, self.widths, strict=True))

    def load_trunk(self, weights):
        """Load the trunk's part of the state dict of a whole torchvision network. Raises ValueError if it is another
        network's."""
        shapes = {name: tensor.shape for name, tensor in self.trunk.state_dict().items()}
        if any(getattr(weights.get(name), "shape", None) != shape for name, shape in shapes.items()):
            raise ValueError(f"not the weights of {self.arguments['encoder']}")
        self.trunk.load_state_dict({name: weights[name] for name in shapes})

    def train(self, mode=True):
        super().train(mode)
        self.trunk.train(mode and any(weight.requires_grad for weight in self.trunk.parameters()))
        return self

    def encode(self, photo):
        return [fit(x) for fit, x in zip(self.squeeze, self.trunk(photo).values(), strict=True)]


def transfer_net(encoder, weights=None):
    """TransferNet on this encoder of torchvision.

    weights: file of its state dict, "imagenet" to download it, None for random weights. Raises BadInput.
    """
    from torchvision.models import get_model_weights  # here: it takes a second, and only this study needs it

    model = TransferNet(encoder)
    try:
        if weights == "imagenet":
            model.load_trunk(get_model_weights(encoder).DEFAULT.get_state_dict(progress=True))
        elif weights:
            model.load_trunk(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises a dozen types, a download as many
        raise BadInput(f"--encoder-weights {weights}: {in_short(error)}; give {encoder}'s weights") from None
    return model


NETWORKS = {network.__name__: network for network in (CrackNet, TransferNet)}  # by the name in the checkpoint


def parameter_count(model):
    """Number of weights that training changes."""
    return sum(parameter.numel() for parameter in model.parameters())


def fused(model):
    """Copy of the network for prediction: what `conv_norm` made becomes one convolution each, for speed."""
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):  # a list, because the loop replaces children
        if isinstance(module, nn.Sequential) and [type(layer) for layer in module] == [nn.Conv2d, nn.BatchNorm2d]:
            module[0], module[1] = fuse_conv_bn_eval(*module), nn.Identity()
    return model


def precision(device):
    """The number type of the network: bfloat16 where the device has instructions for it; else float16 on a GPU (a Colab
    T4), float32 on other CPUs, where emulated bfloat16 takes 16 times as long (measured: AVX2, 512×512)."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # the function is private: a release of PyTorch without it computes in float32
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if has_instructions() else torch.float32


def autocast(device):
    """Mixed precision, or nothing where the device computes in float32 anyway."""
    dtype = precision(device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


# ------------------------------------------------------------------------------------------------ prediction

# The network works best when cracks are about as wide as in training, so a photo is resized to the training size
# (`Preprocess.enlarges` says whether a smaller one is enlarged). A photo more than LARGE times that size is also
# processed at double size and the two are averaged. Wide cracks come out hollow, so a pass at half the training size
# adds the cracks that are at least WIDE pixels wide in it. If the caller gives a size, there is no such pass.
LARGE = 2
SMALLEST, WIDE = 32, 8  # pixels: longer side of a resized photo; width of a crack, in the half-size pass
# PyTorch on Apple's GPUs crashes where two threads use it; elsewhere one photo at a time keeps all cores busy
ONE_THREAD = Lock()
SURE = 0.5  # probability from which the half-size pass counts a pixel as crack when it measures that width


def default_sizes(preprocess, shape):
    """Pixels on the longer side to which a photo of this shape is resized, by the rule in the comment above LARGE."""
    size = max(preprocess.shape(*shape[:2]))
    return (size, 2 * size) if max(shape[:2]) > LARGE * size else (size,)


@torch.inference_mode()
def answer_at(model, preprocess, photo):
    """Photo -> (h, w) float32 crack probability at the size of the network's input, in tiles if that is large."""
    device = next(model.parameters()).device
    seen = preprocess.resize(photo)
    probability = np.zeros(seen.shape[:2], np.float32)
    for rows, down in tiles(seen.shape[0]):
        for columns, across in tiles(seen.shape[1]):
            tile = torch.from_numpy(preprocess.normalise(seen[rows, columns]))[None]
            with ONE_THREAD, autocast(device):
                logits = model(tile.to(device, memory_format=torch.channels_last))
                answer = logits.float().sigmoid()[0, 0].cpu().numpy()
            # the network's input was padded on the right and below: cut that off
            probability[rows, columns] += np.outer(down, across) * answer[: len(down), : len(across)]
    return probability


def look(model, preprocess, photo, size):
    """Photo -> (H, W) float32 crack probability, from one pass with `size` pixels on the longer side."""
    # the size is chosen already, so the photo is resized to exactly it, also where that enlarges it
    view = replace(preprocess, size=size, enlarges=True)
    return view.to_photo(answer_at(model, view, photo), *photo.shape[:2])


def look_for_wide_cracks(model, preprocess, photo, size):
    """Like `look`, but 0 where no crack is at least WIDE pixels wide at this size, measured at the probability SURE."""
    view = replace(preprocess, size=size, enlarges=True)
    answer = answer_at(model, view, photo)
    crack = (answer >= SURE).astype(np.uint8)
    # pixels whose distance to the edge is at least WIDE / 2 lie in the middle of a wide crack
    # (2 * distance >= WIDE would overflow if every pixel is crack: OpenCV's distance is the largest float then)
    middle = (cv2.distanceTransform(crack, cv2.DIST_L2, 5) >= WIDE / 2).astype(np.uint8)
    # grow them back to the crack's edge, and never beyond the crack
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (WIDE + 1, WIDE + 1))
    return view.to_photo(answer * (cv2.dilate(middle, disk) & crack), *photo.shape[:2])


def predict(model, preprocess, photo, size=None, flips=False):
    """(H, W, 3) uint8 RGB -> (H, W) float32 crack probability.

    size: longer side in pixels to which to resize the photo; there is no pass for wide cracks then. Default: see
    `default_sizes`.
    flips: average over the photo and its three mirror images, each mirrored back.
    """
    model.eval()
    mirrors = [(), (1,), (0,), (0, 1)] if flips else [()]  # the axes along which the photo is mirrored
    total = np.zeros(photo.shape[:2], np.float32)
    for axes in mirrors:
        mirrored = np.ascontiguousarray(np.flip(photo, axes))
        if size:
            answer = look(model, preprocess, mirrored, size)
        else:
            sizes = default_sizes(preprocess, photo.shape)
            answer = look(model, preprocess, mirrored, sizes[0])
            for each in sizes[1:]:
                answer += look(model, preprocess, mirrored, each)
            answer /= len(sizes)  # in place, here and below, because copies of a large photo take time
            wide = look_for_wide_cracks(model, preprocess, mirrored, max(SMALLEST, sizes[0] // 2))
            np.maximum(answer, wide, out=answer)
        total += np.flip(answer, axes)
    return np.divide(total, len(mirrors), out=total)


# ------------------------------------------------------------------------------------------------ checkpoint


def save_checkpoint(path, model, preprocess, threshold, training=None):
    """Write weights, architecture, preprocessing values (dict) and threshold, atomically.

    `training` is what else a resumed run needs (optimiser, history ...). Everything consists of numbers, strings,
    lists, dicts and tensors, so that `torch.load` reads it with weights_only=True.
    """
    content = {
        "format": CHECKPOINT_FORMAT,
        "network": type(model).__name__,
        "model": model.arguments,
        "weights": {name: tensor.cpu() for name, tensor in model.state_dict().items()},
        "preprocess": preprocess,
        "threshold": float(threshold),
        "training": training,
    }
    buffer = io.BytesIO()  # torch.save reports a full disk as RuntimeError, a plain write as OSError
    torch.save(content, buffer)
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())  # the rename must not reach the disk before the bytes


def checkpoint_file(path):
    """Checkpoint file or run folder, a path or a string -> checkpoint file."""
    path = Path(path)
    return path / BEST if path.is_dir() else path


def read_checkpoint(path):
    """The dict that `save_checkpoint` wrote, tensors on the CPU. Raises BadInput for anything else."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise BadInput(f"{no_such_file(Path(path))}; give a run folder or its {BEST}") from None
    except (PermissionError, IsADirectoryError) as error:  # torch.load has others for cut files
        raise BadInput(f"{path}: cannot be read ({error.strerror}); give a run folder or its {BEST}") from None
    except Exception:  # torch.load raises a dozen types for files that are cut, foreign or hold code
        raise BadInput(f"{path}: not a checkpoint, or damaged; give a {BEST} that train.py wrote") from None
    if not isinstance(content, dict) or "format" not in content:
        raise BadInput(f"{path}: not a checkpoint of train.py; give a {BEST} that train.py wrote")
    if content["format"] != CHECKPOINT_FORMAT:
        raise BadInput(f"{path}: not a checkpoint of this version; train again or use the matching release")
    return content


def no_such_file(path):
    """What is wrong with the path of a checkpoint that is not there, in words."""
    if path.name == BEST and path.parent.is_dir():  # most often only the folder was named
        return f"{path.parent}: no {BEST} in this folder"
    return f"{path}: no such file or folder"


def load_checkpoint(path):
    """Checkpoint, or the folder of its run -> (model in evaluation mode, Preprocess, threshold). Raises BadInput."""
    path = checkpoint_file(path)
    content = read_checkpoint(path)
    try:
        model = rebuilt(content["network"], content["model"])
        model.load_state_dict(content["weights"])
        if not all(tensor.isfinite().all() for tensor in model.state_dict().values()):
            raise ValueError("weights that are not finite")
        if not 0 <= content["threshold"] <= 1:
            raise ValueError("a threshold that is no probability")
        preprocess = Preprocess(**content["preprocess"])
        if preprocess.size > LARGEST_SIZE:
            raise ValueError(f"an input of {preprocess.size} pixels, more than {LARGEST_SIZE}")
        return model.eval(), preprocess, content["threshold"]
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        why = f"its weights do not fit a {content.get('network')} of model.py ({in_short(error)})"
        raise BadInput(f"{path}: {why}; use the model.py that it was trained with") from None


def rebuilt(network, arguments):
    """The network of this name with these arguments and random weights.

    Raises KeyError or TypeError for an unknown network or argument.
    """
    depths = arguments.get("depths", ())
    if network == "CrackNet" and len(depths) == 4 and depths[0] == 0:
        # checkpoints from before 2026-11-28 have a first entry for stride 2 (0 blocks)
        arguments = arguments | {"depths": depths[1:]}
    return NETWORKS[network](**arguments)


# ------------------------------------------------------------------------------------------------ command


def arguments(argv):
    parser = flags(
        "Show the network as a table: what each layer is made of, the size of its output (channels×height×width), its "
        "parameters, its multiply-accumulates in billions and its receptive field. Or export it to ONNX.",
        "python model.py",
        "python model.py runs/sample-20260101-120000 --size 1024",
        "python model.py weights/crack.pt --export crack.onnx",
        common=(),
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="run folder or checkpoint (default: an untrained CrackNet)"
    )
    parser.add_argument(
        "--size",
        type=number(int, 32, LARGEST_SIZE),
        help="height and width of the photo in the table (default: RUN's, else 512)",
    )
    parser.add_argument("--export", metavar="FILE.onnx", help="write RUN as an ONNX file, which runs without PyTorch")
    args = parser.parse_args(argv)
    if args.export and not args.run:
        parser.error("--export: give the run or checkpoint to export, such as weights/crack.pt")
    return args


def main(argv=None):
    args = arguments(argv)
    model, preprocess, threshold = CrackNet(), Preprocess(), 0.5
    if args.run:
        model, preprocess, threshold = load_checkpoint(args.run)
    if args.export:
        export_onnx(args.export, model, preprocess, threshold, LARGEST_SIZE)
        print(f"written to {args.export}, with instructions in its metadata")
        print(how_to_run(args.export, preprocess, threshold))
        return 0
    size = args.size or preprocess.size
    padded = math.ceil(size / 32) * 32
    print(f"{type(model).__name__} on a photo of {size}×{size}, padded to {padded}×{padded}\n")
    print(table(layers(model, padded, padded)))
    return 0


if __name__ == "__main__":
    execute(main)

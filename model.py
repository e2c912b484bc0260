"""CrackNet, a small encoder-decoder for thin dark lines, and the checkpoint that rebuilds it without a flag."""

import copy
import io
import os
from pathlib import Path

from command import BadInput, answer_flags, execute, flags, in_short, written_whole


def arguments(argv):
    parser = flags(
        "The network as a table: what each layer is made of and gives (channels×height×width), its parameters, its "
        "multiply-accumulates in billions, and how many pixels of the photo in a row one of its outputs sees, the most "
        "of all.",
        "python model.py",
        "python model.py --size 1024 --picture network.png",
        "python model.py runs/sample-20260101-120000",
        common=(),
    )
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="run folder or checkpoint (default: CrackNet)")
    parser.add_argument("--size", type=int, help="the photo's height and width (default: RUN's, else 512)")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw it, too")
    args = parser.parse_args(argv)
    if args.size is not None and not 32 <= args.size <= 8192:
        parser.error(f"--size {args.size}: 32 to 8192 pixels")
    return args


if __name__ == "__main__":
    answer_flags(arguments)  # --help and wrong flags at once: the imports below take seconds

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

CHECKPOINT_FORMAT = 4  # raised when the meaning of a key changes


def conv_norm(cin, cout, kernel=3, stride=1):
    """Convolution and batch norm; an odd kernel keeps the size at stride 1, any halves an even one at stride 2."""
    conv = nn.Conv2d(cin, cout, kernel, stride, padding=(kernel - 1) // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout))


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


class WayUp(nn.Module):
    """The decoder, for any encoder: a subclass's `encode` gives maps of c, 2c, 3c, 4c channels at strides 2, 4, 8, 16.

    Each map on the way down is added to the one that comes up from below, and a block mixes the two.
    """

    def __init__(self, width, dropout):
        super().__init__()
        c2, c4, c8, c16 = self.widths = [width, 2 * width, 3 * width, 4 * width]
        # Dropout2d stands at the coarsest map only: whole features go missing, never single pixels, which
        # their neighbours would give away. With 0 there is no such layer.
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.lift8, self.merge8 = conv_norm(c16, c8, 1), StripBlock(c8)
        self.lift4, self.merge4 = conv_norm(c8, c4, 1), FineBlock(c4)
        self.lift2, self.merge2 = conv_norm(c4, c2, 1), FineBlock(c2)
        # four logits a cell, unfolded to the four pixels that it stands for
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


class CrackNet(WayUp):
    """Photo (N, 3, H, W), normalised -> logits (N, 1, H, W) of "this pixel is crack", for any H and W.

    The design, for a student who will be asked about every line. A crack is 2 to 20 pixels wide and
    hundreds long, so the answer must be sharp to the pixel while the evidence lies far along a line.
    Full resolution is where convolutions cost most and know least, so the first convolution moves in steps
    of 2 (its 6×6 pixels overlap: nothing is skipped or pooled away) and all work happens at strides 2 to 16: dense
    residual blocks at 2 and 4, where a crack is still a few cells wide, strip blocks at 8 and 16, where it
    is a one-cell line to be followed. The way up adds the encoder's map to the upsampled one instead of
    concatenating it (no extra convolution at the large sizes), and the head predicts the 4 pixels of each
    cell at once: its 16 channels can say where in the cell an edge lies, so nothing is ever computed at full size.
    Not a U-Net: no pooling, no concatenation, no mirrored decoder, no layer at full resolution.
    """

    def __init__(self, width=16, depths=(0, 2, 3, 3), dropout=0.0):
        super().__init__(width, dropout)
        self.arguments = {"width": width, "depths": list(depths), "dropout": dropout}
        c2, c4, c8, c16 = self.widths
        self.stem = nn.Sequential(conv_norm(3, c2, 6, stride=2), nn.ReLU(inplace=True))
        # none by default: it costs a tenth of the time and brought nothing (results/experiments.md)
        self.stage2 = nn.Sequential(*[FineBlock(c2) for _ in range(depths[0])])
        self.stage4 = self._stage(c2, c4, FineBlock, depths[1])
        self.stage8 = self._stage(c4, c8, StripBlock, depths[2])
        self.stage16 = self._stage(c8, c16, StripBlock, depths[3])

    @staticmethod
    def _stage(cin, cout, block, depth):
        down = conv_norm(cin, cout, stride=2), nn.ReLU(inplace=True)
        return nn.Sequential(*down, *[block(cout) for _ in range(depth)])

    def encode(self, photo):  # (N, 3, H, W)
        x2 = self.stage2(self.stem(photo))  # (N, c, H/2, W/2)
        x4 = self.stage4(x2)  # (N, 2c, H/4, W/4)
        x8 = self.stage8(x4)  # (N, 3c, H/8, W/8)
        return x2, x4, x8, self.stage16(x8)  # (N, 4c, H/16, W/16)


class TransferNet(WayUp):
    """CrackNet's decoder on the feature maps of a network of torchvision: for the transfer-learning study.

    The trunk is built with random weights; `load_trunk` brings those learnt on ImageNet. What lies behind
    stride 16 is left out, and a 1×1 convolution brings each map to the decoder's width. A trunk whose weights
    need no gradient is frozen, batch norm included.
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
        from torchvision.models import get_model  # takes a second, and only this study needs it
        from torchvision.models.feature_extraction import create_feature_extractor

        super().__init__(width, dropout)
        self.arguments = {"encoder": encoder, "width": width, "dropout": dropout}
        nodes = {name: str(number) for number, name in enumerate(self.MAPS[encoder])}
        self.trunk = create_feature_extractor(get_model(encoder, weights=None), nodes)
        with torch.no_grad():
            maps = self.trunk.eval()(torch.zeros(1, 3, 32, 32)).values()
        self.squeeze = nn.ModuleList(conv_norm(x.shape[1], c, 1) for x, c in zip(maps, self.widths, strict=True))

    def load_trunk(self, weights):
        """Weights of the whole torchvision network, a state dict, into the trunk. Raises ValueError where they are of
        another network."""
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


NETWORKS = {network.__name__: network for network in (CrackNet, TransferNet)}  # by the name in the checkpoint


def fused(model):
    """Copy of the network for prediction: what `conv_norm` made becomes one convolution each, for speed."""
    model = copy.deepcopy(model).eval()
    for layers in model.modules():
        if isinstance(layers, nn.Sequential) and [type(layer) for layer in layers] == [nn.Conv2d, nn.BatchNorm2d]:
            layers[0], layers[1] = fuse_conv_bn_eval(*layers), nn.Identity()
    return model


def double(x):
    """Twice the height and width, bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def save_checkpoint(path, model, preprocess, threshold, training=None):
    """Write weights, architecture, preprocessing values (dict) and threshold, whole or not at all.

    `training` is what a resumed run needs besides (optimiser, epoch, history ...). Only plain numbers, strings,
    lists, dicts and tensors, so that `torch.load` reads it with its safe default.
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


def read_checkpoint(path):
    """The dict that `save_checkpoint` wrote, tensors on the CPU. Raises ValueError for anything else."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:  # torch.load has others for cut files
        if (unfinished := Path(path).with_name("last.pt")) != Path(path) and unfinished.is_file():
            run = unfinished.parent
            raise ValueError(f"{path}: not there, no epoch is finished; python train.py --resume {run}") from None
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give a best.pt of a run") from None
    except Exception:  # torch.load raises a dozen types for files that are cut, foreign or hold code
        raise ValueError(f"{path}: not a checkpoint, or damaged; give a best.pt that train.py wrote") from None
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise ValueError(f"{path}: not a checkpoint of this version; train again or use the matching release")
    return content


def weights_file(path):
    """Checkpoint file or run folder -> the file."""
    return path / "best.pt" if path.is_dir() else path


def load_checkpoint(path):
    """File -> (model in evaluation mode, preprocessing values as a dict, threshold). Raises ValueError."""
    content = read_checkpoint(path)
    try:
        model = NETWORKS[content["network"]](**content["model"])
        model.load_state_dict(content["weights"])
        if not all(tensor.isfinite().all() for tensor in model.state_dict().values()):
            raise ValueError("weights that are not finite")
        if not 0 <= content["threshold"] <= 1:
            raise ValueError("a threshold that is no probability")
        return model.eval(), dict(content["preprocess"]), content["threshold"]
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        why = f"its weights do not fit a {content.get('network')} of model.py ({in_short(error)})"
        raise ValueError(f"{path}: {why}; use the model.py that it was trained with") from None


def parameter_count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def precision(device):
    """What the network computes in: bfloat16 where the device has instructions for it; else float16 on a GPU (a Colab
    T4), float32 on a CPU, which would take 16 times as long to emulate bfloat16 (measured: AVX2, 512×512)."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)  # private: a release without it says no
    return torch.bfloat16 if has_instructions() else torch.float32


def autocast(device):
    """Mixed precision, or nothing where the device computes in float32 anyway."""
    dtype = precision(device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def main(argv=None):
    args = arguments(argv)
    from formats.photo import Preprocess, picture_name  # here: the network itself needs nothing of ours
    from report.architecture import layers, picture, table
    from report.figure import save_figure

    out = args.picture and picture_name(args.picture)
    model, preprocess = CrackNet(), {"size": Preprocess.size}
    if args.run:
        try:
            model, preprocess, _ = load_checkpoint(weights_file(args.run))
        except ValueError as error:
            raise BadInput(error) from None
    size = args.size or preprocess["size"]
    side = -(-size // 32) * 32  # as Preprocess pads it
    title = f"{type(model).__name__} on a photo of {size}×{size}" + f", padded to {side}×{side}" * (side > size)
    found = layers(model, side, side)
    print(title, table(found), sep="\n\n")
    if out:
        save_figure(out, picture(found, title, side, side))
        print(f"\npicture: {out}")
    return 0


if __name__ == "__main__":
    execute(main)

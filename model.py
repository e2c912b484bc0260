"""CrackNet, a small encoder-decoder for thin dark lines, and the checkpoint that rebuilds it without a flag."""

import io
import os
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

CHECKPOINT_FORMAT = 1  # raised when the meaning of a key changes


def conv_norm(cin, cout, kernel=3, stride=1, groups=1):
    """Convolution and batch norm; `kernel` is a number or (rows, columns), padding keeps the size."""
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv = nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout))


class FineBlock(nn.Module):
    """Two dense 3×3 convolutions with a residual: edges and texture where the photo is still large."""

    def __init__(self, channels):
        super().__init__()
        self.first = conv_norm(channels, channels)
        self.second = conv_norm(channels, channels)

    def forward(self, x):  # (N, C, h, w)
        return F.relu(x + self.second(F.relu(self.first(x))))


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
        return x + self.reduce(F.relu(self.expand(mixed)))


class CrackNet(nn.Module):
    """Photo (N, 3, H, W), normalised -> logits (N, 1, H, W) of "this pixel is crack", for any H and W.

    The design, for a student who will be asked about every line. A crack is 2 to 20 pixels wide and
    hundreds long, so the answer must be sharp to the pixel while the evidence lies far along a line.
    Full resolution is where convolutions cost most and know least, so the photo is first folded 2×2 into
    12 channels (nothing is lost, unlike pooling) and all heavy work happens at strides 2 to 16: dense
    residual blocks at 2 and 4, where a crack is still a few cells wide, strip blocks at 8 and 16, where it
    is a one-cell line to be followed. The way up adds the encoder's map to the upsampled one instead of
    concatenating it (no extra convolution at the large sizes) and the head unfolds 4 predictions a cell
    back to full size, where a thin path of 8 channels straight from the photo sharpens the edges.
    Not a U-Net: no pooling, no concatenation, no mirrored decoder, no wide layer at full resolution.
    """

    def __init__(self, width=16, depths=(1, 2, 3, 3), dropout=0.0):
        super().__init__()
        self.arguments = {"width": width, "depths": list(depths), "dropout": dropout}
        c2, c4, c8, c16 = width, 2 * width, 3 * width, 4 * width
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), conv_norm(12, c2), nn.ReLU())
        self.stage2 = nn.Sequential(*[FineBlock(c2) for _ in range(depths[0])])
        self.stage4 = self._stage(c2, c4, FineBlock, depths[1])
        self.stage8 = self._stage(c4, c8, StripBlock, depths[2])
        self.stage16 = self._stage(c8, c16, StripBlock, depths[3])
        # Dropout2d stands at the coarsest map only: whole features go missing, never single pixels, which
        # their neighbours would give away. With 0 there is no such layer.
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.lift8, self.merge8 = conv_norm(c16, c8, 1), StripBlock(c8)
        self.lift4, self.merge4 = conv_norm(c8, c4, 1), FineBlock(c4)
        self.lift2, self.merge2 = conv_norm(c4, c2, 1), FineBlock(c2)
        self.unfold = nn.Sequential(conv_norm(c2, 4 * 8), nn.PixelShuffle(2))
        self.edges = conv_norm(3, 8)
        self.head = nn.Conv2d(8, 1, 3, padding=1)

    @staticmethod
    def _stage(cin, cout, block, depth):
        return nn.Sequential(conv_norm(cin, cout, stride=2), nn.ReLU(), *[block(cout) for _ in range(depth)])

    def forward(self, photo):  # (N, 3, H, W)
        height, width = photo.shape[-2:]
        photo = F.pad(photo, (0, -width % 16, 0, -height % 16), mode="replicate")  # four halvings come out even
        x2 = self.stage2(self.stem(photo))  # (N, c, H/2, W/2)
        x4 = self.stage4(x2)  # (N, 2c, H/4, W/4)
        x8 = self.stage8(x4)  # (N, 3c, H/8, W/8)
        x16 = self.dropout(self.stage16(x8))  # (N, 4c, H/16, W/16)
        x8 = self.merge8(x8 + double(self.lift8(x16)))  # (N, 3c, H/8, W/8)
        x4 = self.merge4(x4 + double(self.lift4(x8)))  # (N, 2c, H/4, W/4)
        x2 = self.merge2(x2 + double(self.lift2(x4)))  # (N, c, H/2, W/2)
        full = F.relu(self.unfold(x2) + self.edges(photo))  # (N, 8, H, W)
        return self.head(full)[..., :height, :width]  # (N, 1, H, W)


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
        "model": model.arguments,
        "weights": {name: tensor.cpu() for name, tensor in model.state_dict().items()},
        "preprocess": preprocess,
        "threshold": float(threshold),
        "training": training,
    }
    buffer = io.BytesIO()  # torch.save reports a full disk as RuntimeError, a plain write as OSError
    torch.save(content, buffer)
    temporary = Path(path).with_name(f".{os.getpid()}-{Path(path).name}")
    try:
        with open(temporary, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # the rename must not reach the disk before the bytes
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path):
    """The dict that `save_checkpoint` wrote, tensors on the CPU. Raises ValueError for anything else."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give a best.pt of a run") from None
    except Exception:  # torch.load raises a dozen types for files that are cut, foreign or hold code
        raise ValueError(f"{path}: not a checkpoint, or damaged; give a best.pt that train.py wrote") from None
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise ValueError(f"{path}: not a checkpoint of this version; train again or use the matching release")
    return content


def load_checkpoint(path):
    """File -> (model in evaluation mode, preprocessing values as a dict, threshold). Raises ValueError."""
    content = read_checkpoint(path)
    try:
        model = CrackNet(**content["model"])
        model.load_state_dict(content["weights"])
        if not all(tensor.isfinite().all() for tensor in model.state_dict().values()):
            raise ValueError("weights that are not finite")
        if not 0 <= content["threshold"] <= 1:
            raise ValueError("a threshold that is no probability")
        return model.eval(), dict(content["preprocess"]), content["threshold"]
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise ValueError(f"{path}: its weights do not fit CrackNet; give a best.pt that train.py wrote") from None


def parameter_count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def autocast(device):
    """Mixed precision as the device does it fast: bfloat16, or float16 on a GPU without it (a Colab T4)."""
    half = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.float16 if half else torch.bfloat16)

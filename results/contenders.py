"""The networks that benchmark.py compares. Each turns (N, 3, H, W) inputs into (N, 1, H, W) logits."""

from functools import partial
from importlib.util import find_spec

import torch
from torch import nn
from torchvision.models import segmentation

from model import CrackNet


class UNet(nn.Module):
    """The plain U-Net of Ronneberger et al. 2015 with batch norm: two 3×3 convolutions a level, concatenated skips."""

    def __init__(self, base, levels=5):
        super().__init__()
        widths = [base * 2**level for level in range(levels)]
        self.down = nn.ModuleList(self.pair(cin, cout) for cin, cout in zip([3, *widths], widths, strict=False))
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]  # deepest first
        self.lift = nn.ModuleList(nn.ConvTranspose2d(deep, flat, 2, 2) for deep, flat in pairs)
        self.up = nn.ModuleList(self.pair(2 * flat, flat) for _, flat in pairs)
        self.head = nn.Conv2d(base, 1, 1)

    @staticmethod
    def pair(cin, cout):
        """Two 3×3 convolutions with batch norm and ReLU."""
        layers = []
        for channels in (cin, cout):
            layers += [nn.Conv2d(channels, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, x):
        skips = []
        for level, block in enumerate(self.down):
            if level:
                x = nn.functional.max_pool2d(x, 2)
            x = block(x)
            skips.append(x)
        for lift, block, skip in zip(self.lift, self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([lift(x), skip], dim=1))
        return self.head(x)


class Out(nn.Module):
    """A torchvision segmentation network, which returns a dict, made to return its logits."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)["out"]


def torchvision_network(name):
    """Segmentation network of torchvision by its name, random weights, one class."""
    return Out(getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=1))


def smp_unet():
    """U-Net-ResNet34 of segmentation_models_pytorch, which only this benchmark needs; ImportError if it is missing."""
    import segmentation_models_pytorch  # optional

    return segmentation_models_pytorch.Unet("resnet34", encoder_weights=None, classes=1)


CONTENDERS = {
    "CrackNet": CrackNet,
    "U-Net 16": partial(UNet, 16),
    "U-Net 32": partial(UNet, 32),
    "LRASPP-MobileNetV3": partial(torchvision_network, "lraspp_mobilenet_v3_large"),
    "DeepLabV3-MobileNetV3": partial(torchvision_network, "deeplabv3_mobilenet_v3_large"),
    "U-Net-ResNet34": smp_unet,
}


def available(names):
    """Names of contenders, None for all -> those that can be built here; says which is missing."""
    chosen = list(names or CONTENDERS)
    if "U-Net-ResNet34" in chosen and not find_spec("segmentation_models_pytorch"):
        print("U-Net-ResNet34 left out: pip install segmentation-models-pytorch")
        chosen.remove("U-Net-ResNet34")
    return chosen

"""A network as a table: what each layer is made of, gives and costs, and how much of the photo it sees."""

import copy
import math
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Layer:
    """A direct child of a network."""

    name: str
    kind: str  # what it is made of: "conv 3×3 / 2, BatchNorm2d, ReLU, 2 FineBlock"
    shape: tuple  # of its output: channels, height, width
    parameters: int
    macs: float  # multiply-accumulates of its convolutions and linear layers
    receptive_field: float  # pixels of the photo in a row that an output depends on; inf for the whole photo


def kind(module):
    """What a module is made of, in a few words."""
    if isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        stride = f" / {module.stride[0]}" if module.stride[0] > 1 else ""
        return f"conv {height}×{width}{stride}"
    if not isinstance(module, nn.Sequential):
        return type(module).__name__
    parts = []
    for name, same in groupby(map(kind, module)):
        count = len(list(same))
        parts.append(name if count == 1 else f"{count} {name}")
    return ", ".join(parts)


def operation(node):
    """Name of the operation at a node of the graph: "conv2d"; "" for what is no operation (photo, weights, output)."""
    if node.op != "call_function":
        return ""
    return node.target.__name__.partition(".")[0]


def reach(node, columns):
    """How many more pixels in a row an operation sees than its input does, in a photo of so many columns.

    A kernel sees its middle cell and `kernel - 1` more, each `jump` pixels from the next, where the jump is the product
    of all strides before it: r = r_input + (kernel - 1) · jump (Araujo, Norris and Sim, "Computing Receptive Fields of
    Convolutional Neural Networks", Distill 2019). Behind bilinear upsampling it depends on where between two cells an
    output lies, and can be a few pixels more.
    """
    name = operation(node)
    if name == "adaptive_avg_pool2d":
        return math.inf  # the mean over the whole photo
    if name not in ("conv2d", "max_pool2d", "avg_pool2d", "upsample_bilinear2d"):
        return 0
    jump = columns / node.args[0].meta["val"].shape[-1]
    if name == "upsample_bilinear2d":
        return jump  # an output lies between two cells
    if name != "conv2d":
        return (node.args[1][-1] - 1) * jump
    kernel = node.args[1].meta["val"].shape[-1]
    dilation = node.args[5][-1] if len(node.args) > 5 else 1
    return (kernel - 1) * dilation * jump


def child_name(model, node):
    """Name of the direct child of the network to which a node belongs, "" if to none; those of a list by number."""
    modules = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
    if len(modules) < 2:
        return ""
    first, *rest = modules[1].split(".")
    if isinstance(getattr(model, first), nn.ModuleList):
        return f"{first}.{rest[0]}"
    return first


def layers(model, height, width):
    """Network -> [Layer], in the order of computation, for a photo of this size.

    `torch.export` records the operations of one forward pass on tensors without content, so nothing is computed, and
    nothing of the network changes.
    """
    hollow = copy.deepcopy(model).to("meta").eval()
    photo = torch.empty(1, 3, height, width, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        hollow(photo)
    flops = counter.get_flop_counts()  # {"CrackNet.stem": {operation: additions and multiplications}}
    graph = torch.export.export(hollow, (photo,)).graph
    receptive_field, members = {}, {}
    for node in graph.nodes:
        before = max((receptive_field[one] for one in node.all_input_nodes), default=1)
        receptive_field[node] = before + reach(node, width)
        if operation(node):
            members.setdefault(child_name(model, node), []).append(node)
    members.pop("", None)  # between the layers: additions, upsampling
    found = []
    for name, nodes in members.items():
        child = model.get_submodule(name)
        shape = tuple(nodes[-1].meta["val"].shape[1:])
        parameters = sum(parameter.numel() for parameter in child.parameters())
        work = sum(flops.get(f"{type(model).__name__}.{name}", {}).values()) / 2
        found.append(Layer(name, kind(child), shape, parameters, work, receptive_field[nodes[-1]]))
    return found


def table(found):
    """[Layer] -> lines of text, the sum last."""
    rows = [("layer", "made of", "output", "parameters", "GMAC", "receptive field")]
    for layer in found:
        shape = "×".join(map(str, layer.shape))
        rows.append((layer.name, layer.kind, shape, *numbers(layer.parameters, layer.macs, layer.receptive_field)))
    parameters = sum(layer.parameters for layer in found)
    work = sum(layer.macs for layer in found)
    rows.append(("all", "", "", *numbers(parameters, work, max(layer.receptive_field for layer in found))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        words = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        values = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join(words + values))
    return "\n".join(lines)


def numbers(parameters, work, receptive_field):
    """The last three cells of a row."""
    if math.isinf(receptive_field):
        return f"{parameters:,}", f"{work / 1e9:.3f}", "whole photo"
    return f"{parameters:,}", f"{work / 1e9:.3f}", f"{receptive_field:.0f} px"

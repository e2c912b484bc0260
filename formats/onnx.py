"""A network as an ONNX file, which runs without PyTorch: preprocessing inside, what its user must know as metadata."""

import contextlib
import copy
import importlib.util
import io
import json
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from command import BadInput, written_whole


class WithPreprocessing(nn.Module):
    """Photo (1, 3, H, W) RGB from 0 to 255, of any H and W -> probability (1, 1, H, W).

    Normalises and pads as `Preprocess` does, so that the user of the file has only to resize. The network needs only
    multiples of 16, but with the 32 of `Preprocess` its answers are exactly those of `model.answer_at`: what is
    padded changes the pixels beside it a little.
    """

    def __init__(self, model, preprocess):
        super().__init__()
        self.model = model
        self.register_buffer("mean", 255 * torch.tensor(preprocess.mean)[None, :, None, None])
        self.register_buffer("std", 255 * torch.tensor(preprocess.std)[None, :, None, None])

    def forward(self, photo):
        height, width = photo.shape[-2:]
        photo = F.pad((photo - self.mean) / self.std, (0, -width % 32, 0, -height % 32))
        torch._check(photo.shape[2] % 16 == 0)  # for torch.export: the network has nothing to pad
        torch._check(photo.shape[3] % 16 == 0)
        return self.model(photo).sigmoid()[..., :height, :width]


HOW_TO_RUN = """Run it with OpenCV alone; photo is uint8 RGB, its longer side {size} pixels:
    net = cv2.dnn.readNetFromONNX("{path}")
    net.setInput(cv2.dnn.blobFromImage(photo))
    probability = net.forward()[0, 0]
    mask = probability >= {threshold:.2f}"""


def how_to_run(path, preprocess, threshold):
    """The lines of Python that run the ONNX file at this path."""
    size = preprocess.size if preprocess.enlarges else f"at most {preprocess.size}"
    return HOW_TO_RUN.format(size=size, path=path, threshold=threshold)


def about_onnx(preprocess, threshold):
    """What a stranger must know of the ONNX file, as its metadata: {key: text}."""
    resize = f"resize the photo so that its longer side is {preprocess.size} pixels; keep its shape"
    if not preprocess.enlarges:
        resize += "; leave a smaller photo as it is"
    return {
        "description": "cracks in asphalt: probability of each pixel of a photo",
        "input": "photo, float32 (1, 3, H, W), values 0 to 255, any H and W",
        "input_size": resize,
        "colour_order": "RGB",
        "mean": json.dumps(preprocess.mean),
        "std": json.dumps(preprocess.std),
        "normalisation": "inside the file: (photo / 255 - mean) / std; do not normalise before",
        "padding": "inside the file: right and below to multiples of 32, cut off again; do not pad before",
        "output": "probability, float32 (1, 1, H, W), of crack",
        "threshold": f"{threshold:g}",
        "postprocessing": "resize the probability to the photo's size (bilinear), then mask = probability >= threshold",
        "not_included": "what inference.py adds to this: wide cracks from a pass at half the size, the mean with a "
        "pass at twice the size for a large photo; and it leaves out specks",
    }


def export_onnx(path, model, preprocess, threshold, largest):
    """Write the network as an ONNX file for photos of up to `largest` pixels a side, with `about_onnx` as its metadata.

    Raises BadInput.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise BadInput(f"{path}: not the name of an ONNX file; end it with .onnx")
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(f"{path}: not written, {' and '.join(missing)} missing; pip install onnx onnxscript")
    network = type(model).__name__
    model = copy.deepcopy(model).cpu().float().to(memory_format=torch.contiguous_format)
    sides = {axis: torch.export.Dim(name, min=32, max=largest) for axis, name in ((2, "height"), (3, "width"))}
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                WithPreprocessing(model, preprocess).eval(),
                (torch.zeros(1, 3, 100, 130),),  # sides that are not multiples of 32
                dynamo=True,
                verbose=False,
                dynamic_shapes=(sides,),
                input_names=["photo"],
                output_names=["probability"],
            )
    except torch.onnx.errors.OnnxExporterError:  # its text fills a screen, and does not help
        raise BadInput(f"{path}: not written, PyTorch cannot export this {network}; export a CrackNet") from None
    program.model.metadata_props.update(about_onnx(preprocess, threshold))
    with written_whole(path) as temporary:
        program.save(temporary)

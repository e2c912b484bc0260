"""The network as an ONNX file that OpenCV runs alone, without PyTorch."""

import contextlib
import importlib.util
import io
import warnings

import torch
from torch import nn

from command import BadInput, written_whole

STEP = 32  # sides that the file takes are multiples of this
HOW_TO_RUN = """# photo: uint8 RGB, longer side {size} px, padded right and below with {colour} to multiples of {step}
net = cv2.dnn.readNetFromONNX("{path}")
net.setInput(cv2.dnn.blobFromImage(photo))
probability = net.forward()[0, 0]"""


class WithPreprocessing(nn.Module):
    """Photo (N, 3, H, W) RGB from 0 to 255 -> probability (N, 1, H, W): no constant is left to the user."""

    def __init__(self, model, preprocess):
        super().__init__()
        self.model = model
        for name in ("mean", "std"):
            self.register_buffer(name, 255 * torch.tensor(getattr(preprocess, name))[None, :, None, None])

    def forward(self, photo):  # (N, 3, H, W)
        return self.model((photo - self.mean) / self.std).sigmoid()  # (N, 1, H, W)


def export_onnx(path, model, preprocess):
    """Model -> ONNX file for photos of any height and width that are multiples of STEP. Raises BadInput."""
    if missing := [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]:
        raise BadInput(f"{path}: not written, {' and '.join(missing)} missing; pip install onnx onnxscript")
    if path.suffix != ".onnx":
        raise BadInput(f"{path}: not the name of an ONNX file; end it with .onnx")
    whole = WithPreprocessing(model.cpu().float().to(memory_format=torch.contiguous_format), preprocess).eval()
    sides = {axis: STEP * torch.export.Dim(name, min=2, max=256) for axis, name in ((2, "rows"), (3, "columns"))}
    with written_whole(path) as temporary, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            whole,
            (torch.zeros(1, 3, 3 * STEP, 4 * STEP),),
            temporary,
            dynamo=True,
            verbose=False,
            external_data=False,
            dynamic_shapes=(sides,),
            input_names=["photo"],
            output_names=["probability"],
        )
    return HOW_TO_RUN.format(
        path=path, size=preprocess.size, step=STEP, colour=tuple(round(255 * m) for m in preprocess.mean)
    )

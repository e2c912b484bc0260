"""The ONNX file: OpenCV alone gives the network's mask, at any size that is named in the message."""

import contextlib
import importlib.util

import cv2
import numpy as np
import pytest
import torch
from conftest import draw_crack, draw_road

import inference
from command import BadInput
from formats.onnx_model import STEP, export_onnx
from formats.photo import Preprocess
from model import CrackNet, save_checkpoint


def random_network():
    torch.manual_seed(1)
    model = CrackNet(4, (1, 1, 1, 1)).eval()
    with torch.no_grad():
        list(model.head.parameters())[-2].mul_(30)  # the last weights
    return model


def test_without_the_packages_one_line_says_what_to_install(tmp_path, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else there(name))
    with pytest.raises(BadInput, match="onnxscript missing; pip install onnx onnxscript"):
        export_onnx(tmp_path / "crack.onnx", CrackNet(4, (1, 1, 1, 1)), Preprocess())
    assert not list(tmp_path.iterdir())


def test_opencv_alone_gives_the_same_mask(tmp_path, monkeypatch, capsys):
    if missing := [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{' and '.join(missing)} missing: pip install onnx onnxscript to check --export")
    model = random_network()
    values = {"size": 160, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    save_checkpoint(tmp_path / "best.pt", model, values, 0.5)
    path = tmp_path / "crack.onnx"
    assert inference.main(["--export", str(path), "--checkpoint", str(tmp_path / "best.pt")]) == 0
    assert "blobFromImage" in capsys.readouterr().out
    monkeypatch.setattr(inference, "autocast", lambda device: contextlib.nullcontext())  # both in float32
    network, rng = cv2.dnn.readNetFromONNX(str(path)), np.random.default_rng(0)
    for size in ((96, 160), (160, 96), (160, 160)):
        photo = draw_road(rng, *size)
        draw_crack(photo, rng)
        photo[..., 0] //= 2  # the order of the colours matters
        network.setInput(cv2.dnn.blobFromImage(photo))
        probability = network.forward()[0, 0]
        expected = inference.predict(model, Preprocess(**values), photo)
        level = np.median(expected)  # half the photo, the hardest to agree on
        assert probability.shape == size and all(side % STEP == 0 for side in size)
        assert np.ptp(expected) > 0.5 and np.abs(probability - expected).max() < 1e-3
        assert ((probability >= level) != (expected >= level)).mean() <= 0.001

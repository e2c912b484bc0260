"""The ONNX file: OpenCV and ONNX Runtime alone give the network's probability, at any size, and read how to use it."""

import contextlib
import importlib.util
import json

import cv2
import numpy as np
import pytest
import torch
from conftest import draw_crack, draw_road, lively_network

import model as networks
from command import BadInput
from formats.onnx import about_onnx, export_onnx, how_to_run
from formats.photo import Preprocess
from model import LARGEST_SIZE, CrackNet, fused, main, predict, save_checkpoint

VALUES = {"size": 160, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(network, path of its ONNX file), written by the command from a checkpoint."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    folder, model = tmp_path_factory.mktemp("export"), lively_network()
    save_checkpoint(folder / "best.pt", model, VALUES, 0.35)
    assert main([str(folder), "--export", str(folder / "crack.onnx")]) == 0
    return model, folder / "crack.onnx"


def sessions(path):
    """[function from a photo to its probability], one for each of the programs that run ONNX files."""
    import onnxruntime

    network, session = cv2.dnn.readNetFromONNX(str(path)), onnxruntime.InferenceSession(str(path))

    def opencv(photo):
        network.setInput(cv2.dnn.blobFromImage(photo))
        return network.forward()[0, 0]

    def runtime(photo):
        return session.run(None, {"photo": photo.transpose(2, 0, 1)[None].astype(np.float32)})[0][0, 0]

    return [opencv, runtime]


def test_opencv_and_onnx_runtime_give_the_networks_probability_at_any_size(exported, monkeypatch):
    model, path = exported
    monkeypatch.setattr(networks, "autocast", lambda device: contextlib.nullcontext())  # both in float32
    programs, rng = sessions(path), np.random.default_rng(0)
    for height, width in ((96, 160), (160, 96), (160, 160), (117, 160), (160, 39)):
        photo = draw_road(rng, height, width)
        draw_crack(photo, rng)
        photo[..., 0] //= 2  # the order of the colours matters
        expected = predict(model, Preprocess(**VALUES), photo)
        assert np.ptp(expected) > 0.5
        for program in programs:
            probability = program(photo)
            assert probability.shape == (height, width)
            assert np.abs(probability - expected).max() < 1e-3


def test_the_file_says_how_to_use_it(exported):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported[1]))
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["mean"]) == VALUES["mean"] and json.loads(about["std"]) == VALUES["std"]
    assert float(about["threshold"]) == 0.35 and str(VALUES["size"]) in about["input_size"]
    assert about["colour_order"] == "RGB"
    assert {"padding", "normalisation", "postprocessing", "not_included"} <= about.keys()
    assert [one.name for one in (*session.get_inputs(), *session.get_outputs())] == ["photo", "probability"]


def test_what_the_file_says_of_the_size_is_what_the_preprocessing_does(rng):
    for enlarges in (True, False):
        preprocess = Preprocess(size=200, enlarges=enlarges)
        small, large = (draw_road(rng, *shape) for shape in ((90, 120), (300, 400)))
        assert max(preprocess.resize(large).shape) == 200
        left_as_it_is = preprocess.resize(small).shape == small.shape
        said = about_onnx(preprocess, 0.5)["input_size"]
        assert ("smaller" in said) == ("at most 200" in how_to_run("x.onnx", preprocess, 0.5)) == left_as_it_is


def test_export_changes_nothing_of_the_network(tmp_path):
    pytest.importorskip("onnxscript")
    model = lively_network().to(memory_format=torch.channels_last)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_onnx(tmp_path / "crack.onnx", model, Preprocess(), 0.5, LARGEST_SIZE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.stem[0][0].weight.is_contiguous(memory_format=torch.channels_last)
    assert [path.name for path in tmp_path.iterdir()] == ["crack.onnx"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_and_torch_export_take_the_network(tmp_path):
    photo = torch.randn(1, 3, 65, 97)
    for model in (lively_network(), fused(lively_network())):
        assert torch.equal(torch.jit.script(model)(photo), model(photo))
        assert torch.equal(torch.export.export(model, (photo,)).module()(photo), model(photo))


def test_without_the_packages_one_line_says_what_to_install(tmp_path, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else there(name))
    with pytest.raises(BadInput, match="onnxscript missing; pip install onnx onnxscript"):
        export_onnx(tmp_path / "crack.onnx", CrackNet(4, (1, 1, 1)), Preprocess(), 0.5, LARGEST_SIZE)
    assert not list(tmp_path.iterdir())


def test_a_network_that_pytorch_cannot_export_is_refused_in_one_line(tmp_path):
    pytest.importorskip("onnxscript")

    class Undecided(CrackNet):
        def forward(self, photo):
            return super().forward(photo if photo.mean() > 0 else -photo)

    with pytest.raises(BadInput, match="crack.onnx: .*Undecided") as refusal:
        export_onnx(tmp_path / "crack.onnx", Undecided(4, (1, 1, 1)), Preprocess(), 0.5, LARGEST_SIZE)
    assert len(str(refusal.value)) < 300 and "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_another_suffix_and_a_network_that_is_not_named_are_refused(tmp_path):
    with pytest.raises(BadInput, match="crack.pth"):
        export_onnx(tmp_path / "crack.pth", CrackNet(4, (1, 1, 1)), Preprocess(), 0.5, LARGEST_SIZE)
    with pytest.raises(BadInput, match="--export"):
        main(["--export", str(tmp_path / "crack.onnx")])

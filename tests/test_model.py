import os
import pickle

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model import CrackNet, load_checkpoint, parameter_count, save_checkpoint

VALUES = {"size": 128, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}


@pytest.fixture
def photo():
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("height,width", [(64, 64), (65, 97), (31, 200), (1, 1), (16, 17)])
def test_logits_have_the_size_of_the_input(height, width):
    model = CrackNet().eval()
    assert model(torch.zeros(2, 3, height, width)).shape == (2, 1, height, width)


def test_the_network_is_small():
    model = CrackNet().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 512, 512))
    assert parameter_count(model) < 0.6e6
    assert counter.get_total_flops() / 2 <= 3e9  # two operations a multiply-accumulate


def test_there_is_a_dropout_layer_only_where_it_is_asked_for():
    kinds = {type(module) for module in CrackNet().modules()}
    assert not kinds & {nn.Dropout, nn.Dropout2d, nn.AlphaDropout}
    assert any(isinstance(module, nn.Dropout2d) and module.p == 0.3 for module in CrackNet(dropout=0.3).modules())


def test_every_weight_takes_part(photo):
    model = CrackNet()
    model(photo.repeat(2, 1, 1, 1)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("level", [8, 4, 2])
def test_each_skip_connection_carries_the_photo_past_the_coarser_maps(photo, level):
    model, seen = CrackNet().eval(), []
    for parameter in getattr(model, f"lift{level}").parameters():
        nn.init.zeros_(parameter)  # nothing comes up from below
    getattr(model, f"merge{level}").register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        model(photo), model(photo + 0.5 * torch.randn_like(photo))
    assert (seen[0] - seen[1]).abs().max() > 1e-3


def test_a_shifted_photo_gives_shifted_logits(photo):
    model = CrackNet().eval()
    field = torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        here, there = model(field), model(field.roll((16, 32), dims=(2, 3)))
    middle = (slice(None), slice(None), slice(240, 272), slice(240, 272))
    assert torch.allclose(here.roll((16, 32), dims=(2, 3))[middle], there[middle], atol=1e-4)


def test_a_checkpoint_needs_no_flag_and_gives_the_same_logits(tmp_path, photo):
    model = CrackNet(width=8, depths=(1, 1, 1, 2), dropout=0.25).eval()
    save_checkpoint(tmp_path / "a.pt", model, VALUES, 0.35)
    loaded, values, threshold = load_checkpoint(tmp_path / "a.pt")
    assert values == VALUES and threshold == 0.35 and not loaded.training
    assert loaded.arguments == model.arguments
    assert torch.equal(loaded(photo), model(photo))


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_with_code_in_it_is_refused_and_the_code_does_not_run(tmp_path):
    for name, write in (("torch.pt", torch.save), ("plain.pt", lambda o, p: p.write_bytes(pickle.dumps(o)))):
        write({"format": 1, "weights": Harmful(tmp_path / "ran")}, tmp_path / name)
        with pytest.raises(ValueError, match=name):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_cut_foreign_and_missing_checkpoints_are_refused_by_name(tmp_path):
    save_checkpoint(tmp_path / "good.pt", CrackNet(), VALUES, 0.5)
    whole = (tmp_path / "good.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    torch.save({"format": 1, "model": {"width": 16}, "weights": {}}, tmp_path / "half.pt")
    for name in ("cut.pt", "foreign.pt", "half.pt", "missing.pt"):
        with pytest.raises(ValueError, match=name):
            load_checkpoint(tmp_path / name)


def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    save_checkpoint(path, CrackNet(), VALUES, 0.5)
    before = path.read_bytes()

    def disk_full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, CrackNet(), VALUES, 0.9)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]

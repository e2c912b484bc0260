import math
import os
import pickle
import re
from dataclasses import asdict

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from command import BadInput
from model import (
    CHECKPOINT_FORMAT,
    CrackNet,
    TransferNet,
    autocast,
    double,
    fused,
    load_checkpoint,
    main,
    parameter_count,
    precision,
    save_checkpoint,
)
from report import architecture
from runs import weights_file

VALUES = {"size": 128, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}


@pytest.fixture
def photo():
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("height,width", [(64, 64), (65, 97), (31, 200), (1, 1), (16, 17)])
def test_logits_have_the_size_of_the_input(height, width):
    model = CrackNet().eval()
    assert model(torch.zeros(2, 3, height, width)).shape == (2, 1, height, width)


def test_the_network_is_small():
    model = CrackNet().to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 512, 512, device="meta"))
    assert parameter_count(model) < 0.6e6
    assert counter.get_total_flops() / 2 <= 3e9  # two operations a multiply-accumulate


@pytest.mark.parametrize("has_instructions,dtype", [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_computes_in_bfloat16_only_where_it_has_the_instructions(monkeypatch, has_instructions, dtype):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions, raising=False)
    with autocast(torch.device("cpu")):
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize("has_instructions,dtype", [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_without_bfloat16_computes_in_float16(monkeypatch, has_instructions, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_instructions)
    assert precision(torch.device("cuda")) == dtype


def test_dropout_stands_at_the_coarsest_maps_only_and_only_where_it_is_asked_for(photo):
    kinds = {type(module) for module in CrackNet().modules()}
    assert not kinds & {nn.Dropout, nn.Dropout2d, nn.AlphaDropout}
    model, seen = CrackNet(dropout=0.3), []
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout2d)] == [0.3]
    model.dropout.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1:]))
    model(photo)
    assert seen == [(model.widths[3], -(-photo.shape[2] // 16), -(-photo.shape[3] // 16))]


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
    model = CrackNet(width=8, depths=(1, 1, 2), dropout=0.25).eval()
    save_checkpoint(tmp_path / "a.pt", model, VALUES, 0.35)
    loaded, preprocess, threshold = load_checkpoint(tmp_path / "a.pt")
    assert asdict(preprocess) == VALUES | {"enlarges": True} and threshold == 0.35 and not loaded.training
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
        with pytest.raises(BadInput, match=name):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    for read in (load_checkpoint, lambda path: load_checkpoint(weights_file(path))):
        with pytest.raises(BadInput, match=f"^{re.escape(str(tmp_path))}: no best.pt"):
            read(tmp_path)


def test_cut_foreign_and_missing_checkpoints_are_refused_by_name_and_only_another_version_is_called_one(tmp_path):
    save_checkpoint(tmp_path / "good.pt", CrackNet(), VALUES, 0.5)
    whole = (tmp_path / "good.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    torch.save({"format": 999}, tmp_path / "newer.pt")
    torch.save({"format": CHECKPOINT_FORMAT, "model": {"width": 16}, "weights": {}}, tmp_path / "half.pt")
    for name in ("cut.pt", "foreign.pt", "newer.pt", "half.pt", "missing.pt"):
        with pytest.raises(BadInput, match=name) as refused:
            load_checkpoint(tmp_path / name)
        assert ("version" in str(refused.value)) == (name == "newer.pt")


SPOILT = [
    lambda content: content["preprocess"].update(size=2**20),
    lambda content: content["preprocess"].update(size="512"),
    lambda content: content["preprocess"].update(mean=("a", "b", "c")),
    lambda content: content["preprocess"].update(mean=(math.nan, 0.5, 0.5)),
    lambda content: content["preprocess"].update(std=(0.0, 1.0, 1.0)),
    lambda content: content["weights"].popitem(),
    lambda content: content["weights"].update(more=torch.zeros(1)),
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_checkpoint_of_impossible_preprocessing_or_a_weight_too_few_or_too_many_is_refused(tmp_path, spoil):
    save_checkpoint(tmp_path / "odd.pt", CrackNet(width=4), VALUES, 0.5)
    content = torch.load(tmp_path / "odd.pt")
    spoil(content)
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(BadInput, match="odd.pt"):
        load_checkpoint(tmp_path / "odd.pt")


def test_weights_of_another_network_are_refused_with_a_reason_in_whole_words(tmp_path):
    changed = CrackNet()
    changed.arguments = changed.arguments | {"width": 8}
    save_checkpoint(tmp_path / "other.pt", changed, VALUES, 0.5)
    with pytest.raises(BadInput, match="do not fit a CrackNet of model.py") as refused:
        load_checkpoint(tmp_path / "other.pt")
    with pytest.raises(RuntimeError) as known:
        CrackNet(width=8).load_state_dict(changed.state_dict())
    said = str(refused.value).split("model.py (")[1].split(" [...])")[0].split()
    assert said == str(known.value).split()[: len(said)] and len(said) > 5


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


class Fork(nn.Module):
    """A network small enough to count by hand: two ways from the photo, one of them at half the size."""

    def __init__(self):
        super().__init__()
        self.near = nn.Conv2d(3, 4, 3, padding=1)
        halved, holed = nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.Conv2d(5, 4, 3, padding=2, dilation=2)
        self.small = nn.Sequential(halved, nn.MaxPool2d(3, 1, 1), holed)
        self.off = nn.Dropout2d(0.5)
        self.meet = nn.Conv2d(4, 1, 1)

    def forward(self, photo):
        near = self.near(photo)
        return self.meet(near + double(self.off(self.small(near))))


def test_the_table_of_a_network_is_the_one_counted_by_hand():
    near, small, off, meet = architecture.layers(Fork(), 64, 32)
    assert (near.name, near.kind, near.shape, near.parameters) == ("near", "conv 3×3", (4, 64, 32), 3 * 4 * 9 + 4)
    assert (small.name, small.kind, small.shape) == ("small", "conv 3×3 / 2, MaxPool2d, conv 3×3", (4, 32, 16))
    assert near.macs == 64 * 32 * 3 * 4 * 9 and small.macs == 32 * 16 * (4 * 5 * 9 + 5 * 4 * 9)
    assert (off.kind, off.macs, off.parameters) == ("Dropout2d", 0, 0)
    assert (near.receptive_field, small.receptive_field) == (3, 3 + 2 + 2 * 2 + 2 * 2 * 2)
    assert meet.receptive_field == 17 + 2  # between two pixels of the small map


def test_the_rows_of_the_table_add_up_to_the_network_and_change_nothing_of_it():
    model = CrackNet(dropout=0.2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = architecture.layers(model, 128, 96)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()) and model.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, 128, 96))
    macs, said = counter.get_total_flops() // 2, architecture.table(found).splitlines()[-1]
    assert sum(layer.macs for layer in found) == macs
    assert f"{parameter_count(model):,}" in said and f"{macs / 1e9:.3f}" in said


def test_merging_batch_norm_for_prediction_changes_no_answer_and_not_the_network_itself():
    model = CrackNet(width=4, depths=(1, 1, 1))
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(2, 3, 32, 32))  # running statistics of their own
        model.eval()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        photo, fast = torch.randn(1, 3, 37, 50), fused(model)
        assert torch.allclose(fast(photo), model(photo), atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    norms = [sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in net.modules()) for net in (model, fast)]
    assert norms[1] == 3 < norms[0]  # those of the strip blocks, which stand behind a sum, stay


def test_no_pixel_outside_the_receptive_field_changes_an_output():
    model, seen = CrackNet(width=4, depths=(1, 1, 1)).eval(), {}
    found = {layer.name: layer.receptive_field for layer in architecture.layers(model, 64, 64)}
    sees = round(found["merge8"])
    model.double()  # what comes from the rim is small
    model.merge8.register_forward_hook(lambda module, inputs, output: seen.update(now=output[0, :, 1, 64]))
    changed = []
    plain = torch.zeros(1, 3, 16, 1024, dtype=torch.double)
    model(plain)
    rest = seen["now"]
    for column in range(0, 1024):
        if abs(column - 516) in range(sees // 2 - 16, sees // 2 + 16):
            touched = plain.clone()
            touched[..., column] = 1e3
            model(touched)
            changed += [column] if not torch.equal(seen["now"], rest) else []
    assert max(changed) - min(changed) + 1 == sees


def test_the_receptive_field_of_a_resnet_is_the_published_one():
    found = {layer.name: layer for layer in architecture.layers(TransferNet("resnet18", width=4), 64, 64)}
    assert [found[f"squeeze.{i}"].receptive_field for i in range(4)] == [7, 43, 99, 211]


def test_an_average_over_the_photo_sees_all_of_it():
    found = architecture.layers(TransferNet("mobilenet_v3_small", width=4), 64, 64)
    assert found[-1].receptive_field == math.inf and "whole photo" in architecture.table(found)


def test_the_command_explains_the_network_of_a_run(tmp_path, capsys):
    save_checkpoint(tmp_path / "best.pt", CrackNet(width=8), VALUES, 0.5)
    assert main([str(tmp_path), "--size", "64"]) == 0
    said = capsys.readouterr().out
    assert "8×32×32" in said and "16×32×32" not in said
    with pytest.raises(BadInput, match="no_run"):
        main([str(tmp_path / "no_run")])
    save_checkpoint(tmp_path / "best.pt", CrackNet(width=8), VALUES | {"size": 96}, 0.5)
    main([str(tmp_path)])
    assert "96×96" in capsys.readouterr().out  # what the run was trained at


def test_a_checkpoint_that_counts_the_blocks_at_stride_2_loads_where_there_are_none(tmp_path, photo):
    model = CrackNet(width=4, depths=(1, 2, 1)).eval()
    save_checkpoint(tmp_path / "best.pt", model, VALUES, 0.5)
    content = torch.load(tmp_path / "best.pt")
    for stride_2 in (0, 1):
        content["model"]["depths"] = [stride_2, 1, 2, 1]
        torch.save(content, tmp_path / "older.pt")
        if stride_2:
            with pytest.raises(BadInput, match="older.pt"):
                load_checkpoint(tmp_path / "older.pt")
        else:
            assert torch.equal(load_checkpoint(tmp_path / "older.pt")[0](photo), model(photo))

"""Several processes do together what one does alone: their shares, their gradient, their validation, their run."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import table, write_export

import distributed
from dataset import CrackDataset, loader
from formats.coco import read_export
from formats.photo import Preprocess
from train import dice_bce

ROOT = Path(__file__).parent.parent


@pytest.fixture
def be(monkeypatch):
    """be(rank, world): this process counts as that one of so many."""

    def process(rank, world):
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world", lambda: world)

    return process


def test_one_process_has_everything_and_communicates_with_nobody():
    assert distributed.rank() == 0 and distributed.world() == 1
    assert distributed.share([1, 2, 3]) == [1, 2, 3] == distributed.gathered([1, 2, 3])
    value = torch.tensor([2.0], requires_grad=True)
    assert distributed.total(value) is value
    assert distributed.anywhere([0], "cpu") and not distributed.anywhere([], "cpu")
    assert distributed.parallel(model := torch.nn.Linear(1, 1), "cpu") is model


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_batch_is_that_of_one_process_dealt_to_all(be, export, world):
    data = CrackDataset(read_export(export).photos, Preprocess(64))  # 10 photos: batches of 4, 4 and 2

    def epoch(rank, world):
        be(rank, world)
        batches = loader(data, 4, seed=1)
        batches.batch_sampler.epoch = 3
        counts = [batches.batch_sampler.size(step) for step in range(len(batches))]
        return list(batches.batch_sampler), counts, [len(inputs) for inputs, *_ in batches]

    whole, _, _ = epoch(0, 1)
    shares = [epoch(rank, world) for rank in range(world)]
    assert [len(batch) for batch in whole] == [4, 4, 2]
    for step, batch in enumerate(whole):
        together = []
        for keys, counts, lengths in shares:
            photos, mine = counts[step]
            assert photos == len(batch) and lengths[step] == len(keys[step]) == max(1, mine)
            together += keys[step][:mine]
        assert sorted(together) == sorted(batch)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_what_each_made_of_its_share_comes_back_in_the_order_of_the_whole(be, monkeypatch, world):
    items = list(range(8))
    shares = []
    for rank in range(world):
        be(rank, world)
        shares.append([item * item for item in distributed.share(items)])

    def gather(into, mine):
        into[:] = shares

    monkeypatch.setattr(distributed.distributed, "all_gather_object", gather)
    assert distributed.gathered(shares[-1]) == [item * item for item in items]


@pytest.mark.parametrize("found", [([1, 2, 3], [7]), ([], [7, 8, 9]), ([], []), ([1], [2, 3], [4, 5, 6, 7])])
def test_lists_of_any_length_are_gathered_whole(be, monkeypatch, found):
    """What a process filters from its share, unfinished photos for instance, may be more or less than another's."""

    def gather(into, mine):
        into[:] = found

    monkeypatch.setattr(distributed.distributed, "all_gather_object", gather)
    be(0, len(found))
    assert sorted(distributed.gathered(found[0])) == sorted(sum(found, []))


def test_the_gradients_of_the_shares_add_up_to_that_of_the_whole_batch(be, monkeypatch):
    """Dice too, which is taken over the batch: a share knows the sums of the others."""
    generator = torch.Generator().manual_seed(0)
    photo = torch.randn(5, 3, 16, 16, generator=generator, dtype=torch.float64)
    mask = (torch.rand(5, 1, 16, 16, generator=generator) > 0.8).double()
    weight = torch.randn(1, 3, 3, 3, generator=generator, dtype=torch.float64)

    def sums(part):
        """The sums of one share, as the loss hands them to `total`: a tensor for each call."""
        caught = []
        monkeypatch.setattr(distributed, "total", lambda tensor: caught.append(tensor) or tensor)
        dice_bce(torch.conv2d(photo[part], weight), mask[part, :, 1:-1, 1:-1])
        return [tensor.detach() for tensor in caught]

    def gradient(part, all_sums=()):
        left = iter(all_sums)

        def total(tensor):
            return next(left) + (tensor - tensor.detach()) if all_sums else tensor

        monkeypatch.setattr(distributed, "total", total)
        own = weight.clone().requires_grad_()
        loss = dice_bce(torch.conv2d(photo[part], own), mask[part, :, 1:-1, 1:-1])
        loss.backward()
        return loss.item(), own.grad

    parts = [slice(0, 5, 3), slice(1, 5, 3), slice(2, 5, 3)]
    everything = [sum(shares) for shares in zip(*map(sums, parts), strict=True)]
    losses, gradients = zip(*(gradient(part, everything) for part in parts), strict=True)
    loss, whole = gradient(slice(None))
    assert losses == pytest.approx([loss] * 3)
    assert torch.allclose(sum(gradients), whole, atol=1e-12)


def test_only_process_0_writes(be, tmp_path):
    @distributed.by_process_0
    def write(path):
        path.write_text("written")

    for rank in (1, 0):
        assert not (tmp_path / "file").exists()
        be(rank, 2)
        write(tmp_path / "file")
    assert (tmp_path / "file").exists()


def torchrun(processes, *command):
    """Command line of so many processes."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *command]


TOGETHER = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import distributed
from formats.coco import read_export
from dataset import CrackDataset, loader
from model import CrackNet
from formats.photo import Preprocess
from train import dice_bce, validate

device, preprocess = torch.device("cpu"), Preprocess(64)
photos = read_export(sys.argv[2]).photos[:5]
torch.manual_seed(0)
model = CrackNet(width=8).eval()  # batch norm has no say
photo, mask, _ = next(iter(loader(CrackDataset(photos, preprocess), 5)))
mask = mask.float()
dice_bce(model(photo), mask).backward()
whole = [parameter.grad.clone() for parameter in model.parameters()]
model.zero_grad()
row = validate(model, loader(CrackDataset(photos, preprocess), 2), preprocess, dice_bce, device)

with distributed.joined(device):
    values = torch.tensor([1.0 + distributed.rank(), 5.0], requires_grad=True)
    everyone = distributed.total(values)
    (everyone * torch.tensor([2.0, 1.0])).sum().backward()
    assert everyone.tolist() == [3, 10] and values.grad.tolist() == [2, 1], (everyone, values.grad)
    assert distributed.gathered([10 * x for x in distributed.share(range(5))]) == [0, 10, 20, 30, 40]
    assert distributed.anywhere(distributed.rank(), device) and not distributed.anywhere(0, device)

    if distributed.rank():
        for tensor in model.state_dict().values():
            tensor.zero_()  # the weights and running statistics of process 0 hold
    parallel = distributed.parallel(model, device).eval()
    loss = dice_bce(parallel(distributed.share(photo)), distributed.share(mask))
    (loss * distributed.world()).backward()
    for parameter, gradient in zip(model.parameters(), whole, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-3, atol=1e-5), (parameter.grad - gradient).abs().max()

    for buffer in model.buffers():
        buffer.add_(distributed.rank())
    together = validate(model, loader(CrackDataset(photos, preprocess), 2), preprocess, dice_bce, device)
    assert together.keys() == row.keys()
    for key, value in row.items():
        assert abs(together[key] - value) <= (1e-3 if key == "valid_loss" else 0), (key, value, together[key])
    print("together")
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2])
def test_two_processes_have_the_gradient_and_the_validation_of_one(tmp_path, processes):
    data = write_export(tmp_path / "roads")
    (tmp_path / "together.py").write_text(TOGETHER)
    command = torchrun(processes, str(tmp_path / "together.py"), str(ROOT), str(data))
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("together") == 1  # process 0 alone speaks


def best(folder):
    return max(float(row["iou_cracked"]) for row in table(folder / "history.csv"))


@pytest.mark.slow
def test_two_processes_score_as_one_and_one_goes_on_where_two_were_stopped(tmp_path):
    data = write_export(tmp_path / "roads", cracked=16, undamaged=4)
    flags = ["--data", str(data), "--epochs", "12", "--size", "96", "--batch-size", "8", "--lr", "0.01", "--ema", "0.9"]
    flags = [str(ROOT / "train.py"), *flags, "--device", "cpu", "--workers", "0"]
    one, two, cut = (tmp_path / name for name in ("one", "two", "cut"))
    subprocess.run([sys.executable, *flags, "--out", str(one)], check=True, capture_output=True)
    ended = subprocess.run(torchrun(2, *flags, "--out", str(two)), check=True, capture_output=True, text=True)
    assert ended.stdout.count("epoch  12/12") == 1

    stopped = subprocess.Popen(
        torchrun(2, *flags, "--out", str(cut)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert any(b"epoch   2/12" in line for line in stopped.stdout)
    stopped.terminate()
    stopped.communicate()
    assert 2 <= len(table(cut / "history.csv")) < 12
    subprocess.run([sys.executable, flags[0], "--resume", str(cut)], check=True, capture_output=True)
    print({folder.name: round(best(folder), 4) for folder in (one, two, cut)})
    assert len(table(cut / "history.csv")) == 12
    assert best(two) == pytest.approx(best(one), abs=0.01) and best(cut) == pytest.approx(best(one), abs=0.01)

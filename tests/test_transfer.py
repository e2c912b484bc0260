import pytest
import torch
from conftest import write_export
from torchvision.models import get_model

import train
from command import BadInput
from model import TransferNet, load_checkpoint, save_checkpoint

VALUES = {"size": 128, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
SMALL = "mobilenet_v3_small"


@pytest.mark.parametrize("encoder", TransferNet.MAPS)
def test_every_encoder_gives_maps_at_strides_2_to_16_and_logits_of_the_photos_size(encoder):
    model = TransferNet(encoder).eval()
    with torch.no_grad():
        maps = model.encode(torch.zeros(1, 3, 64, 96))
        logits = model(torch.zeros(1, 3, 70, 97))
    assert [tuple(x.shape[2:]) for x in maps] == [(32, 48), (16, 24), (8, 12), (4, 6)]
    assert logits.shape == (1, 1, 70, 97)


def test_a_checkpoint_rebuilds_its_encoder_without_a_flag(tmp_path):
    model = TransferNet(SMALL).eval()
    save_checkpoint(tmp_path / "best.pt", model, VALUES, 0.5)
    again, _, _ = load_checkpoint(tmp_path / "best.pt")
    photo = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(photo), model(photo))


def test_the_weights_of_torchvisions_network_arrive_in_the_trunk():
    torch.manual_seed(0)
    whole, model = get_model(SMALL, weights=None), TransferNet(SMALL)
    model.load_trunk(whole.state_dict())
    photo = torch.randn(1, 3, 64, 64)
    (expected,) = whole.features[:9].eval()(photo)[None]
    assert torch.allclose(model.trunk.eval()(photo)["3"], expected)


@pytest.mark.parametrize("other", ["mobilenet_v2", "resnet18"])
def test_the_weights_of_another_network_are_refused(other):
    with pytest.raises(ValueError, match=SMALL):
        TransferNet(SMALL).load_trunk(get_model(other, weights=None).state_dict())


def test_a_frozen_trunk_stays_as_it_is_while_the_decoder_learns():
    model = TransferNet(SMALL)
    model.trunk.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], 0.1)
    model.train()
    model(torch.rand(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed and not any(name.startswith("trunk.") for name in changed)


def test_a_trunk_that_is_not_frozen_learns():
    model = TransferNet(SMALL).train()
    before = model.trunk.state_dict()["features.0.1.running_mean"].clone()
    model(torch.rand(2, 3, 64, 64)).mean().backward()
    assert not torch.equal(model.trunk.state_dict()["features.0.1.running_mean"], before)
    assert all(weight.grad is not None for weight in model.trunk.parameters())


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """(export, file of an encoder's weights, flags of a tiny training)."""
    folder = tmp_path_factory.mktemp("transfer")
    data = write_export(folder / "data", cracked=8, undamaged=2)
    torch.manual_seed(7)
    torch.save(get_model(SMALL, weights=None).state_dict(), folder / "encoder.pth")
    flags = ["--data", str(data), "--size", "64", "--versions", "0", "--epochs", "1", "--workers", "0"]
    return folder, [*flags, "--device", "cpu"]


def test_a_frozen_encoder_is_trained_no_step_and_then_fine_tuned_at_a_fraction_of_the_rate(pretrained):
    folder, flags = pretrained
    encoder = ["--encoder", SMALL, "--encoder-weights", str(folder / "encoder.pth"), "--encoder-rate", "0"]
    train.main([*flags, *encoder, "--out", str(folder / "frozen")])
    frozen, _, _ = load_checkpoint(folder / "frozen" / "best.pt")
    given = torch.load(folder / "encoder.pth", weights_only=True)
    assert all(torch.equal(tensor, given[name]) for name, tensor in frozen.trunk.state_dict().items())

    tuned = ["--from", str(folder / "frozen"), "--encoder-rate", "0.1", "--out", str(folder / "tuned")]
    train.main([*flags, *tuned])
    saved = torch.load(folder / "tuned" / "last.pt", weights_only=True)
    rates = [group["initial_lr"] for group in saved["training"]["optimizer"]["param_groups"]]
    assert rates == pytest.approx([0.001, 0.0001])
    assert not torch.equal(saved["weights"]["trunk.features.0.0.weight"], given["features.0.0.weight"])


@pytest.mark.parametrize(
    "wrong, said",
    [
        (["--encoder", "vgg16"], "vgg16"),
        (["--encoder", "resnet18", "--encoder-weights", "FILE"], "not the weights of resnet18"),
        (["--encoder", SMALL, "--encoder-weights", "nothing.pth"], "nothing.pth"),
        (["--encoder-weights", "FILE"], "--encoder"),
        (["--encoder-rate", "0"], "--encoder-rate"),
    ],
)
def test_wrong_encoder_flags_are_one_line(pretrained, wrong, said):
    folder, flags = pretrained
    wrong = [str(folder / "encoder.pth") if word == "FILE" else word for word in wrong]
    with pytest.raises(BadInput, match=said):
        train.main([*flags, *wrong, "--out", str(folder / "wrong")])

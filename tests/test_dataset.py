import multiprocessing
import os
import signal

import pytest
import torch

import dataset
from augment import augment
from command import BadInput
from dataset import Batches, CrackDataset, collate, loader
from formats.coco import read_export
from formats.photo import Preprocess

SMALL = Preprocess(size=64)


def items(data, workers=0):
    batches = list(loader(data, 4, workers, seed=0))
    return [torch.cat([batch[k].flatten() for batch in batches]) for k in range(3)]


def test_what_is_drawn_does_not_depend_on_the_workers(export):
    data = CrackDataset(read_export(export).photos, SMALL, augment, versions=2, seed=5)
    for one, two in zip(items(data), items(data, workers=2), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_go_on_when_ctrl_c_or_a_batch_system_signals_all_processes(export, number):
    data = CrackDataset(read_export(export).photos, SMALL, augment, versions=2, seed=5)
    batches = loader(data, 1, 2, seed=0)
    for _ in batches:  # once through, so that both have started
        pass
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, number)
    assert len(list(batches)) == len(data)


def test_versions_are_drawn_anew_each_epoch_and_the_photo_itself_is_one_of_them(export):
    photos = read_export(export).photos
    data = CrackDataset(photos, SMALL, augment, versions=2, seed=5)
    assert len(data) == 3 * len(photos)
    first, later = [data[k] for k in range(3)], [data[k + len(data)] for k in range(3)]
    assert torch.equal(first[0][0], torch.from_numpy(SMALL.normalise(SMALL.resize(photos[0].read()[0]))))
    assert torch.equal(first[0][0], later[0][0])
    for k in (1, 2):
        assert not torch.equal(first[k][0], first[0][0]) and not torch.equal(first[k][0], later[k][0])
    assert not torch.equal(first[1][0], first[2][0])


def test_without_an_augmentation_every_photo_comes_once_and_unchanged(export):
    photos = read_export(export).photos
    data = CrackDataset(photos, SMALL, versions=5)
    assert len(data) == len(photos)
    for k, photo in enumerate(photos):
        network_input, mask, index = data[k + 3 * len(data)]
        assert index == k and torch.equal(
            network_input, torch.from_numpy(SMALL.normalise(SMALL.resize(photo.read()[0])))
        )
        assert mask.shape == (1, 64, 64) and mask.sum() == SMALL.resize(*photo.read())[1].sum()


def test_each_epoch_visits_every_item_once_in_another_order():
    order = Batches(20, 6, seed=1)
    passes = []
    for order.epoch in range(3):
        batches = list(order)
        assert [len(batch) for batch in batches] == [6, 6, 6, 2] and len(order) == 4
        keys = sum(batches, [])
        assert sorted(keys) == list(range(20 * order.epoch, 20 * order.epoch + 20))
        passes.append([key % 20 for key in keys])
    assert passes[0] != passes[1] != passes[2]
    assert sum(Batches(20, 6), []) == list(range(20))  # in order without a seed


def test_an_interrupted_epoch_goes_on_with_the_batches_that_are_left():
    order = Batches(10, 4, seed=1)
    whole = list(order)
    order.first = 2
    assert list(order) == whole[2:]


def test_photos_of_different_shape_are_padded_to_one_batch():
    tall, wide = torch.ones(3, 64, 32), torch.ones(3, 32, 64)
    inputs, masks, indices = collate([(tall, tall[:1], 4), (wide, wide[:1], 9)])
    assert inputs.shape == (2, 3, 64, 64) and masks.shape == (2, 1, 64, 64) and indices.tolist() == [4, 9]
    assert inputs[0, :, :, 32:].sum() == 0 and masks[1, 0, 32:].sum() == 0 and masks.sum() == 2 * 64 * 32


def test_an_export_of_which_no_photo_can_be_used_is_refused(export):
    for file in export.glob("*.jpg"):
        file.write_bytes(b"no photo")
    with pytest.raises(BadInput, match="no photo can be used"):
        dataset.main([str(export), "--out", str(export.parent / "a.png")])


def test_a_sample_that_cannot_be_drawn_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(dataset, "SAMPLE", tmp_path / "file" / "sample")
    with pytest.raises(BadInput, match="file/sample"):
        dataset.find_export()

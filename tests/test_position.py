"""A run's position in its data, and a run that resumes with another batch size."""

import json
import shutil

import numpy as np
import pytest

from fashion_jax.data.batches.order import epoch_order
from fashion_jax.data.batches.pipeline import train_batches
from fashion_jax.errors import UserError
from fashion_jax.training import loop, train
from fashion_jax.training.train import train_and_evaluate
from fashion_jax.workdir.position import BEGINNING, Position, epoch_ends
from tests.cutting import cut_after
from tests.run_files import without_timing


def test_epochs_end_where_fewer_images_are_left_than_a_batch_takes():
    assert epoch_ends(BEGINNING, num_images=100, batch_size=32, num_epochs=3) == {3: 1, 6: 2, 9: 3}
    assert epoch_ends(Position(6, 2, 0), 100, 32, 3) == {6: 2, 9: 3}
    assert epoch_ends(Position(5, 1, 64), 100, 32, 3) == {6: 2, 9: 3}
    assert epoch_ends(Position(9, 3, 0), 100, 32, 3) == {9: 3}


def test_an_epoch_goes_on_with_batches_of_another_size():
    assert epoch_ends(Position(4, 1, 32), 100, 16, 3) == {8: 2, 14: 3}
    assert epoch_ends(Position(4, 1, 32), 100, 60, 3) == {5: 2, 6: 3}


@pytest.mark.parametrize(
    ("position", "batch_size", "sentence"),
    [
        (Position(9, 3, 0), 32, "in its epoch 3 after 9 steps, more than num_epochs = 2"),
        (Position(7, 2, 32), 32, "in its epoch 3 after 7 steps, more than num_epochs = 2"),
        (Position(5, 1, 64), 40, "batch_size is 40, but after step 5 only 36 of the 100 images of epoch 2 are left"),
        (Position(5, 1, 99), 2, "Of epoch 2, 99 images are done after step 5, but the training split has only 100"),
    ],
)
def test_a_run_that_cannot_go_on_from_where_it_is_is_told_so(position, batch_size, sentence):
    with pytest.raises(UserError, match=sentence):
        epoch_ends(position, 100, batch_size, 2)


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("batch_size", [8, pytest.param(32, marks=pytest.mark.long)])
def test_a_run_goes_on_with_another_batch_size(tiny_config, tmp_path, monkeypatch, capsys, batch_size):
    """The run stops after 14 steps of 16 images, 10 per epoch: 96 of the 160 images of the second epoch are left."""
    tiny_config.checkpoint.every_steps, tiny_config.num_epochs = 2, 3
    cut_after(monkeypatch, 14, tiny_config, tmp_path)
    first_line = without_timing(tmp_path)[0]
    seen = []

    def recorded(split, images, config, *place):
        for batch in train_batches(split, images, config, *place):
            seen.append((place[:2], batch["labels"]["sub"]))
            yield batch

    monkeypatch.setattr(loop, "train_batches", recorded)
    tiny_config.batch_size = batch_size
    train_and_evaluate(tiny_config, tmp_path)
    assert f"\nbatch_size is {batch_size} instead of 16. This holds from now on.\n" in capsys.readouterr().out
    lines = without_timing(tmp_path)
    ends = [10, 14 + 96 // batch_size, 14 + 256 // batch_size]
    assert lines[0] == first_line
    assert [(line["epoch"], line["step"]) for line in lines] == [*enumerate(ends, 1)]
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.01, 0.0075, 0.0025], rel=1e-12)
    assert {place for place, _ in seen} == {(1, 64)}
    history = json.loads((tmp_path / "environment.json").read_text())["starts"]
    assert history[-1]["changes"] == [f"batch_size is {batch_size} instead of 16"]
    assert [history[-1][name] for name in ("step", "epoch", "seen")] == [14, 1, 64]
    dataset = train.load_dataset(tiny_config).splits["train"]
    orders = [epoch_order(tiny_config.seed, 1, 160)[64:], epoch_order(tiny_config.seed, 2, 160)]
    expected = dataset.labels["sub"][np.concatenate(orders)]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in seen]), expected)


@pytest.mark.usefixtures("no_report")
def test_a_start_that_is_refused_leaves_the_files_of_the_run(finished_run, tiny_config, tmp_path, capsys):
    workdir = shutil.copytree(finished_run, tmp_path / "run")
    before = {path: path.read_bytes() for path in workdir.glob("*.json")}
    tiny_config.num_epochs = 1
    with pytest.raises(UserError, match="in its epoch 2 after 20 steps, more than num_epochs = 1"):
        train_and_evaluate(tiny_config, workdir)
    assert {path: path.read_bytes() for path in workdir.glob("*.json")} == before
    assert "from now on" not in capsys.readouterr().out


@pytest.mark.usefixtures("no_report")
def test_other_numbers_of_training_images_are_told(finished_run, tiny_config, tmp_path, capsys):
    workdir = shutil.copytree(finished_run, tmp_path / "run")
    data = json.loads((workdir / "data.json").read_text())
    data["splits"]["train"] |= {"images": 1161, "ids_sha256": "0"}
    data["splits"]["validation"]["ids_sha256"] = "0"
    (workdir / "data.json").write_text(json.dumps(data))
    training = "The training split has 160 images instead of 1,161, in another order"
    train_and_evaluate(tiny_config, workdir)
    assert f"{training}. This has no effect, since the run is complete." in capsys.readouterr().out
    tiny_config.num_epochs = 3
    train_and_evaluate(tiny_config, workdir)
    out = capsys.readouterr().out
    assert f"{training}. This holds from now on." in out
    assert "The validation split has other images. This holds from now on." in out
    train_and_evaluate(tiny_config, workdir)
    assert "from now on" not in capsys.readouterr().out

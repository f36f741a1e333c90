"""The field that a word of another tool, or a misspelled one, may mean."""

import pytest

from fashion_jax.config.fields import CHECKS
from fashion_jax.config.suggestions import meant_field, suggestion


@pytest.mark.parametrize(
    ("word", "value", "clause"),
    [
        ("--epochs", "3", "--config.num_epochs=3"),
        ("num_epoch", "3", "--config.num_epochs=3"),
        ("--lr", "0.1", "--config.learning_rate=0.1"),
        ("--learning-rate", "0.1", "--config.learning_rate=0.1"),
        ("--batch-size", "64", "--config.batch_size=64"),
        ("--data", "photos", "--config.data.path=photos"),
        ("--data", "my photos", "--config.data.path='my photos'"),
        ("--cache", "none", "--config.data.cache=none"),
        ("--splits", "{'train': 0.8, 'validation': 0.2}", "=\"{'train': 0.8, 'validation': 0.2}\""),
        ("--output_dir", "runs/x", "--workdir runs/x"),
        ("--wd", None, "--config.weight_decay?"),
        ("--warmup_steps", "500", "--config.warmup_epochs? It counts epochs."),
        ("--save-every", "1", "--config.checkpoint.every_steps? It counts steps."),
        ("-j", "8", "images are decoded on all cores"),
    ],
)
def test_words_of_other_tools_lead_to_what_can_be_typed(word, value, clause):
    assert clause in suggestion(word, value)


def test_a_value_that_the_field_does_not_take_is_told_what_it_takes():
    said = suggestion("--model", "mobilenet")
    assert "--config.model.name?" in said and "one of resnet10, " in said and "=mobilenet" not in said
    assert "train and validation" in suggestion("--val", "0.2")


def test_a_misspelled_flag_comes_before_a_field_that_is_less_alike():
    assert "did you mean --workdir?" in suggestion("--wrokdir", "x", ["--config", "--workdir"])


def test_nothing_is_made_up():
    assert suggestion("--zzz", "1") == "" == meant_field("zzz")


def test_every_field_is_meant_by_its_own_name():
    assert [field for field in CHECKS if meant_field(field) != field] == []

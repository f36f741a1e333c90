"""predictions/validation.parquet: what is written is read again, and it names its classes."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fashion_jax.data.dataset import Split
from fashion_jax.errors import UserError
from fashion_jax.workdir.predictions import CLASSES, read_predictions, write_predictions
from tests.trees import SHOP, random_labels, random_log_probs

LOG_PROBS, LABELS = random_log_probs(SHOP, 7, 0), random_labels(SHOP, 7, 0)


@pytest.fixture
def written(tmp_path) -> Path:
    path = tmp_path / "predictions" / "validation.parquet"
    write_predictions(path, SHOP, Split([f"{i}.jpg" for i in range(7)], [""] * 7, LABELS), LOG_PROBS)
    return path


def check_read(path: Path) -> None:
    log_probs, labels = read_predictions(path, SHOP)
    for level in SHOP.levels:
        np.testing.assert_allclose(log_probs[level], LOG_PROBS[level], rtol=1e-6)
        np.testing.assert_array_equal(labels[level], LABELS[level])


def test_predictions_name_their_classes(written):
    table = pq.read_table(written)
    classes = json.loads(table.schema.metadata[b"fashion_jax.classes"])
    assert classes == {level: list(names) for level, names in SHOP.classes.items()}
    for row in table.to_pylist():
        for level, names in classes.items():
            assert row[f"{level}_predicted"] == names[np.argmax(row[f"{level}_probabilities"])]
    check_read(written)


def test_predictions_of_before_are_read_without_names(written):
    table = pq.read_table(written)
    pq.write_table(table.replace_schema_metadata(None), written)
    check_read(written)


def test_predictions_of_other_classes_are_refused(written):
    first, second, *others = SHOP.classes["sub"]
    other = dataclasses.replace(SHOP, classes=SHOP.classes | {"sub": (second, first, *others)})
    with pytest.raises(UserError, match=r"validation\.parquet cannot be read.*taxonomy\.json"):
        read_predictions(written, other)
    table = pq.read_table(written)
    pq.write_table(table.replace_schema_metadata({CLASSES: b"{"}), written)
    with pytest.raises(UserError, match=r"validation\.parquet cannot be read"):
        read_predictions(written, SHOP)


def test_the_example_of_the_page_works(finished_run, tmp_path, monkeypatch):
    page = Path(__file__).resolve().parent.parent / "docs" / "predicting.md"
    (example,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "smoke").symlink_to(finished_run)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example, names)
    assert names["classes"] == json.loads((finished_run / "taxonomy.json").read_text())["classes"]
    assert len(names["table"]) == 40

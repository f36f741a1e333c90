"""calibration.json: written files can be read, and damage is reported by name."""

import json

import numpy as np
import pytest

from fashion_jax.errors import UserError
from fashion_jax.scoring.calibration import calibration_error
from fashion_jax.scoring.temperature import fit_temperature
from fashion_jax.workdir.calibration_file import read_calibration, write_calibration
from tests.probabilities import overconfident
from tests.trees import PLAIN

IDS = [str(i) for i in range(500)]


def write(folder):
    log_probs, labels = overconfident(500, 0, classes=3)
    levels = {"main": log_probs[:, :2], "sub": log_probs}
    known = {"main": np.full(500, -1), "sub": labels}
    write_calibration(folder, 12, IDS, levels, known)
    return log_probs, labels


def test_what_is_written_is_read(tmp_path):
    log_probs, labels = write(tmp_path)
    calibration = read_calibration(tmp_path, PLAIN)
    assert calibration.temperatures == {"main": 1.0, "sub": fit_temperature(log_probs, labels)}
    assert calibration.step == 12
    assert calibration.fitted_on(IDS) and not calibration.fitted_on(IDS[1:])
    file = json.loads((tmp_path / "calibration.json").read_text())
    sub = file["levels"]["sub"]
    assert (file["split"], file["images"], sub["known_labels"]) == ("validation", 500, 500)
    assert sub["ece_before"] == pytest.approx(calibration_error(log_probs, labels))
    assert sub["ece_after"] < sub["ece_before"] / 2 and sub["ece_cross_fitted"] < sub["ece_before"]
    assert file["levels"]["main"]["ece_before"] is None


def test_a_run_without_one(tmp_path):
    assert read_calibration(tmp_path, PLAIN) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "change"])
def test_a_damaged_one_is_named(tmp_path, text):
    write(tmp_path)
    path = tmp_path / "calibration.json"
    found = json.loads(path.read_text())
    found["levels"]["sub"]["temperature"] = 0
    path.write_text(json.dumps(found) if text == "change" else text)
    with pytest.raises(UserError, match=r"calibration\.json cannot be read"):
        read_calibration(tmp_path, PLAIN)

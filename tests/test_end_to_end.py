"""benchmarks.end_to_end and benchmarks.start_up on the smoke config."""

import json
import sys

import jax
import pytest

from benchmarks import end_to_end, peak, start_up
from fashion_jax.errors import RunError
from tests.conftest import ROOT

TINY = ["--config", str(ROOT / "configs" / "smoke.py"), "--config.batch_size=16"]


@pytest.mark.long
def test_end_to_end_measures_each_part(catalogue_cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peak, "_SIZE", 64)
    data = [f"--config.data.cache_dir={catalogue_cache}", "--config.data.catalogue.num_images=200"]
    path = tmp_path / "result.json"
    assert end_to_end.main([*TINY, *data, "--steps=2", "--devices", "8", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    (row,) = result["rows"]
    assert result["images"] == {"train": 160, "validation": 40}
    assert row["devices"] == 8
    speeds = [row[name] for name in ("data_only", "step_only", "end_to_end", "evaluation", "prediction")]
    assert min(speeds) > 0
    assert 0 < row["data_wait_share"] < 1
    assert row["step_mfu"] == pytest.approx(row["flops_per_image"] * row["step_only"] / row["peak_flops"])
    assert row["peak_memory_bytes"] > 100 << 20
    assert "data wait" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--steps=0"], "--steps is 0"), (["--devices", "9"], "--devices is 9"), (["--devices", "3"], "batch_size is 16")],
)
def test_wrong_usage_is_told(arguments, said, capsys):
    assert end_to_end.main([*TINY, *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("speed", "text"), [(2.345, "2.35"), (28.04, "28.0"), (99.94, "99.9"), (99.96, "100"), (12345.6, "12,346")]
)
def test_slow_speeds_keep_three_digits(speed, text):
    assert end_to_end._three_digits(speed) == text


class Kind:
    """A device of a kind."""

    platform = "gpu"

    def __init__(self, kind: str):
        self.device_kind = kind


def test_peaks_are_of_all_devices():
    assert peak.peak_flops([Kind("NVIDIA H100 80GB HBM3")] * 2, "bfloat16") == (
        2 * 989.5e12,
        "NVIDIA, H100 data sheet: 989.5 TFLOP/s, dense",
    )
    assert peak.peak_flops([Kind("TPU v5 lite")], "bfloat16")[0] == 197e12
    assert peak.peak_flops([Kind("NVIDIA H100 PCIe")], "float32")[0] == 378e12
    assert peak.peak_flops([Kind("Tesla V100-SXM2-16GB")], "bfloat16")[0] is None
    assert peak.peak_flops([Kind("NVIDIA T9")], "bfloat16")[0] is None
    assert peak.matmul_flops(jax.devices()[0], "float32") > 1e8


def test_start_up_waits_for_the_progress_line():
    says = "import time; print('epoch 1/3   2%  9 img/s  left 0:01', flush=True); time.sleep(550)"
    assert start_up._until_steps([sys.executable, "-c", says], None) < 500
    with pytest.raises(RunError, match="No step: broken"):
        start_up._until_steps([sys.executable, "-c", "print('broken')"], None)


def test_start_up_says_what_is_wanted():
    seconds = {"help": 1.0, "config_error": 1.0, "import": 12.0, "first_step_cold": 20.0, "first_step_cached": 15.0}
    text = start_up.table({"seconds": seconds})
    assert "20.00 s  (at most 22.00)" in text and "15.00 s  (at most 17.00)" in text

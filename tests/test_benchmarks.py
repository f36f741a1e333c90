"""The benchmarks measure the real thing on tiny models and write what they promise."""

import contextlib
import itertools
import json
import math
from types import SimpleNamespace

import jax
import pytest

from benchmarks import against_torch, augmentation, compiled_step, saving, settings, twin
from benchmarks import train_step as benchmark
from benchmarks.compiled_step import CompiledStep
from benchmarks.peak import published_flops
from fashion_jax.config.loading import load_config
from fashion_jax.step.train_step import Outcome
from tests.conftest import ROOT

TINY = ["--config", str(ROOT / "configs" / "smoke.py"), "--config.batch_size=8"]  # resnet10, 32 px


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    """Returns what --json writes after 3 steps."""
    path = tmp_path_factory.mktemp("benchmark") / "train_step.json"
    arguments = [*TINY, "--config.data.canvas_size=40", "--steps=3", "--warmup=1", "--json", str(path)]
    assert benchmark.main(arguments) == 0
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("kind", "teraflops"),
    [("NVIDIA H100 80GB HBM3", 989.5), ("NVIDIA L40", 181), ("NVIDIA L40S", 362), ("NVIDIA L4", 121)]
    + [("NVIDIA GB200", 2500), ("NVIDIA RTX A1000", None), ("TPU v5 lite", 197), ("TPU v5", 459), ("TPU v6e", 918)],
)
def test_the_peak_of_a_chip_is_not_that_of_another_whose_name_it_contains(kind, teraflops):
    rate, source = published_flops([SimpleNamespace(device_kind=kind)] * 2, "bfloat16")
    assert rate == (teraflops and 2 * teraflops * 1e12) and ("not known" in source) == (teraflops is None)


def test_compiling_pytorch_without_pytorch_is_refused(capsys):
    assert benchmark.main([*TINY, "--torch-compile"]) == 2
    assert "only with --twin torch" in capsys.readouterr().err


def test_train_step_writes_what_was_measured_on_what(result):
    assert list(result) == [
        "benchmark", "config", "image_size", "batch_size", "devices", "commit", "environment", "compile_seconds",
        "step_seconds", "images_per_second", "parameters", "flops_per_image", "peak_flops", "peak_is", "mfu",
        "peak_memory_bytes",
    ]  # fmt: skip
    assert (result["benchmark"], result["image_size"], result["batch_size"]) == ("train_step", [32, 32], 8)
    assert result["devices"] == len(result["environment"]["devices"]) == jax.device_count()
    assert result["environment"]["packages"]["jax"] == jax.__version__
    expected = load_config(str(ROOT / "configs" / "smoke.py"), [("batch_size", "8"), ("data.canvas_size", "40")])
    assert result["config"] == json.loads(json.dumps(expected.to_dict()))


def test_train_step_times_are_of_seconds_and_fit_together(result):
    times = result["step_seconds"]
    assert list(times) == ["min", "median", "p90", "max"]
    assert 0 < times["min"] <= times["median"] <= times["p90"] <= times["max"] < 60
    assert result["compile_seconds"] > 0
    assert result["images_per_second"] == pytest.approx(8 / times["median"])
    assert result["mfu"] == pytest.approx(
        result["images_per_second"] * result["flops_per_image"] / result["peak_flops"]
    )
    assert 0 < result["mfu"] < 1
    assert result["peak_memory_bytes"] > 1e7


def test_train_step_counts_the_flops_of_plain_convolutions(result):
    """The backward pass counts twice the forward pass, without the gradient of the images; all else is small."""
    stem, block = 16 * 16 * 7 * 7 * 3 * 64, 2 * 8 * 8 * 9 * 64 * 64
    heads = 64 * 128 + 128 * 4 + 64 * 256 + 256 * 128 + 128 * 21
    assert result["flops_per_image"] == pytest.approx(2 * (2 * stem + 3 * (block + heads)), rel=0.3)


def test_the_parts_of_a_batch_are_all_counted():
    whole, parts = (compiled_step.training_flops(load_config("smoke", [("accumulate", x)])) for x in ("1", "2"))
    assert parts == whole > 0


def test_the_images_of_progressive_epochs_take_fewer_flops():
    config = load_config("smoke", [("image_size", "64"), ("progressive.epochs", "1")])
    early, late = (compiled_step.training_flops(config, progressive=x) for x in (True, False))
    assert early == pytest.approx(late / 4, rel=0.05)


def test_train_step_builds_the_trunk_and_both_heads(result):
    trunk = (7 * 7 * 3 + 2) * 64 + 2 * (9 * 64 + 2) * 64  # the small resnet10 has one block
    main = 65 * 128 + 2 * 128 + 129 * 4
    sub = 65 * 256 + 2 * 256 + 257 * 128 + 2 * 128 + 129 * 21
    assert result["parameters"] == trunk + main + sub


def test_train_step_shows_the_result(result):
    text = benchmark.table(result)
    assert f"{result['parameters']:,} parameters" in text
    assert "8 images of 32×32" in text
    assert f"median {1000 * result['step_seconds']['median']:.1f}" in text


def test_percentiles():
    assert compiled_step.summary([0.0, *map(float, range(1, 11))]) == {"min": 0, "median": 5, "p90": 9, "max": 10}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_taxonomy_fits_any_number_of_levels(count):
    levels = ["a", "b", "c"][:count]
    taxonomy, paths = compiled_step.synthetic_taxonomy(levels)
    assert [taxonomy.num_classes(level) for level in levels] == [4, 21, 21][:count]
    assert all((ids >= 0).all() for ids in taxonomy.label_ids(paths).values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config.batch_sise=8"], "did you mean --config.batch_size=8?"),
        (["--config.batch_size=12"], "a multiple of the 8 devices"),
        (["--config", "nothing.py"], "'nothing.py'"),
        (["--steps", "0"], "--steps is 0"),
        (["--warmup=-1"], "--warmup is -1"),
        (["--steps=many"], "'many'"),
        (["--repeat=3"], "'--repeat'"),
        (["--warmpu=3"], "did you mean --warmup?"),
        (["--workdir=runs/x"], "--workdir"),
        (["--json", "no/such/folder/x.json"], "'no/such/folder/x.json'"),
        (["--json=gs://bucket/x.json"], "mount the store"),
    ],
)
def test_train_step_tells_wrong_usage_in_one_sentence(arguments, said, capsys):
    assert benchmark.main([*TINY, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_result_that_cannot_be_written_is_told_before_the_measurement(tmp_path, capsys):
    (tmp_path / "loop.json").symlink_to("loop.json")
    assert benchmark.main([*TINY, "--json", str(tmp_path / "loop.json")]) == 2
    assert "loop.json', which cannot be written (" in capsys.readouterr().err


def test_train_step_refuses_times_of_a_loss_that_is_not_finite(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "compile_step", lambda _: CompiledStep(diverge, None, [None], 0, 0))
    assert benchmark.main(TINY) == 1
    assert "nan" in capsys.readouterr().err


def diverge(state: None, batch: None) -> tuple[None, Outcome]:
    """Returns a loss that is not a number."""
    with jax.transfer_guard("allow"):
        return state, Outcome(*[jax.numpy.float32(math.nan)] * 2, *[jax.numpy.int32(0)] * 2)


def test_help_is_no_failure(capsys):
    assert benchmark.main(["--help"]) == 0
    assert "--warmup N" in capsys.readouterr().out


@pytest.mark.long
def test_saving_writes_what_a_save_costs(tmp_path, capsys):
    path = tmp_path / "saving.json"
    assert saving.main([*TINY, "--steps=2", "--rounds=2", "--every=10", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert result["share"] == pytest.approx(result["save_seconds"] / (10 * result["step_seconds"]))
    assert result["in_the_loop_seconds"] > 0 and result["config"]["batch_size"] == 8
    assert f"({result['share']:.2%} of 10 steps)" in capsys.readouterr().out
    assert saving.main([*TINY, "--rounds=0"]) == 2
    assert "--rounds is 0, but must be at least 1" in capsys.readouterr().err


def several_steps(config):
    """Returns a compiled step that takes no time and does the steps of a dispatch."""
    return CompiledStep(lambda state, _: (state, None), None, [None], 0, 0, config.steps_per_dispatch)


def test_augmentation_and_settings_divide_the_time_of_a_dispatch_by_its_steps(monkeypatch):
    monkeypatch.setattr(settings, "compile_step", several_steps)
    monkeypatch.setattr(settings, "time", SimpleNamespace(perf_counter=itertools.count(0, 6).__next__))
    fields = [("steps_per_dispatch", "2")]
    times = augmentation.measure(TINY[1], fields, 1)["step_seconds"]
    times |= settings.measure(TINY[1], fields, ["steps_per_dispatch=3"], 1)["step_seconds"]
    medians = {name: seconds["median"] for name, seconds in times.items()}
    assert medians == dict.fromkeys([*augmentation.PRESETS, "plain"], 6 / 4) | {
        "steps_per_dispatch=3": 6 / 6
    }  # two dispatches


def test_saving_divides_the_time_of_a_dispatch_by_its_steps(monkeypatch):
    monkeypatch.setattr(saving, "compile_step", several_steps)
    monkeypatch.setattr(saving, "_times", lambda *_: ([12.0], [18.0], [1.0]))
    result = saving.measure(TINY[1], [("steps_per_dispatch", "3")], steps=2, rounds=1, every=6)
    assert (result["steps"], result["step_seconds"], result["share"]) == (6, 2, 0.5)


@pytest.mark.long
def test_augmentation_writes_the_cost_of_each_preset(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(augmentation, "PRESETS", ("none", "strong"))
    path = tmp_path / "augmentation.json"
    assert augmentation.main([*TINY, "--rounds=2", "--json", str(path)]) == 0
    result = json.loads(path.read_text(encoding="utf-8"))
    assert list(result["step_seconds"]) == list(result["cost"]) == ["none", "strong"]
    assert result["cost"]["none"] == 0 and result["step_seconds"]["strong"]["min"] > 0
    assert "strong" in capsys.readouterr().out
    assert augmentation.main([*TINY, "--rounds=0"]) == 2
    assert "--rounds is 0" in capsys.readouterr().err


@pytest.mark.long
def test_settings_writes_the_cost_of_each(tmp_path, capsys):
    path, tried = tmp_path / "settings.json", ["accumulate=2", "steps_per_dispatch=2"]
    assert settings.main([*TINY, "--settings", *tried, "--rounds=2", "--json", str(path)]) == 0
    result = json.loads(path.read_text(encoding="utf-8"))
    assert list(result["step_seconds"]) == list(result["cost"]) == ["plain", *tried]
    assert result["cost"]["plain"] == 0 and result["step_seconds"]["accumulate=2"]["min"] > 0
    assert "steps_per_dispatch=2" in capsys.readouterr().out


def test_settings_that_cannot_be_timed_are_told(capsys):
    assert settings.main([*TINY, "--settings", "accumulate"]) == 2
    assert "'accumulate', but must have FIELD=VALUE" in capsys.readouterr().err
    assert settings.main([*TINY, "--settings", "accumulate=3"]) == 2
    assert "accumulate is 3" in capsys.readouterr().err


def test_the_twin_takes_turns_and_its_ratio_is_of_the_best(monkeypatch):
    monkeypatch.setattr(twin, "_worker", fake_worker)
    monkeypatch.setattr(twin, "_PAUSE", 0)
    config = load_config(str(ROOT / "configs" / "mtl.py"))
    ours = iter([9, 1, 1, 1, 9, 1, 2, 3, 9, 1, 1, 1])  # the first step of a turn does not count
    result = twin.compare(lambda: next(ours), config, rounds=3, train=True, compiled=False)
    assert result["seconds"] == {"jax": [1, 2, 1], "contiguous": [4, 4, 4], "channels_last": [3, 3, 3]}
    assert (result["torch"], result["best"], result["ratio"]) == ("0.0", "channels_last", 3)


@contextlib.contextmanager
def fake_worker(case):
    """A twin whose steps take as long as their variant says."""
    assert case["heads"] == {"main": ("main", 4), "sub": ("sub", 21)}
    seconds = {"contiguous train": 4.0, "channels_last train": 3.0}
    yield "0.0", seconds.__getitem__, seconds.__getitem__


def test_a_config_without_a_twin_is_told(capsys, monkeypatch):
    monkeypatch.setattr(twin.importlib.util, "find_spec", lambda name: object())
    assert benchmark.main([*TINY, "--twin", "torch"]) == 2
    assert "model.name is 'resnet10', but the twins are resnet34 and vgg16" in capsys.readouterr().err
    monkeypatch.setattr(twin.importlib.util, "find_spec", lambda name: None)
    assert benchmark.main([*TINY, "--twin", "torch"]) == 2
    assert "pip install -c constraints.txt -e '.[benchmarks]'" in capsys.readouterr().err


def test_the_committed_comparisons_make_the_committed_table(tmp_path):
    folder = ROOT / "benchmarks" / "results"
    files = {name: against_torch._file(folder, name) for name in against_torch.CASES}
    results = {name: json.loads(path.read_text()) for name, path in files.items() if path.exists()}
    assert against_torch.table(results) == (folder / "against_torch.md").read_text()
    against_torch.draw(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000

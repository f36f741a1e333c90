"""The plan of a run that has to end at its time_limit."""

import dataclasses
import json
import math
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from fashion_jax.config.combinations import batch_unit
from fashion_jax.config.fields import seconds_in
from fashion_jax.config.loading import load_config
from fashion_jax.data.dataset import load_dataset
from fashion_jax.devices.mesh import check_batch_size, create_mesh
from fashion_jax.errors import UserError
from fashion_jax.step.program import create_program
from fashion_jax.terminal import Terminal
from fashion_jax.training import time_limit
from fashion_jax.training.time_limit import Planner
from fashion_jax.training.time_plan import (
    FEWEST_STEPS,
    SMALLEST_BATCH,
    Candidates,
    CostModel,
    SaveCosts,
    TimePlan,
    Timings,
    Work,
    batch_sizes_of,
    choose,
    expected_error,
    seconds_of,
    shapes_of,
    tolerance,
)
from fashion_jax.training.train import train_and_evaluate
from fashion_jax.workdir.paths import checkpoints_path, config_path, metrics_path
from tests.steps import TAXONOMY

WORK = Work(
    num_images=26_000,
    num_validation=4_000,
    every_steps=500,
    save=SaveCosts(waited=0.6, whole=0.7),
    reading=10,
    start=4,
    scores=0,
    end=13,
    shown=0,
    is_shared=True,
    most_cached=math.inf,
    most_on_devices=0,
    most_cached_validation=math.inf,
    num_processes=1,
    free_memory=math.inf,
    keeps_programs=True,
    costs=CostModel("resnet34", "sgd", 1),
)
STREAMED = dataclasses.replace(WORK, most_cached=0, most_cached_validation=0)
LIMITS = (300, 900, 2400, 14_400)


def candidates(
    batch_size=64, unit=1, own=(64, 64), fewest_epochs=1, falls_by_epoch=True, warmup_epochs=0
) -> Candidates:
    shapes, batch_sizes = shapes_of(own, 92 * 92, 32, None), batch_sizes_of(batch_size, unit)
    return Candidates(shapes, batch_sizes, fewest_epochs, falls_by_epoch, warmup_epochs)


def measured(images_per_second: float) -> Timings:
    train = 1 / images_per_second
    return Timings(TimePlan((64, 64), 8, 64), train, train / 2, 1 / 5000, compilation=30, tracing=5, step_bytes=4000)


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("90m", 5400), ("1h30m", 5400), ("2h", 7200), ("1h1m1s", 3661)]
)
def test_a_time_limit_is_read(text, seconds):
    assert seconds_in(text) == seconds
    assert load_config("smoke", [("time_limit", text)]).time_limit == text


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("images_per_second", [60, 110, 20_000])
@pytest.mark.parametrize("work", [WORK, STREAMED], ids=["in memory", "streamed"])
def test_a_plan_fills_the_time_and_leaves_some_for_delays(limit, images_per_second, work):
    speed = measured(images_per_second)
    plan = choose(candidates(), speed, work, limit=limit, elapsed=20)
    end = 20 + seconds_of(plan, speed, work)
    assert limit - tolerance(limit) < end < limit


def test_the_seconds_of_a_plan_are_added_up():
    plan, validation = TimePlan((64, 64), 8, 64), 63 * 64 / 200  # 4,000 images fill 63 batches
    epoch = 406 * 64 / 100 + validation + 0.6 * (1 + 406 / 500)  # 406 steps, a checkpoint, and one every 500 steps
    start = 4 + 5 + 30 + 30_000 / 5000
    assert seconds_of(plan, measured(100), WORK) == pytest.approx(start + 8 * epoch + 0.1 + validation + 13)


def test_a_slow_disk_counts_where_the_next_checkpoint_has_to_wait_for_it():
    plan = TimePlan((64, 64), 8, 64)
    fast, slow, slower = (
        seconds_of(plan, measured(100), dataclasses.replace(WORK, save=SaveCosts(0.6, x))) for x in (1, 100, 1e4)
    )
    assert slow - fast == pytest.approx(99)  # of the last one alone
    assert slower == pytest.approx(8 * (1 + 406 / 500) * 1e4, rel=0.2)


def test_images_that_are_streamed_are_decoded_in_every_epoch_and_by_all_processes():
    plan, decoding = TimePlan((64, 64), 8, 64), 30_000 / 5000
    once, always = (seconds_of(plan, measured(100), work) for work in (WORK, STREAMED))
    validation = 4_000 / 5000  # which the last pass at the end decodes once more
    assert always - once == pytest.approx(7 * decoding + validation)
    kept, streamed = ({"most_cached": x, "most_cached_validation": x} for x in (64**2, 63**2))
    assert seconds_of(plan, measured(100), dataclasses.replace(WORK, **kept)) == once
    assert seconds_of(plan, measured(100), dataclasses.replace(WORK, **streamed)) == always
    together = dataclasses.replace(STREAMED, num_processes=4)
    assert always - seconds_of(plan, measured(100), together) == pytest.approx(0.75 * (8 * decoding + validation))
    apart = dataclasses.replace(STREAMED, is_shared=False)
    assert always - seconds_of(plan, measured(100), apart) == pytest.approx(8 * decoding + validation)


def test_what_is_kept_is_decoded_once_by_each_process_or_on_devices_by_one():
    plan, train, validation = TimePlan((64, 64), 8, 64), 26_000 / 5000, 4_000 / 5000
    four = dataclasses.replace(WORK, num_processes=4)
    assert four.decoding(plan, 1 / 5000) == pytest.approx((train + validation / 4, 0, 0))
    on_devices = dataclasses.replace(four, most_on_devices=math.inf)
    assert on_devices.decoding(plan, 1 / 5000) == pytest.approx(((train + validation) / 4, 0, 0))
    mixed = dataclasses.replace(WORK, most_cached_validation=0)
    assert mixed.decoding(plan, 1 / 5000) == pytest.approx((train, 0, validation))


def test_on_an_accelerator_images_are_decoded_while_the_devices_compute_the_same_pass():
    plan, speed = TimePlan((64, 64), 8, 64), measured(20_000)
    apart = dataclasses.replace(STREAMED, is_shared=False)
    kept = dataclasses.replace(apart, most_cached=math.inf)  # decoded at the start
    epoch = seconds_of(plan, speed, apart) - (seconds_of(plan, speed, kept) - 26_000 / 5000)
    assert epoch == pytest.approx(8 * (26_000 / 5000 - 406 * 64 / 20_000))  # decoding takes longer than training
    slow = dataclasses.replace(kept, most_cached_validation=math.inf)
    more = seconds_of(plan, speed, kept) - (seconds_of(plan, speed, slow) - 4_000 / 5000)
    assert more == pytest.approx(9 * (4_000 / 5000 - 63 * 64 / 40_000))  # likewise than evaluation


def test_the_scores_of_each_evaluation_are_counted():
    plan, scored = TimePlan((64, 64), 8, 64), dataclasses.replace(WORK, scores=2.5)
    assert seconds_of(plan, measured(100), scored) - seconds_of(plan, measured(100), WORK) == pytest.approx(9 * 2.5)


def test_a_vgg_rounds_its_maps_down_and_a_resnet_up():
    growth = {
        name: CostModel(name, "sgd", 1).image_cost((44, 44), 10**9)
        / CostModel(name, "sgd", 1).image_cost((36, 36), 10**9)
        for name in ("vgg16", "resnet34")
    }
    assert growth["resnet34"] < 1.2 < (44 / 36) ** 2 < growth["vgg16"] + 0.05


def test_a_compiled_plan_is_compiled_again_unless_programs_are_kept():
    plan, speed = TimePlan((64, 64), 8, 64), measured(100)
    new = seconds_of(plan, speed, WORK)
    assert new - seconds_of(plan, speed, WORK, plan) == pytest.approx(30)
    assert seconds_of(plan, speed, dataclasses.replace(WORK, keeps_programs=False), plan) == new


def test_steps_fit_into_memory():
    much = choose(candidates(), measured(5000), WORK, limit=14_400, elapsed=20)
    little = dataclasses.replace(WORK, free_memory=much.pixels * much.batch_size * 4000 / 2)
    plan = choose(candidates(), measured(5000), little, limit=14_400, elapsed=20)
    assert plan.pixels * plan.batch_size * 4000 <= little.free_memory
    smallest = choose(candidates(), measured(5000), dataclasses.replace(WORK, free_memory=1), limit=14_400, elapsed=20)
    assert (smallest.shape, smallest.batch_size) == ((32, 32), 16)


def test_a_guess_that_may_be_three_times_too_long_is_no_reason_to_refuse():
    assert choose(candidates(), measured(85), WORK, limit=300, elapsed=100).shape == (32, 32)
    with pytest.raises(UserError, match="an epoch"):
        choose(candidates(), measured(85), WORK, limit=60, elapsed=100)
    slow = measured(85)._replace(decode=600 / 26_000)  # decoding is measured, so that it is no guess
    with pytest.raises(UserError, match="an epoch"):
        choose(candidates(), slow, WORK, limit=300, elapsed=100)


def test_the_images_of_the_page_are_decoded_too():
    slow, plan = measured(100)._replace(decode=0.1), TimePlan((64, 64), 8, 64)
    shown = dataclasses.replace(WORK, shown=500)
    assert seconds_of(plan, slow, shown) - seconds_of(plan, slow, WORK) == pytest.approx(50)


def test_a_check_of_the_data_that_took_the_whole_limit_is_told():
    """It is kept, so that the same command has the time; fewer images are not what is needed."""
    checked = dataclasses.replace(WORK, reading=7150)
    sentence = r"time_limit is 30 min, but it took 2 h to read and check the data, .* run the same command again"
    with pytest.raises(UserError, match=sentence):
        choose(candidates(), measured(85), checked, limit=1800, elapsed=7200)
    with pytest.raises(UserError, match="but an epoch of the smallest images"):
        choose(candidates(), measured(85), WORK, limit=1800, elapsed=7200)


def test_neither_the_smallest_images_nor_the_fewest_epochs_are_chosen():
    plan = choose(candidates(), measured(85), WORK, limit=900, elapsed=30)
    assert 32 < plan.shape[0] < 80 and 2 <= plan.num_epochs <= 8


def test_more_time_is_expected_to_reach_a_lower_error():
    plans = [choose(candidates(), measured(85), WORK, limit=limit, elapsed=30) for limit in LIMITS]
    steps = [x.num_epochs * (WORK.num_images // x.batch_size) for x in plans]
    errors = [expected_error(x.pixels, n * x.batch_size, WORK.num_images, n) for x, n in zip(plans, steps, strict=True)]
    assert errors == sorted(errors, reverse=True) and 0 < errors[-1] < errors[0] < 0.5


@pytest.mark.parametrize(("optimizer", "least", "most"), [("sgd", 1.1, 1.4), ("muon", 1.8, 2.0)])
def test_a_step_of_muon_takes_nearly_as_long_for_half_of_the_images(optimizer, least, most):
    work, speed = dataclasses.replace(WORK, costs=CostModel("resnet34", optimizer, 1)), measured(100)

    def epoch(batch_size: int) -> float:
        long, short = (seconds_of(TimePlan((48, 48), epochs, batch_size), speed, work) for epochs in (101, 1))
        return (long - short) / 100 - 4000 * speed.evaluate * (48 / 64) ** 2

    assert least < epoch(32) / epoch(64) < most


def test_batches_are_smaller_where_there_would_be_few_steps():
    few = dataclasses.replace(WORK, num_images=3000, num_validation=300)
    plan = choose(candidates(batch_size=96, unit=8), measured(85), few, limit=300, elapsed=20)
    many = choose(candidates(batch_size=96, unit=8), measured(85), few, limit=7200, elapsed=20)
    assert SMALLEST_BATCH <= plan.batch_size < many.batch_size and many.num_epochs * 3000 // 96 > FEWEST_STEPS
    assert batch_sizes_of(96, 8)[0] == 96 and all(size % 8 == 0 for size in batch_sizes_of(96, 8))
    assert batch_sizes_of(8, 1) == [8]


@pytest.mark.parametrize(
    ("accumulate", "batch_norm"),
    [(1, "group"), (2, "global"), (4, "global"), (3, "group"), (1, "local"), (2, "local")],
)
def test_all_sizes_of_batches_can_be_trained(accumulate, batch_norm):
    fields = {"accumulate": accumulate, "batch_norm": batch_norm, "batch_norm_group_size": 8, "time_limit": "5m"}
    own = [(name, str(value)) for name, value in {**fields, "batch_size": 192}.items()]
    sizes = batch_sizes_of(192, batch_unit(accumulate, batch_norm, 8, num_devices=2))
    assert len(sizes) > 1
    for size in sizes:
        config = load_config("smoke", [*own, ("batch_size", str(size))])
        check_batch_size(config.batch_size, 2, config.accumulate, config.batch_norm)
        assert config.batch_size // accumulate % 2 == 0


def test_the_limit_chooses_more_epochs_than_the_warm_up():
    assert load_config("smoke", [("warmup_epochs", "100"), ("time_limit", "5m")]).warmup_epochs == 100
    with pytest.raises(UserError, match="warmup_epochs is 100"):
        load_config("smoke", [("warmup_epochs", "100")])


def test_a_time_that_is_too_short_is_refused_with_the_time_that_is_needed():
    with pytest.raises(UserError, match=r"time_limit is 60 s.* an epoch .*32 px.* \d min"):
        choose(candidates(), measured(85), WORK, limit=60, elapsed=20)
    with pytest.raises(UserError, match=r"3 epochs .* raise it, lower warmup_epochs"):
        choose(candidates(fewest_epochs=3), measured(85), WORK, limit=90, elapsed=20)
    slow, compiled = measured(100)._replace(compilation=2000), TimePlan((64, 64), 2, 64)
    with pytest.raises(UserError, match=r"2 epochs of images of 64 px would take .*: raise it, or use fewer"):
        choose(candidates(), slow, WORK, limit=300, elapsed=20, compiled=compiled)
    with pytest.raises(UserError, match="3 epochs"):  # of a plan that was timed, less is enough to refuse it
        choose(
            candidates(fewest_epochs=3), measured(85), WORK, limit=150, elapsed=20, compiled=TimePlan((32, 32), 3, 64)
        )


def test_a_compiled_plan_stays_if_it_still_suits():
    first = measured(85)
    plan = choose(candidates(), first, WORK, limit=900, elapsed=30)
    saved = first.compilation

    def second(factor: float) -> TimePlan:
        slower = first._replace(train=factor * first.train, evaluate=factor * first.evaluate)
        return choose(candidates(), slower, WORK, limit=900, elapsed=30 + saved, compiled=plan)

    assert second(1.0) == plan
    for factor in (0.5, 2.0):
        other = second(factor)
        slower = first._replace(train=factor * first.train, evaluate=factor * first.evaluate)
        assert other != plan and 900 - tolerance(900) < 30 + saved + seconds_of(other, slower, WORK, plan) < 900


def test_a_compiled_plan_leaves_time_for_delays_but_for_that_of_another_compilation():
    speed, plan = measured(85), choose(candidates(), measured(85), WORK, limit=2400, elapsed=30)
    end = seconds_of(plan, speed, WORK, plan)

    def second(ends_at: float) -> TimePlan:
        return choose(candidates(), speed, WORK, limit=2400, elapsed=ends_at - end, compiled=plan)

    assert second(2400 - 0.4 * 240 + 25) == plan  # 30 s of compilation would be the price of another one
    assert second(2400 - 0.4 * 240 + 35) != plan
    assert second(2400 - 0.9 * 240 + 5) == plan


def test_a_compiled_plan_that_is_a_little_short_gives_no_way_to_a_worse_one():
    speed, both = measured(100), dataclasses.replace(candidates(), shapes=[(32, 32), (52, 52)], batch_sizes=[64, 16])
    plan = TimePlan((52, 52), 3, 64)
    elapsed = 900 - 0.93 * 90 - seconds_of(plan, speed, WORK, plan)
    assert choose(both, speed, WORK, limit=900, elapsed=elapsed, compiled=plan) == plan


def test_only_the_epochs_change_where_that_is_about_as_good():
    """The time of other sizes is a guess, by what a ResNet-34 takes on a CPU."""
    speed, plan = measured(85), TimePlan((76, 76), 3, 64)
    other = choose(candidates(), speed, WORK, limit=7200, elapsed=30, compiled=plan)
    assert other.num_epochs > 3 and other._replace(num_epochs=3) == plan
    small = choose(candidates(), speed, WORK, limit=7200, elapsed=30, compiled=TimePlan((32, 32), 3, 64))
    assert max(small.shape) > 60


def test_two_epochs_that_end_at_half_of_the_learning_rate_are_avoided():
    """A plan of two epochs filled 15 minutes by small batches, which take longer, and was worse than small images."""
    times = {"limit": 900, "elapsed": 150, "compiled": TimePlan((64, 64), 2, 64)}
    by_step = choose(candidates(falls_by_epoch=False), measured(114), WORK, **times)
    by_epoch = choose(candidates(), measured(114), WORK, **times)
    assert (by_step.num_epochs, by_step.shape) == (2, (64, 64))
    assert by_epoch.num_epochs >= 3 and by_epoch.batch_size >= 32
    after_warm_up = choose(candidates(fewest_epochs=3, warmup_epochs=2), measured(114), WORK, **times)
    assert after_warm_up.num_epochs > by_epoch.num_epochs


def test_shapes_keep_the_aspect_ratio_and_fit_the_canvas():
    shapes = shapes_of((80, 60), 100 * 75, 32, None)
    assert (80, 60) in shapes and shapes == sorted(shapes)
    assert shapes[:4] == [(32, 32), (36, 32), (40, 32), (44, 33)]  # sides have at least 32 pixels
    assert all(math.isclose(height / width, 4 / 3, rel_tol=0.02) for height, width in shapes[3:])
    assert shapes_of((60, 80), 100 * 75, 32, None) == [(width, height) for height, width in shapes]
    assert min(map(min, shapes)) >= 32 and max(height * width for height, width in shapes) <= 100 * 75
    assert max(shapes_of((64, 64), 100**2, 32, (72, 72))) == (72, 72)
    assert (230, 230) in shapes_of((230, 230), 92**2, 32, None)  # the config's own size is never too large


@pytest.mark.long
def test_what_is_measured_becomes_the_fields_of_the_config(tiny_config, tmp_path, monkeypatch, capsys):
    measured = []

    def chosen(_: Candidates, times: Timings, *__: object, **___: object) -> TimePlan:
        measured.append(times)
        return TimePlan((32, 32), 2, 16)  # whose programs other tests compile too

    monkeypatch.setattr(time_limit, "choose", chosen)
    tiny_config.time_limit, tiny_config.num_epochs = "10s", 7
    tiny_config.schedule, tiny_config.learning_rate_decay = "exponential", 0.5
    dataset = load_dataset(tiny_config)
    planner = Planner(tiny_config, dataset, create_mesh(), Terminal(), time.monotonic(), 7.0, tmp_path)
    plan = {"image_size": 32, "num_epochs": 2, "batch_size": 16}
    assert planner.fields() == plan | {"learning_rate_decay": 0.5**6}  # as the last of 7 epochs has
    assert [x.plan.num_epochs for x in measured] == [7, 2]
    assert all(value > 0 for x in measured for value in x[1:])
    assert not list(checkpoints_path(tmp_path).iterdir())
    said = capsys.readouterr().out
    assert "Planned for 10s" in said and "32 px, 2 epochs, batches of 16" in said
    assert "Note: 7.0 s of it went into reading and checking the data" in said


def planner_of(config, workdir, *, began=None, reading=0.0) -> Planner:
    began = time.monotonic() if began is None else began
    return Planner(config, load_dataset(config), create_mesh(jax.devices()[:1]), Terminal(), began, reading, workdir)


def test_fewer_images_than_the_largest_batch_are_planned_in_smaller_ones(tiny_config, tmp_path):
    tiny_config.time_limit, tiny_config.batch_size = "5m", 512
    found = planner_of(tiny_config, tmp_path)._candidates()
    assert found.batch_sizes[0] == 160 and min(found.batch_sizes) >= SMALLEST_BATCH
    tiny_config.accumulate = 200
    with pytest.raises(UserError, match=r"accumulate=200 on 1 devices has 400 images, .* has only 160: lower"):
        planner_of(tiny_config, tmp_path)._candidates()
    tiny_config.time_limit = ""
    with pytest.raises(UserError, match="batch_size is 512, but the training split has only 160 images"):
        load_dataset(tiny_config)


def test_a_check_of_the_data_that_takes_the_whole_limit_is_told_before_anything_is_compiled(tiny_config, tmp_path):
    tiny_config.time_limit = "5m"
    planner = planner_of(tiny_config, tmp_path, began=time.monotonic() - 400, reading=390)
    with pytest.raises(UserError, match="it took 6 min to read and check the data"):
        planner.fields()
    assert not any(tmp_path.iterdir())


def test_a_cache_that_is_asked_for_has_to_hold_both_splits(tiny_config, tmp_path, monkeypatch):
    dataset = load_dataset(tiny_config)  # of 160 and 40 images
    splits = {"train": dataset.splits["validation"], "validation": dataset.splits["train"]}
    dataset = dataclasses.replace(dataset, splits=splits)
    planner = Planner(tiny_config, dataset, create_mesh(), Terminal(), time.monotonic(), 0.0, tmp_path)
    asked = []
    monkeypatch.setattr(time_limit, "cache_mode", lambda mode, size, mesh: asked.append(size) or mode)
    for mode in ("host", "auto"):
        tiny_config.data.cache = mode
        assert planner._cache_mode((32, 32)) == planner._cache_mode((32, 32), "validation") == mode
    assert [size // (32 * 32 * 3) for size in asked] == [200, 200, 40, 160]


def test_the_timed_checkpoint_has_an_optimizer_that_does_not_compress_to_nothing(tiny_config):
    state = create_program(tiny_config, TAXONOMY, create_mesh(), num_images=160).create_state()
    filled = time_limit._as_trained(state)
    for before, now in zip(*map(jax.tree.leaves, (state, filled)), strict=True):
        assert now.shape == before.shape and now.dtype == before.dtype and now.sharding == before.sharding
    moments = [x for x in jax.tree.leaves(filled.opt_state) if x.ndim]
    assert moments and all(np.unique(x).size > 0.9 * x.size for x in moments)


def test_small_images_save_less_time_than_pixels_since_a_step_costs_something_too():
    small, large = (CostModel("resnet34", "sgd", 1).image_cost((side, side), 32) for side in (32, 64))
    assert 0.25 < small / large < 0.5  # 204 and 81 images/s were measured with configs/best_catalogue.py


@pytest.mark.long
def test_a_run_is_planned_and_resumes(tiny_config, tmp_path, no_report):
    tiny_config.time_limit = "2m"
    lines = train_and_evaluate(tiny_config, tmp_path)
    kept = json.loads((tmp_path / "config.json").read_text())
    assert kept["time_limit"] == "2m" and kept["num_epochs"] == len(lines) > 1
    assert tiny_config.num_epochs == 2  # the caller's config stays
    assert train_and_evaluate(tiny_config, tmp_path) == lines


@pytest.fixture
def planned_run(finished_run, tmp_path) -> Path:
    """Returns a finished run whose config.json says that its plan was chosen for 20 seconds."""
    shutil.copytree(finished_run, tmp_path / "planned")
    path = config_path(tmp_path / "planned")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"time_limit": "20s"}))
    return tmp_path / "planned"


def test_a_run_keeps_its_plan(tiny_config, planned_run, capsys):
    lines = [json.loads(line) for line in metrics_path(planned_run).read_text().splitlines()]
    for field, value in {"time_limit": "20s", "image_size": 64, "num_epochs": 9, "batch_size": 8}.items():
        tiny_config[field] = value
    assert train_and_evaluate(tiny_config, planned_run) == lines
    said = capsys.readouterr().out
    assert "planned for time_limit '20s', and keeps its plan (image_size 32, num_epochs 2, batch_size 16)." in said
    assert (
        f"start it with --config {config_path(planned_run)} --config.time_limit= and the field; to change image" in said
    )
    assert train_and_evaluate(load_config(str(config_path(planned_run))), planned_run) == lines
    kept = json.loads(config_path(planned_run).read_text())
    config_path(planned_run).write_text(json.dumps(kept | {"batch_size": 12}))
    with pytest.raises(UserError, match=r"batch_size is 12, but must be a multiple of the 8 .*--config\.time_limit="):
        train_and_evaluate(tiny_config, planned_run)
    assert [kept[x] for x in ("time_limit", "image_size", "num_epochs", "batch_size")] == ["20s", 32, 2, 16]


@pytest.mark.usefixtures("no_report")
def test_a_run_that_has_saved_nothing_is_planned_anew(tiny_config, planned_run, monkeypatch):
    """Its data may have grown since, or the machine is another one."""
    shutil.rmtree(planned_run / "checkpoints")
    metrics_path(planned_run).unlink()
    plan, asked = {"image_size": 32, "num_epochs": 2, "batch_size": 16}, []  # whose programs other tests compile too
    monkeypatch.setattr(Planner, "fields", lambda self: asked.append(self.config.time_limit) or plan)
    for field, value in {"time_limit": "40s", "image_size": 64, "num_epochs": 9, "batch_size": 8}.items():
        tiny_config[field] = value
    assert len(train_and_evaluate(tiny_config, planned_run)) == 2 and asked == ["40s"]
    kept = json.loads(config_path(planned_run).read_text())
    assert {name: kept[name] for name in plan} == plan and kept["time_limit"] == "40s"


def test_another_limit_is_refused(tiny_config, planned_run, finished_run):
    tiny_config.time_limit = "40s"
    with pytest.raises(UserError, match=r"time_limit is '40s'.*'20s'"):
        train_and_evaluate(tiny_config, planned_run)
    with pytest.raises(UserError, match=r"time_limit is '40s'.* without one"):
        train_and_evaluate(tiny_config, finished_run)
    tiny_config.time_limit, tiny_config.image_size = "", 64
    with pytest.raises(UserError, match="image_size is 64"):  # an ordinary run, whose fields are compared
        train_and_evaluate(tiny_config, planned_run)

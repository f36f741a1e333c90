"""Runs that differ only in the seed: which belong together, and how far their scores lie apart."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from fashion_jax.config.combinations import LEVEL_METRICS
from fashion_jax.config.loading import flatten, load_config
from fashion_jax.report import comparison
from fashion_jax.report.rendering import percent
from fashion_jax.report.text_tables import seed_table
from fashion_jax.scoring.assessment import Assessment, LevelAssessment
from fashion_jax.scoring.seeds import over_seeds, seed_groups, spread
from tests.pages import as_evaluated, make_contents, read_page


def config(**fields):
    return load_config("configs/mtl.py", [(name, str(value)) for name, value in fields.items()])


def flat(**fields):
    return flatten(config(**fields))


def test_runs_that_differ_in_more_than_the_seed_are_no_group():
    configs = [
        flat(seed=0),
        flat(seed=1),
        flat(seed=2, num_epochs=9),
        flat(seed=1),
        flat(seed=3, num_epochs=9),
    ]
    ids = [["a", "b"]] * 5
    assert seed_groups(configs, ids) == [[0, 1], [2, 4]]
    assert seed_groups(configs[1:4], ids[1:4]) == []


def test_named_splits_are_the_same_whatever_the_seed():
    """Runs that were measured on other images differ in their data, then."""
    splits = {"data.splits": {"train": "train.txt", "validation": "validation.txt"}}
    configs = [flat(seed=seed) | splits for seed in range(3)]
    assert seed_groups(configs, [["a", "b"], ["a", "b"], ["a"]]) == [[0, 1]]


def test_a_seed_that_divides_the_images_makes_no_other_data():
    configs = [flat(seed=seed) for seed in range(3)]
    configs[2]["data.path"] = "elsewhere"
    assert seed_groups(configs, [["a"], ["b"], ["c"]]) == [[0, 1]]
    found = over_seeds((flat(seed=i), [str(i)], assessed(dict.fromkeys(LEVEL_METRICS, 0.5))) for i in range(2))
    assert [group.same_images for group in found] == [False]
    assert "divides the images" in seed_table([SimpleNamespace(workdir="a", over_seeds=found[0])] * 2)


def test_where_the_data_lie_does_not_matter():
    places = ((0, "/a", "15m"), (1, "/b", ""))  # the second trains the plan of the first
    configs = [
        flat(seed=seed) | {"data.cache_dir": x, "data.path": x, "time_limit": limit} for seed, x, limit in places
    ]
    assert seed_groups(configs, [["a"]] * 2) == [[0, 1]]


def assessed(scores):
    """An assessment of one level, sub, with these scores."""
    return Assessment({"sub": LevelAssessment(scores, {}, {}, None, None)}, {})


def test_mean_and_sample_standard_deviation():
    scores = [{"loss": x, "accuracy": x, "macro_f1": 2 * x, "auroc": 1.0} for x in (0.1, 0.2, 0.6)]
    (group,) = over_seeds((flat(seed=5 + i), ["a"], assessed(x)) for i, x in enumerate(scores))
    assert (group.runs, group.seeds) == ([0, 1, 2], [5, 6, 7])
    found = group.levels["sub"]
    assert found["accuracy"] == pytest.approx({"mean": 0.3, "std": 0.07**0.5})
    assert found["macro_f1"] == pytest.approx({"mean": 0.6, "std": 2 * 0.07**0.5})
    assert found["auroc"] == {"mean": 1.0, "std": 0.0}
    runs = [SimpleNamespace(workdir=name, over_seeds=group if name == "a" else None) for name in "abc"]
    assert group.same_images and "divides the images" not in seed_table(runs)
    line = "5, 6, 7     a, b, c  sub    0.3000 ± 0.2646  30.00% ± 26.46  0.6000 ± 0.5292  1.0000 ± 0.0000"
    assert line in seed_table(runs)


def test_a_score_that_is_undefined_stays_so():
    scores = [{"loss": 1.0, "accuracy": 0.5, "macro_f1": 0.5, "auroc": x} for x in (float("nan"), 0.9)]
    found = spread(scores)
    assert np.isnan([found["auroc"]["mean"], found["auroc"]["std"]]).all()
    assert found["accuracy"] == {"mean": 0.5, "std": 0.0}


def test_the_page_tells_it_of_such_runs_only(tmp_path):
    runs = [make_contents(tmp_path, classes=5, copies=20, right=right) for right in (False, True)]
    for seeds in ((0, 0), (0, 1)):
        runs = [dataclasses.replace(run, config=config(seed=seed)) for run, seed in zip(runs, seeds, strict=True)]
        comparison.write_comparison(tmp_path / "index.html", as_evaluated(runs))
        page = read_page(tmp_path / "index.html")
        assert ("compare_seeds" in [a["id"] for a in page.of("section")]) == (seeds == (0, 1))
    accuracy = [run.assessment.levels["sub"].scores["accuracy"] for run in runs]
    assert percent(sum(accuracy) / 2) in page.text and "A, B" in page.text

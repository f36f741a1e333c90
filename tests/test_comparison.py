"""The page that compares runs: which is better, whether the difference is significant, for runs of any kind."""

import copy
import dataclasses
import re

import numpy as np
import pytest

from fashion_jax.data.dataset import Split
from fashion_jax.report import comparison
from fashion_jax.scoring.assessment import assess
from fashion_jax.workdir.files import train_counts
from tests.pages import EVIL, as_evaluated, make_contents, read_page


def with_log_probs(contents, log_probs):
    counts = train_counts(contents.data, contents.taxonomy)
    assessment = assess(log_probs, contents.split.labels, contents.taxonomy, counts)
    return dataclasses.replace(contents, log_probs=log_probs, assessment=assessment, temperatures={})


@pytest.fixture
def runs(tmp_path):
    """A run with a quarter of its images wrong, and one with none."""
    worse, better = (make_contents(tmp_path, classes=5, copies=20, right=right) for right in (False, True))
    return [worse, dataclasses.replace(with_log_probs(better, better.log_probs), cost={"parameters": 2_500_000})]


def page_of(tmp_path, runs):
    comparison.write_comparison(tmp_path / "index.html", as_evaluated(runs))
    return read_page(tmp_path / "index.html")


def test_the_better_run_is_told(tmp_path, runs):
    page = page_of(tmp_path, runs)
    sections = [section.name for section in comparison.SECTIONS if section.name != "compare_seeds"]
    assert [a["id"] for a in page.of("section")] == sections
    assert page.text.count("B is better") == 3 and "not significant" not in page.text
    assert page_of(tmp_path, [*reversed(runs)]).text.count("A is better") == 3
    assert EVIL not in page.source and EVIL in page.text and "2.50" in page.text
    assert not re.search(r"\bnan\b|None|inf\b", page.text)


def test_a_run_against_itself_is_equal(tmp_path, runs):
    page = page_of(tmp_path, [runs[0], runs[0]])
    assert page.text.count("not significant") == 3 and page.text.count("★") == 1  # in the legend
    assert {row["change"][0] for level in comparison.classes([runs[0]] * 2)["levels"] for row in level["rows"]} == {0.0}


def test_images_are_paired_by_their_ids(runs):
    first, second = runs
    order = np.random.default_rng(0).permutation(len(second.split))[:50]
    labels = {level: x[order] for level, x in second.split.labels.items()}
    split = Split([second.split.ids[i] for i in order], [second.split.files[i] for i in order], labels)
    shuffled = dataclasses.replace(second, split=split, log_probs={k: x[order] for k, x in second.log_probs.items()})
    ((pair),) = comparison.tests(as_evaluated([first, shuffled]))["pairs"]
    known, wrong = labels["sub"] >= 0, first.log_probs["sub"].argmax(1)[order] != labels["sub"]
    (sub,) = [row for row in pair["rows"] if row["name"] == "sub"]
    assert pair["images"] == 50 and (sub["only_a"], sub["only_b"]) == (0, (known & wrong).sum())
    assert sub["difference"] == pytest.approx((known & wrong).sum() / known.sum())


def test_classes_that_changed_most_come_first(runs):
    for level in comparison.classes(runs)["levels"]:
        changes = [abs(row["change"][0]) for row in level["rows"]]
        assert changes == sorted(changes, reverse=True)


def test_runs_of_other_classes_and_levels_can_stand_side_by_side(tmp_path, runs):
    other = make_contents(tmp_path, levels=("sub",), classes=7, epochs=5)
    page = page_of(tmp_path, [*runs, other])
    assert "C has other classes than the first run." in page.text and "C against A" in page.text
    assert "compare_classes" not in [a["id"] for a in page.of("section")]


def test_none_is_the_best_at_a_level_where_the_classes_differ(tmp_path, runs):
    other = make_contents(tmp_path, levels=("main", "sub", "type"), classes=5, copies=20)
    assert other.taxonomy.classes["sub"] != runs[0].taxonomy.classes["sub"]
    assert list(other.split.ids) == list(runs[0].split.ids)
    marked = {
        x["level"]: any(cell[2] for row in x["rows"] for cell in row["cells"])
        for x in comparison.scores([runs[0], other])["tables"]
    }
    assert not marked["sub"]
    assert "different classes at this level" in page_of(tmp_path, [runs[0], other]).text


def test_none_is_the_best_for_rare_classes_that_are_other_ones(tmp_path, runs):
    def marked() -> set[str]:
        tables = comparison.scores(runs)["tables"]
        return {row["metric"].key for x in tables for row in x["rows"] if any(cell[2] for cell in row["cells"])}

    assert {"accuracy", "tail"} <= marked() and "none is marked as the best there" not in page_of(tmp_path, runs).text
    data = copy.deepcopy(runs[1].data)
    classes = data["splits"]["train"]["classes"]["sub"]
    classes[next(iter(classes))] += 1
    runs[1] = dataclasses.replace(runs[1], data=data)
    assert "accuracy" in marked() and "none is marked as the best there" in page_of(tmp_path, runs).text
    tables = {x["level"]: x["rows"] for x in comparison.scores(runs)["tables"]}
    assert not any(cell[2] for row in tables["sub"] if row["metric"].key == "tail" for cell in row["cells"])


def test_runs_are_held_against_each_other_at_the_levels_that_both_have(tmp_path, runs):
    deeper = make_contents(tmp_path, levels=("main", "sub", "type"), classes=5, copies=20)
    for pair in ([runs[0], deeper], [deeper, runs[0]]):
        (found,) = comparison.tests(as_evaluated(pair))["pairs"]
        assert [row["name"] for row in found["rows"]] == ["main"]
        assert [level["level"] for level in comparison.classes(pair)["levels"]] == ["main"]
        assert {"compare_tests", "compare_classes"} < {a["id"] for a in page_of(tmp_path, pair).of("section")}


def test_a_level_that_a_run_lacks_has_no_scores_there(tmp_path, runs):
    alone = make_contents(tmp_path, levels=("main",), classes=5, copies=20)
    tables = {x["level"]: x["rows"] for x in comparison.scores([runs[0], alone, runs[1]])["tables"]}
    assert list(tables) == ["sub", "main"]
    (accuracy,) = [row["cells"] for row in tables["sub"] if row["metric"].key == "accuracy"]
    assert accuracy[1] == ("–", "", False) and accuracy[2][2] and "–" not in (accuracy[0][0], accuracy[2][0])
    assert [len(steadiness) for _, _, steadiness in comparison.curves([runs[0], alone, runs[1]])["levels"]] == [3, 2]
    page_of(tmp_path, [runs[0], alone, runs[1]])


def test_settings_that_differ_are_told(runs):
    runs[1].config.augment = "medium"
    rows = dict(comparison.settings(runs)["rows"])
    assert rows["augment"] == [repr(runs[0].config.augment), "'medium'"] and set(rows) == {
        "augment",
        "commit of the code",
    }


def test_letters():
    assert [comparison.letter(i) for i in (0, 1, 25, 26)] == ["A", "B", "Z", "A2"]

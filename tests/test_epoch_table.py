"""The rows of the epochs stay within 100 columns and under one another."""

import math

import pytest

from fashion_jax.training.epoch_table import EpochTable


def line(epoch, levels, **values):
    """Returns an epoch's line of metrics.jsonl."""
    found = {"epoch": epoch, "train/loss": 3.7, "validation/loss": 4.5}
    for level in levels:
        found |= {f"validation/{level}/accuracy": 0.3767, f"validation/{level}/macro_f1": 0.0813}
    return found | values | {"timing": {"images_per_second": 474.3, "train_seconds": 65.2}}


def rows(levels, *lines, columns=100, num_epochs=12):
    """Returns the lines of a table, the two of its header first."""
    table = EpochTable(levels, num_epochs, columns)
    return "\n".join(table.rows(line, is_best=i == 0) for i, line in enumerate(lines)).splitlines()


def test_a_row_has_losses_accuracies_macro_f1_speed_and_time():
    _, names, row = rows(["main", "sub"], line(3, ["main", "sub"]))
    assert names.split() == ["train", "valid.", "main", "sub", "sub", "images/s", "time"]
    expected = ["epoch", "3/12", "3.7000", "4.5000", "37.67%", "37.67%", "0.0813", "474", "1:05", "best"]
    assert row.split() == expected and row.startswith("epoch  3/12")


def test_numbers_stay_under_one_another():
    levels = ["main", "sub"]
    large = {"train/loss": 12345.6, "validation/main/accuracy": 1.0, "validation/loss": math.nan}
    _, names, *found = rows(levels, line(9, levels), line(10, levels, **large), line(11, levels))
    assert len({row.index("0.0813") for row in found}) == 1
    assert {len(row.removesuffix("  best")) for row in found} == {len(names)}
    assert "–" in found[1] and "nan" not in found[1] and "1.2e+04" in found[1]
    assert [row.endswith("best") for row in found] == [True, False, False]


@pytest.mark.parametrize(("accuracy", "cell"), [(25_999 / 26_000, "99.99%"), (1.0, "100.0%"), (0.5, "50.00%")])
def test_only_all_are_called_100_percent(accuracy, cell):
    _, _, row = rows(["sub"], line(3, ["sub"], **{"validation/sub/accuracy": accuracy}))
    assert cell in row.split()


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize(
    "levels",
    [
        ["sub"],
        ["masterCategory", "subCategory", "articleType"],
        ["a_long_name_of_a_level_of_forty_letters", "another_long_name_of_a_level"],
        [f"level_{i}" for i in range(12)],
    ],
)
def test_rows_fit_and_keep_the_finest_level(levels, columns):
    table = EpochTable(levels, 100, columns)
    found = table.rows(line(100, levels), is_best=True).splitlines()
    assert max(map(len, found)) <= columns
    shown = [level for level in levels if level not in table.unshown]
    assert shown and shown == levels[-len(shown) :]
    assert found[1].split()[1 + len(shown)].startswith(levels[-1][:3])


def test_the_header_is_repeated_after_some_rows():
    found = rows(["sub"], *(line(epoch, ["sub"]) for epoch in range(1, 31)), num_epochs=30)
    assert sum("accuracy" in row for row in found) == 2


def test_an_epoch_whose_times_are_lost_has_dashes():
    lost = line(1, ["sub"]) | {"timing": {}}
    assert rows(["sub"], lost)[-1].split()[-3:] == ["–", "–", "best"]

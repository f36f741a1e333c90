"""The comparison of the records of a run's processes."""

from fashion_jax.training.agreement import differences

RECORD = {"learning_rate": 0.01, "data": "ab", "--workdir is shared": True}


def compared(*records):
    return differences([*records])


def test_equal_records_agree():
    assert compared(RECORD, RECORD, RECORD) == ""


def test_who_differs_in_what_is_told():
    told = compared(RECORD, RECORD, RECORD | {"learning_rate": 0.02, "data": None})
    assert told.startswith("Process 2 differs from process 0: its learning_rate is 0.02 instead of 0.01; data is None")


def test_a_directory_of_one_machine_is_told():
    assert "Process 1 does not see the files" in compared(RECORD, RECORD | {"--workdir is shared": False})


def test_many_differences_are_counted():
    first, second = ({f"field{i}": value for i in range(9)} | {"--workdir is shared": True} for value in (1, 2))
    assert "field2 is 2 instead of 1; and 6 more. Start all processes" in compared(first, second)

import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from fashion_jax.config.loading import load_config
from fashion_jax.step.learning_rate import learning_rates
from tests.parity import inputs


@pytest.fixture(scope="module")
def reference():
    with np.load(inputs.REFERENCE) as arrays:
        return dict(arrays)


def with_schedule(name, num_epochs, **fields):
    config = default.get_config()
    config.update(learning_rate=inputs.LEARNING_RATE, num_epochs=num_epochs, batch_size=4, **fields)
    if name == "warmup":
        config.update(schedule="cosine", warmup_epochs=float(inputs.WARMUP_EPOCHS))
    else:
        config.schedule = name
    if name == "exponential":
        config.learning_rate_decay = inputs.LEARNING_RATE_DECAY
    return config


@pytest.mark.parametrize("num_epochs", inputs.SCHEDULE_EPOCHS)
@pytest.mark.parametrize("schedule", inputs.SCHEDULES)
def test_learning_rates_equal_pytorch(reference, schedule, num_epochs):
    found = learning_rates(with_schedule(schedule, num_epochs), 16).values
    np.testing.assert_allclose(found, reference[f"{schedule}/{num_epochs}"], rtol=0, atol=1e-14)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_stepped_per_step_they_are_pytorchs_over_all_steps(reference, schedule):
    found = learning_rates(with_schedule(schedule, 2, schedule_per="step"), 16).values
    np.testing.assert_allclose(found, reference[f"{schedule}/8"], rtol=0, atol=1e-14)


def test_an_exponential_schedule_decays_as_much_per_epoch_if_stepped_per_step():
    found = learning_rates(with_schedule("exponential", 3, schedule_per="step"), 16).values
    np.testing.assert_allclose(found[::4], learning_rates(with_schedule("exponential", 3), 16).values)
    assert found[2] == pytest.approx(inputs.LEARNING_RATE * inputs.LEARNING_RATE_DECAY**0.5)


@pytest.mark.parametrize("schedule", ["warmup", "exponential", "one_cycle", "constant"])
def test_the_learning_rate_may_grow_with_the_batch(schedule):
    plain = learning_rates(with_schedule(schedule, 8), 64)
    scaled = learning_rates(with_schedule(schedule, 8, learning_rate_batch_size=16), 64)  # for batches of 4
    np.testing.assert_array_equal(scaled.values, plain.values / 4)
    assert plain.highest == inputs.LEARNING_RATE == 4 * scaled.highest


def test_the_recipe_for_large_batches_scales_that_for_64_images():
    rates = {
        size: learning_rates(load_config("configs/large_batch.py", [("batch_size", str(size))]), 26_563)
        for size in (256, 4096)
    }
    assert {size: rate.highest for size, rate in rates.items()} == {256: pytest.approx(0.04), 4096: pytest.approx(0.64)}
    # two of eight epochs of six steps are the warm-up
    assert np.argmax(rates[4096].values) == 12 and len(rates[4096].values) == 48


def test_resumed_with_another_batch_size_it_follows_from_the_same_image_on():
    fields = {"schedule_per": "step", "learning_rate_batch_size": 4, "warmup_epochs": 2.0}
    before = learning_rates(with_schedule("constant", 4, **fields), 64)
    config = with_schedule("constant", 4, **fields)
    config.batch_size = 8
    after = learning_rates(config, 64)
    halfway = jnp.int32(1), jnp.int32(32)  # three quarters of the warm-up
    assert float(before.at(*halfway)) == pytest.approx(0.75 * before.highest, rel=0.05)
    assert float(after.at(*halfway)) == pytest.approx(0.75 * after.highest, rel=0.05)
    assert after.highest == 2 * before.highest


def test_a_warm_up_may_be_a_part_of_an_epoch_and_its_peak_that_of_one_cycle():
    found = learning_rates(with_schedule("constant", 3, schedule_per="step", warmup_epochs=0.75), 16).values
    np.testing.assert_allclose(found, inputs.LEARNING_RATE * np.asarray([1 / 4, 2 / 4, 3 / 4] + 9 * [1]))
    peak = np.argmax(learning_rates(with_schedule("one_cycle", 10, warmup_epochs=5.0), 16).values)
    assert peak == 4
    for warmup in (1.0, 0.3):  # a peak at the first unit, for 0.3 of an epoch of 4 steps too
        found = learning_rates(with_schedule("one_cycle", 3, schedule_per="step", warmup_epochs=warmup / 4), 16).values
        assert np.argmax(found) == 0 and found[0] == inputs.LEARNING_RATE


@pytest.mark.parametrize("schedule_per", ["epoch", "step"])
def test_the_step_looks_up_its_position(schedule_per):
    config = with_schedule("warmup", 5, schedule_per=schedule_per)
    rates = learning_rates(config, 14)  # three batches of 4, and two images left over
    for epoch in range(5):
        for step in range(3):
            found = rates.at(jnp.int32(epoch), jnp.int32(4 * step))
            expected = rates.values[epoch if schedule_per == "epoch" else 3 * epoch + step]
            assert float(found) == pytest.approx(expected, rel=1e-6)
            assert rates.of(epoch, 4 * step) == pytest.approx(expected)

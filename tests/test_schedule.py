import jax.numpy as jnp
import pytest

from configs import default
from fashion_jax.step.learning_rate import learning_rates
from fashion_jax.training.schedule import Schedule
from fashion_jax.workdir.position import Position, epoch_ends


def schedule_at(position: Position, num_images: int, batch_size: int, num_epochs: int) -> Schedule:
    schedule = Schedule(num_images, batch_size, num_epochs, every_steps=500)
    schedule.position = position
    schedule.epoch_ends = epoch_ends(position, num_images, batch_size, num_epochs)
    return schedule


@pytest.mark.parametrize("position", [Position(0, 0, 0), Position(3, 0, 30), Position(12, 1, 30), Position(10, 1, 0)])
def test_the_learning_rate_that_is_logged_is_that_of_the_step(position):
    """The images of the first epoch, or of the part of one, were taken in batches of 10, and all others of 16."""
    config = default.get_config()
    config.update(schedule_per="step", num_epochs=3, batch_size=16)
    rates, schedule = learning_rates(config, 100), schedule_at(position, 100, 16, 3)
    (step, epoch, seen), last = position, max(schedule.epoch_ends)
    while step < last:
        step += 1
        applied = rates.at(jnp.int32(epoch), jnp.int32(seen))
        assert rates.of(schedule.epoch_of(step) - 1, schedule.seen_before(step)) == pytest.approx(float(applied))
        seen += 16
        if 100 - seen < 16:
            epoch, seen = epoch + 1, 0
    assert epoch == 3


@pytest.mark.parametrize(("num_images", "every"), [(1000, 7), (1000, 500), (70, 3), (330, 33)])
def test_no_row_of_steps_has_more_scheduled_ones_than_are_expected(num_images, every):
    schedule = Schedule(num_images, 10, 12, every)
    scheduled = [schedule.is_scheduled(step) for step in range(1, schedule.num_steps + 1)]
    for count in (0, 1, 5, 20, 50):
        most = max(sum(scheduled[i : i + count]) for i in range(len(scheduled) - count + 1))
        assert most <= schedule.most_scheduled(count)
    assert Schedule(100_000, 10, 12, 100).most_scheduled(2000) == 21

"""Checkpoints that are damaged, of another model, on other devices, or do not fit on the disk."""

import json
import math
import os
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import multihost_utils

from fashion_jax.devices.mesh import create_mesh, fetch, put_batch
from fashion_jax.errors import RunError, UserError
from fashion_jax.step.program import create_program
from fashion_jax.workdir.checkpoints import restoring
from fashion_jax.workdir.checkpoints import store as checkpoint
from fashion_jax.workdir.checkpoints import writer as checkpoint_writer
from fashion_jax.workdir.checkpoints.digests import Unusable, digests_of
from fashion_jax.workdir.checkpoints.step_folders import has_step
from fashion_jax.workdir.checkpoints.store import Checkpoints, SavePlan
from fashion_jax.workdir.checkpoints.writer import CheckpointWriter, check_complete
from fashion_jax.workdir.open_directory import OpenDirectory
from tests.steps import TAXONOMY, random_batch


def small_state(value: float = 1.0) -> dict:
    return {"params": {"w": jnp.full((2, 3), value, jnp.float32)}, "step": jnp.int32(value)}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def saved(tmp_path, said) -> Checkpoints:
    """The steps 1, 2 and 3, all kept."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3, say=said.append)
    for step in (1, 2, 3):
        checkpoints.save_now(step, small_state(step))
    return checkpoints


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda step: shutil.rmtree(step / "state"), ""),
        (lambda step: shutil.rmtree(step / "digests"), "its digests cannot be read"),
        (lambda step: (step / "digests" / "metadata").write_text("{}"), "its digests cannot be read"),
        (
            lambda step: (step / "digests" / "metadata").write_text('{"arrays": {}, "digest": ""}'),
            "digests are damaged",
        ),
        (lambda step: [os.truncate(p, 10) for p in (step / "state").rglob("*") if p.is_file()], ""),
        (lambda step: (shutil.rmtree(step), step.mkdir()), "its digests cannot be read"),
        (lambda step: (shutil.rmtree(step), step.write_text("x")), "it is a file, not a folder"),
        (lambda step: (shutil.rmtree(step), step.symlink_to("2")), "it is a link, not a folder"),
        (lambda step: (shutil.rmtree(step), step.symlink_to("nowhere")), "it is a link, not a folder"),
    ],
)
def test_a_damaged_step_is_named_and_set_aside(saved, said, tmp_path, harm, reason):
    harm(tmp_path / "checkpoints" / "3")
    step, state = saved.restore_latest(small_state())
    assert step == 2 and float(state["params"]["w"][0, 0]) == 2
    assert len(said) == 1 and said[0].startswith("The checkpoint of step 3 in ") and reason in said[0]
    assert "\n" not in said[0]
    assert saved.steps() == [1, 2]
    saved.save_now(3, small_state(3))
    assert saved.restore_latest(small_state())[0] == 3


def test_damaged_metadata_and_stray_files_do_no_harm(saved, said, tmp_path):
    folder = tmp_path / "checkpoints"
    (folder / "3" / "_CHECKPOINT_METADATA").write_bytes(b"\xff{")
    (folder / "7.orbax-checkpoint-tmp").mkdir()
    (folder / "notes").write_text("x")
    saved.close()
    assert saved.restore_latest(small_state())[0] == 3 and not said
    saved.save_now(4, small_state(4))
    assert saved.steps() == [2, 3, 4] and not (folder / "7.orbax-checkpoint-tmp").exists()


def test_the_arrays_of_another_model_are_named_and_nothing_is_set_aside(saved, tmp_path):
    other = {"params": {"w": jnp.zeros((2, 4))}, "step": jnp.int32(0)}
    with pytest.raises(UserError, match=r"params/w is float32\[2,4\] in the model .* has float32\[2,3\]"):
        saved.restore_latest(other)
    with pytest.raises(UserError, match=r"params/v is float32\[1\] in the model .* has nothing there"):
        saved.restore_latest({"params": {"v": jnp.zeros(1)}})
    assert saved.steps() == [1, 2, 3]


def test_a_part_of_the_state_can_be_restored_read_only(saved, said, tmp_path):
    shutil.rmtree(tmp_path / "checkpoints" / "3" / "state")
    reader = Checkpoints(tmp_path / "checkpoints", keep=1, read_only=True, say=said.append)
    step, part = reader.restore_latest({"params": {"w": jnp.zeros((2, 3))}})
    assert step == 2 and part.keys() == {"params"}
    assert reader.steps() == [1, 2, 3], "nothing is moved under the feet of a training"


def test_latest_best_and_scheduled_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1, plan=SavePlan(lambda step: step % 2 == 0))
    checkpoints.set_scores({1: 0.9, 2: 0.8, 3: math.nan, 4: math.inf})
    for step in (1, 2, 3, 4, 5):
        checkpoints.save_now(step, small_state(step))
    assert checkpoints.steps() == [1, 4, 5] and checkpoints.best_step == 1
    checkpoints.discard_after(4)
    assert checkpoints.steps() == [1, 4]
    checkpoints.save_now(5, small_state(5))
    shutil.rmtree(tmp_path / "checkpoints" / "1" / "state")
    assert checkpoints.restore_best(small_state())[0] == 5, "the latest, where none that has a score is left"


def test_a_full_disk_is_told_at_once_and_tried_again(saved, said, monkeypatch):
    free = os.statvfs(".")
    full = os.statvfs_result([*free[:4], 0, *free[5:]])
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.os, "statvfs", lambda path: full)
        saved.save(4, small_state(4))
        assert "Saving a checkpoint failed (0 MiB are free in" in said[0]
        assert not saved.is_retry_due()
        patched.setattr(checkpoint.time, "monotonic", lambda: 10**9)
        assert saved.is_retry_due()
    saved.save_now(5, small_state(5))
    assert saved.steps() == [2, 3, 5]
    monkeypatch.setattr(checkpoint, "_PAUSES", (0, 0))
    monkeypatch.setattr(checkpoint.os, "statvfs", lambda path: full)
    with pytest.raises(RunError, match="3 times in a row"):
        saved.save_now(6, small_state(6))
    assert saved.restore_latest(small_state())[0] == 5


def test_a_save_that_fails_in_the_background_is_told(saved, said, tmp_path, monkeypatch):
    """The failure is reported without waiting for the next save."""
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_writer.ocp.AsyncCheckpointer, "wait_until_finished", _fail)
        saved.save(4, small_state(4))
        saved.steps()  # waits
        assert not saved.is_retry_due()
    assert said == [
        "Saving a checkpoint failed (disk on fire). Earlier checkpoints are intact, and the save will be tried again."
    ]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: 10**9)
    assert saved.is_retry_due()


def test_old_checkpoints_that_cannot_be_removed_do_not_stop_the_run(saved, said, tmp_path, monkeypatch):
    def fail(path):
        raise OSError("busy")

    monkeypatch.setattr(checkpoint_writer.shutil, "rmtree", fail)
    saved.save_now(4, small_state(4))
    saved.save_now(4, small_state(4))
    assert saved.steps() == [2, 3, 4] and not saved.is_retry_due()
    assert said == [f"Old checkpoints in {tmp_path / 'checkpoints'} cannot be removed (busy)."]


def _spoils_digests(state: Path) -> None:
    path = state.parent / "digests" / "metadata"
    path.write_text(path.read_text().replace("sha256", "sha257").replace(" ", "  ", 1))


def _largest_file(state: Path) -> Path:
    return max((path for path in state.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda state: (state / "manifest.ocdbt").unlink(), "manifest.ocdbt, the index of its arrays, is missing"),
        (lambda state: shutil.rmtree(state / "ocdbt.process_0"), "No such file"),
        (lambda state: os.truncate(_largest_file(state), 1000), "is too short"),
        (lambda state: (state.parent / "digests" / "metadata").write_text("{}"), "its digests are not those"),
        (lambda state: shutil.rmtree(state.parent / "digests"), "No such file"),
    ],
)
def test_a_save_that_is_not_complete_is_a_failed_save(tmp_path, said, monkeypatch, harm, reason):
    """The failure is reported and the save repeated; until then it is neither the latest nor the best step."""
    monkeypatch.setattr(checkpoint, "_PAUSES", (0, 0))
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1, say=said.append)
    checkpoints.set_scores({2: 1.0})
    state = small_state() | {"large": jax.random.uniform(jax.random.key(0), (100, 100))}
    checkpoints.save_now(1, state)
    real, harmed = checkpoint_writer.ocp.AsyncCheckpointer.wait_until_finished, []

    def harm_once(self):
        real(self)
        if not harmed and (tmp_path / "checkpoints" / "2").exists():
            harmed.append(harm(tmp_path / "checkpoints" / "2" / "state"))

    monkeypatch.setattr(checkpoint_writer.ocp.AsyncCheckpointer, "wait_until_finished", harm_once)
    checkpoints.save(2, state)
    assert checkpoints.steps() == [1] and checkpoints.best_step == 1 and harmed
    assert checkpoints.is_retry_due()
    assert len(said) == 1 and said[0].startswith("Saving a checkpoint failed (") and reason in said[0]
    checkpoints.save_now(2, state)
    assert checkpoints.steps() == [2] and len(said) == 1
    assert os.listdir(tmp_path / "checkpoints") == ["2"]


def test_arrays_of_every_kind_are_found_after_a_save(tmp_path):
    """The check of a save must not take a good one for a bad one."""
    kinds = ("bool", "int8", "uint8", "int32", "uint32", "float16", "float32")
    state = {kind: np.zeros((3, 2), kind) for kind in kinds}
    state["nested"] = [(np.zeros((), np.float32), {"a.b": np.ones(5000, np.float32)})]
    state["many"] = [np.full(i + 1, i, np.int32) for i in range(300)]
    digests = digests_of(state)
    writer = CheckpointWriter(tmp_path / "checkpoints", lambda steps: [])
    writer.start(1, state, digests)
    assert writer.wait() is None
    writer.close()
    digests["arrays"]["more"] = "float32[7,7] 0"
    (tmp_path / "checkpoints" / "1" / "digests" / "metadata").write_text(json.dumps(digests))
    with pytest.raises(Unusable, match=r"it has 309 of 310 arrays \(missing: float32\[7,7\]\)"):
        check_complete(tmp_path / "checkpoints" / "1", digests)


@pytest.mark.parametrize("name", ["run [v2]", "a\\b", "*", "?", "[!a]", "Größe 尺寸", "~", "~root", "%41", "a:b", "#x"])
def test_directories_of_every_name_hold_checkpoints(tmp_path, said, name):
    checkpoints = Checkpoints(tmp_path / name / "checkpoints", keep=1, say=said.append)
    (tmp_path / name).mkdir()
    checkpoints.save_now(1, small_state(1))
    checkpoints.save_now(2, small_state(2))
    assert checkpoints.restore_latest(small_state())[0] == 2 and checkpoints.steps() == [2] and not said
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("moved", ["run", "run/checkpoints"])
def test_a_directory_that_has_been_moved_ends_the_run(tmp_path, said, moved, replaced):
    """The run ends at the next save, even while another is under way; nothing is created in the old place."""
    run, there = tmp_path / "run", tmp_path / "there"
    run.mkdir()
    with OpenDirectory(run) as workdir:
        checkpoints = Checkpoints(run / "checkpoints", keep=2, say=said.append, workdir=workdir)
        checkpoints.save_now(1, small_state(1))
        checkpoints.save(2, small_state(2))
        (tmp_path / moved).rename(there)
        if replaced:
            (tmp_path / moved).mkdir()
        with pytest.raises(RunError, match=f"{re.escape(str(tmp_path / moved))} has been moved, .*--workdir"):
            checkpoints.save(3, small_state(3))
        checkpoints.close()
    assert not any((tmp_path / moved).iterdir()) if replaced else not (tmp_path / moved).exists()
    folder = there / "checkpoints" if moved == "run" else there
    assert Checkpoints(folder, keep=2).restore_latest(small_state())[0] == 2 and not said


def test_a_deleted_directory_is_not_made_again(tmp_path, said):
    (tmp_path / "run").mkdir()
    with OpenDirectory(tmp_path / "run") as workdir:
        checkpoints = Checkpoints(tmp_path / "run" / "checkpoints", keep=2, say=said.append, workdir=workdir)
        checkpoints.save_now(1, small_state(1))
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(RunError, match="has been moved, deleted or replaced"):
            checkpoints.save_now(2, small_state(2))
        with pytest.raises(RunError, match="has been moved, deleted or replaced"), workdir.blamed():
            (tmp_path / "run" / "metrics.jsonl").open("a")
        checkpoints.close()
    assert not (tmp_path / "run").exists()


def test_a_best_checkpoint_that_is_gone_is_told(tmp_path, said):
    checkpoints = Checkpoints(tmp_path, keep=2, say=said.append)
    for step, score in ((1, 0.5), (2, 0.9), (3, 0.7)):
        checkpoints.save_now(step, small_state(step))
        checkpoints.add_score(step, score)
    assert checkpoints.restore_best(small_state())[0] == 2 and not said
    shutil.rmtree(tmp_path / "2")
    assert checkpoints.restore_best(small_state())[0] == 3
    assert len(said) == 1 and "of step 2, is not in" in said[0]


def test_a_disk_without_room_for_its_saves_is_told_before_the_first(tmp_path, monkeypatch):
    """With keep=1 these are three: the latest one, the best one, and the one that is being written."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
    like = {"w": jax.ShapeDtypeStruct((1 << 20, 10), jnp.float32)}  # 40 MiB, and 16 more
    stat = os.statvfs(".")

    def is_enough(mib: int) -> bool:
        free = os.statvfs_result([1 << 20, 1 << 20, *stat[2:4], mib, *stat[5:]])
        monkeypatch.setattr(checkpoint.os, "statvfs", lambda path: free)
        try:
            checkpoints.check_room(like, saves=5)
        except RunError as error:
            assert f"{mib} MiB are free" in str(error) and "--workdir on another disk" in str(error)
            assert f"{56 if checkpoints.steps() else 168} MiB are needed" in str(error)
            return False
        return True

    assert [is_enough(167), is_enough(168)] == [False, True]
    checkpoints.save_now(1, small_state())
    assert [is_enough(55), is_enough(56)] == [False, True]


def test_a_disk_has_to_have_room_for_what_a_rollback_needs(tmp_path, monkeypatch):
    """A rollback needs the steps that are saved, every 100, among the last 2,000, and the one before them."""
    plan = SavePlan(lambda step: step % 100 == 0, 2000, 21)
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, plan=plan)
    assert len(steps := [*range(100, 5001, 100)]) - len(checkpoints._superseded(steps)) == 21
    monkeypatch.setattr(checkpoints, "_free", lambda: 0)
    for saves, needed in ((100, 23 * 56), (10, 10 * 56)):
        with pytest.raises(RunError, match=rf"but {needed} MiB are needed"):
            checkpoints.check_room({"w": jax.ShapeDtypeStruct((1 << 20, 10), jnp.float32)}, saves)


def test_a_save_asks_jax_for_no_preemption(tmp_path, monkeypatch):
    """Only the training loop may: the service compares the number of the latest question with the agreed one."""
    asked = []
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", asked.append)
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
    for step in (1, 2):
        checkpoints.save_now(step, small_state(step))
    assert checkpoints.steps() == [2] and not asked


def test_a_state_that_memory_has_no_room_for_is_not_damaged(saved, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(restoring.ocp.Checkpointer, "restore", fail)
    with pytest.raises(RunError, match=r"step 3 in .* cannot be loaded \(RESOURCE_EXHAUSTED.*free some memory"):
        saved.restore_latest(small_state())
    assert saved.steps() == [1, 2, 3]


def _fail(self):
    raise OSError("disk on fire")


def test_what_is_wrong_below_the_newest_step_is_set_aside_too(saved, said, tmp_path):
    """Orbax would otherwise try to remove it with every save."""
    folder = tmp_path / "checkpoints"
    shutil.rmtree(folder / "1")
    (folder / "1").symlink_to("3")
    assert saved.restore_latest(small_state())[0] == 3
    assert saved.steps() == [2, 3] and (folder / "damaged" / "1").is_symlink()
    assert len(said) == 1 and "The checkpoint of step 1 in" in said[0]


@pytest.mark.parametrize("name", ["0004", "+4", "1_0", "\u0664", " 4"])
def test_a_name_that_is_no_plain_number_is_ignored(saved, said, tmp_path, name):
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "3", folder / name)
    saved.close()
    assert saved.restore_latest(small_state())[0] == 3
    assert len(said) == 1 and f"{folder / name} is not named as a step is" in said[0]
    for step in (4, 5, 10):
        saved.save_now(step, small_state(step))
    assert saved.steps() == [4, 5, 10] and (folder / name).is_dir() and has_step(folder)
    for step in saved.steps():
        shutil.rmtree(folder / str(step))
    assert not has_step(folder)
    with pytest.raises(UserError, match=f"name it {int(name)}, or remove it"):
        saved.restore_latest(small_state())


def test_a_folder_that_holds_another_step_is_refused(saved, said, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "2", folder / "1000")
    with pytest.raises(UserError, match=r"the folder 1000 holds step 2.*remove"):
        saved.restore_latest(small_state())
    with pytest.raises(UserError, match="the folder 1000 holds step"):
        Checkpoints(folder, keep=3, read_only=True).restore_latest(small_state())
    shutil.copytree(folder / "2", folder / str(10**12))
    with pytest.raises(UserError, match=f"the folder 1000 holds step 2, the folder {10**12} holds step 2"):
        saved.restore_latest(small_state())
    assert saved.steps() == [1, 2, 3, 1000, 10**12] and not said


def test_exchanged_steps_are_refused(saved, tmp_path):
    folder = tmp_path / "checkpoints"
    (folder / "1").rename(folder / "aside")
    (folder / "2").rename(folder / "1")
    (folder / "aside").rename(folder / "2")
    with pytest.raises(UserError, match="the folder 1 holds step 2, the folder 2 holds step 1"):
        saved.restore_latest(small_state())
    assert Checkpoints(folder, keep=3, read_only=True).restore_latest(small_state())[0] == 3, "it is not looked at"


def test_what_cannot_be_set_aside_is_told(saved, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.rmtree(folder / "3" / "state")
    (folder / "damaged").write_text("a file")
    with pytest.raises(RunError, match=r"could not be moved.*remove the steps 3 yourself"):
        saved.restore_latest(small_state())


@pytest.mark.long
@pytest.mark.parametrize("name", ["resnet10", "resnet34"])
def test_a_state_goes_from_8_devices_to_1_2_4_and_back(tiny_config, tmp_path, name):
    tiny_config.model.name, tiny_config.batch_size = name, 8
    tiny_config.dtype, tiny_config.augment = "float64", "flip"
    with jax.enable_x64(True):
        begun, next_step = _on_devices(tiny_config, 8)
        state, _ = next_step(begun())
        saved = Checkpoints(tmp_path, keep=9)
        saved.save_now(1, state)
        expected = jax.tree.map(np.array, fetch(state))  # before it is donated
        after = fetch(next_step(next_step(state)[0])[0])
        for count in (1, 2, 4, 8):
            like = _program(tiny_config, count).abstract_state
            _, further = _on_devices(tiny_config, count)
            step, restored = saved.restore_latest(like)
            assert digests_of(fetch(restored)) == digests_of(expected)
            saved = Checkpoints(tmp_path / str(count), keep=9)
            saved.save_now(step, restored)
            result = fetch(further(further(restored)[0])[0])
            for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(result), strict=True):
                np.testing.assert_allclose(b, a, rtol=0, atol=1e-8 * max(np.abs(a).max(), 1e-3))


def _program(config, count):
    mesh = create_mesh(jax.devices()[:count])
    return create_program(config, TAXONOMY, mesh, num_images=100 * config.batch_size)


def _on_devices(config, count):
    program = _program(config, count)
    batch = put_batch(random_batch(), program.mesh)
    return program.create_state, lambda state: program.train_step(state, batch)

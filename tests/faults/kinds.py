"""The kinds of faults: name -> faults, each of which yields one or several tries."""

from tests.faults import folders, foreign, hostile, inputs, kills, places, restarts, steps, storage, streams, tables
from tests.faults.lab import Fault

KINDS: dict[str, list[Fault]] = {
    "two processes": kills.TWO_PROCESSES,  # the longest first
    "SIGKILL": kills.SIGKILL,
    "signals": kills.SIGNALS,
    "second writer": kills.SECOND_WRITER,
    "full disk": storage.DISK_FULL,
    "failing disk": storage.FAILING_DISK,
    "read-only disk": storage.READ_ONLY,
    "bit flips": storage.BIT_FLIPS,
    "tidied checkpoints": storage.TIDIED,
    "folders of steps": steps.STEP_FOLDERS,
    "names of runs": places.ODD_NAMES,
    "moved in mid-run": places.MOVED,
    "planted and in the way": places.PLANTED,
    "no place for a run": places.NO_WORKDIR,
    "no page": places.PAGES,
    "changed between starts": restarts.CHANGED,
    "tables": tables.TABLES,
    "labels like others": tables.LABELS_LIKE_OTHERS,
    "folders of images": folders.FOLDERS,
    "no data": folders.NO_DATA,
    "hostile images": hostile.HOSTILE_IMAGES,
    "broken images": hostile.ODD_IMAGES,
    "archives": hostile.ARCHIVES,
    "JSON": hostile.JSON,
    "lost output": streams.LOST_OUTPUT,
    "foreign sets": foreign.FOREIGN_SETS,
    "foreign runs": foreign.FOREIGN_RUNS,
    "typing errors": foreign.TYPOS,
    "clock": inputs.CLOCK,
    "data under a run": inputs.DATA_UNDER_A_RUN,
    "not a number": inputs.NOT_A_NUMBER,
    "labels out of range": inputs.LABELS_OUT_OF_RANGE,
}

"""The whole suite as a table: python -m tests.faults [--json FILE] [NAME ...]."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults import inputs, kills, storage
from tests.faults.lab import Lab, Try

FAULTS = {
    "SIGKILL": kills.sigkill,
    "signals": kills.signals,
    "second writer": kills.second_writer,
    "one of two processes": kills.one_of_two,
    "disk full": storage.disk_full,
    "read-only directory": storage.read_only,
    "bit flips": storage.bit_flips,
    "tidied checkpoints": storage.tidied_checkpoints,
    "clock jump": inputs.clock_jump,
    "data changes": inputs.data_changes,
    "not a number": inputs.not_a_number,
    "labels out of range": inputs.labels_out_of_range,
    "zip bomb": inputs.zip_bomb,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FAULTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every try there")
    flags = parser.parse_args()
    began, results = time.monotonic(), {}
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        lab = Lab(Path(folder))
        whole = lab.run(lab.whole)
        if whole.wait():
            sys.exit(f"The run without faults fails: {whole.sentence()}")
        for name in flags.names or FAULTS:
            results[name] = _tries(name, lab)
    print(_table(results))
    print(f"{(time.monotonic() - began) / 60:.1f} minutes.")
    if flags.json:
        flags.json.write_text(json.dumps({k: [vars(t) for t in tries] for k, tries in results.items()}, indent=1))
    return int(not all(t.survived for tries in results.values() for t in tries))


def _tries(name: str, lab: Lab) -> list[Try]:
    tries, began = [], time.monotonic()
    try:
        for result in FAULTS[name](lab):
            tries.append(result)
            print(f"{name}: {'survived' if result.survived else 'LOST'}: {result.message!r}", flush=True)
    except Exception as error:
        traceback.print_exc()
        tries.append(Try(False, None, f"the fault could not be injected: {error!r}"))
    finally:
        for command in lab.commands:
            command.process.kill()
            command.process.wait()
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return tries


def _table(results: dict[str, list[Try]]) -> str:
    rows = [("| fault | tries | survived | steps lost, at most | message |"), "| --- | --- | --- | --- | --- |"]
    for name, tries in results.items():
        survived, lost = sum(t.survived for t in tries), max((t.lost or 0 for t in tries), default=0)
        message = next((t.message for t in tries if not t.survived), tries[0].message if tries else "")
        rows.append(f"| {name} | {len(tries)} | {survived} | {lost} | {message!r} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())

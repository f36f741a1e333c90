"""Runs the whole suite, prints a table: python -m tests.faults [--json FILE] [--jobs N] [--keep DIR] [KIND ...]."""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.kinds import KINDS
from tests.faults.lab import EVERY, Fault, Lab, Try

MOST_OF_A_KIND = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every try there")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="write the table there, and what it is of")
    parser.add_argument("--jobs", type=int, default=3, help="faults at a time (default: 3)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the folders of faults that were lost there")
    flags = parser.parse_args()
    if unknown := set(flags.kinds) - set(KINDS):
        parser.error(f"unknown kinds: {', '.join(sorted(unknown))}")
    began = time.monotonic()
    with _folder(flags.keep) as folder:
        results = _inject(Lab(folder), flags.kinds or list(KINDS), flags.jobs, keep=flags.keep is not None)
    tries = [t for of_kind in results.values() for t in of_kind]
    lost = sum(not t.survived for t in tries)
    summary = f"{len(tries)} faults, {lost} lost, {(time.monotonic() - began) / 60:.1f} minutes"
    print(_table(results), f"{summary}.", sep="\n")
    if flags.output:
        flags.output.write_text(_page(results, summary))
    if flags.json:
        flags.json.write_text(json.dumps({k: [vars(t) for t in ts] for k, ts in results.items()}, indent=1))
    return int(lost > 0)


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept:
        kept.mkdir(parents=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        yield Path(folder)


def _inject(lab: Lab, kinds: Sequence[str], jobs: int, keep: bool) -> dict[str, list[Try]]:
    """Kind -> its tries; so many faults at a time, after the run without faults."""
    whole = lab.train(lab.whole)
    if whole.wait():
        sys.exit(f"The run without faults fails: {whole.stderr()}")
    with ThreadPoolExecutor(jobs) as pool:
        pending = {
            kind: [
                pool.submit(_tries, kind, fault, lab.at(f"{kind.replace(' ', '_')}/{number}"), keep)
                for number, fault in enumerate(KINDS[kind])
            ]
            for kind in kinds
        }
        results = {kind: [t for future in futures for t in future.result()] for kind, futures in pending.items()}
    for kind, tries in results.items():
        repeated = [name for name, times in collections.Counter(t.name for t in tries).items() if times > 1]
        if repeated or len(tries) > MOST_OF_A_KIND:
            sys.exit(f"{kind}: {len(tries)} tries, the same among them: {', '.join(repeated)}")
    return results


def _tries(kind: str, fault: Fault, lab: Lab, keep: bool) -> list[Try]:
    tries, began = [], time.monotonic()
    try:
        tries.extend(fault(lab))
    except Exception as error:
        traceback.print_exc()
        tries.append(Try(lab.folder.name, False, f"the fault could not be injected: {error!r}"))
    finally:
        lab.close()
    seconds = time.monotonic() - began
    for t in tries:
        print(f"{kind}: {t.name}: {'survived' if t.survived else 'LOST'} ({seconds:.0f} s): {t.message!r}", flush=True)
    if not keep or all(t.survived for t in tries):
        shutil.rmtree(lab.folder, ignore_errors=True)
    return tries


def _page(results: dict[str, list[Try]], summary: str) -> str:
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return (
        f"# Faults\n\n`scripts/faults` at commit {commit}: {summary} on {os.cpu_count()} cores.\n\n"
        "A fault counts as survived where the run came to the same end as without it, to the last bit (metrics,\n"
        "arrays, predictions, a page), or ended with the right status and a sentence that names the thing. Steps\n"
        f"lost are work done again, of checkpoints every {EVERY} steps.\n\n{_table(results)}\n"
    )


def _table(results: dict[str, list[Try]]) -> str:
    rows = ["| fault | tries | survived | steps lost, at most | message of one |", "| --- | --- | --- | --- | --- |"]
    for kind, tries in results.items():
        survived, lost = sum(t.survived for t in tries), max((t.lost for t in tries), default=0)
        longest = max(tries, key=lambda t: len(t.message) * (len(t.message) < 200))
        shown = next((t for t in tries if not t.survived), longest)
        message = _in_a_cell(f"{shown.name}: {shown.message}")
        rows.append(f"| {kind} | {len(tries)} | {survived} | {lost} | {message} |")
    return "\n".join(rows)


def _in_a_cell(text: str) -> str:
    text = " ".join(text.replace(str(tempfile.gettempdir()) + os.sep, "").split()).replace("|", "\\|")
    return text if len(text) < 240 else f"{text[:240]}…"


if __name__ == "__main__":
    sys.exit(main())

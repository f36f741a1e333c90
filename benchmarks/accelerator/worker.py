"""Does items in a process of its own, one for each name on stdin: python -m benchmarks.accelerator.worker tiny|full.

It answers in lines of JSON: {"partial": results} as they come, and {"result": results} or {"skipped": sentence} or
{"error": sentence} at the end of each item.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from benchmarks.accelerator.cases import SIZES
from benchmarks.accelerator.items import find
from benchmarks.accelerator.outcome import Skip, in_words
from benchmarks.command import origin


def main() -> None:
    """Describes this machine, then does the items that stdin names until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what anything else prints goes to stderr

    def answer(**message: Any) -> None:
        print(json.dumps(message), file=answers, flush=True)

    sizes = SIZES[sys.argv[1]]
    answer(result=origin())
    for line in sys.stdin:
        try:
            answer(result=find(line.strip()).run(sizes, lambda partial: answer(partial=partial)))
        except Skip as reason:
            answer(skipped=str(reason))
        except Exception as error:
            traceback.print_exc()
            answer(error=in_words(error))


if __name__ == "__main__":
    main()

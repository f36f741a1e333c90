"""Decodes a file as training does and prints the result and its cost: python -m tests.faults.decode_one FILE."""

import json
import resource
import sys

from fashion_jax.data.decoding.decode import contents, decode
from fashion_jax.data.decoding.limits import Undecodable


def main() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    try:
        with contents(sys.argv[1]) as data:
            pixels, error = decode(data, (64, 64), "stretch"), ""
    except Undecodable as why:
        pixels, error = None, str(why)
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = {"error": error, "megabytes": (after.ru_maxrss - before.ru_maxrss) / 1024, "seconds": seconds}
    print(json.dumps(result | {"mean": None if pixels is None else pixels.mean(axis=(0, 1)).tolist()}))


if __name__ == "__main__":
    main()

"""Compiles the training step for TPU slices that are not here: python -m benchmarks.aot [--topology v5e:2x2 ...].

It compiles the trainer's own step, with augmentation, heads and metrics. It needs libtpu (the extra tpu, in an
environment of its own), no TPU, and minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.command import create_parser, origin, parse
from benchmarks.hlo import Program
from benchmarks.tpu import ASSUMPTIONS, CHIPS, bound_seconds, over_budget, scaling, traffic, traffic_by_array
from fashion_jax.command_line import run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.config.loading import load_config
from fashion_jax.errors import RunError, UserError

if TYPE_CHECKING:
    import jax
    from ml_collections import ConfigDict

BUDGET = Path(__file__).with_name("aot_budget.json")
_LARGE = 0.01  # share of the traffic from which on an array is reported
_SIZES = (4, 16, 64, 256)  # numbers of chips for which scaling is predicted


def main(arguments: list[str] | None = None) -> int:
    """Compiles as the arguments say; returns the exit status, 1 if the budget is exceeded."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    flags, overrides = _parse(arguments)
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    overrides = [("image_size", "224"), ("dtype", "bfloat16"), *overrides]
    results, exceeded = [], []
    for topology in flags.topology or ["v5e:2x2"]:
        result = measure(flags.config, overrides, topology, flags.images_per_chip, flags.hlo)
        print(table(result), flush=True)
        results.append(result)
        exceeded += [f"{result['case']}: {line}" for line in over_budget(result["counts"], result["budget"])]
    if flags.json:
        write_json(flags.json, results)
    if exceeded:
        raise RunError(f"The budget ({BUDGET.name}) is exceeded: {'; '.join(exceeded)}.")


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    parser = create_parser(
        "aot",
        "[--topology NAME ...] [--images-per-chip N] [--hlo FOLDER]",
        "Compiles the training step, at 224 px in bfloat16 unless the config's fields are set, for TPU slices.",
    )
    parser.add_argument(
        "--topology", metavar="NAME", nargs="+", help="v5e:2x2 (default), v5e:16x16, v5p:2x2x1, v6e:2x2"
    )
    parser.add_argument("--images-per-chip", metavar="N", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--hlo", metavar="FOLDER", type=Path, help="where to write the compiled programs as text")
    flags, overrides = parse(parser, arguments, images_per_chip=2)
    for topology in flags.topology or ():
        if topology.split(":")[0] not in CHIPS:
            raise UserError(f"--topology is {topology!r}, but must be of {', '.join(CHIPS)}, such as v5e:2x2.")
    if flags.hlo and not flags.hlo.is_dir():
        raise UserError(f"--hlo is {str(flags.hlo)!r}, which is no folder: make it first.")
    return flags, overrides


def measure(
    config_file: str, overrides: list[tuple[str, str]], topology: str, images_per_chip: int, hlo: Path | None
) -> dict[str, Any]:
    """Compiles for one slice; returns what --json writes. Bytes and FLOPs are those of one chip."""
    devices = _devices(topology)
    config = load_config(config_file, [*overrides, ("batch_size", str(images_per_chip * len(devices)))])
    began = time.monotonic()
    compiled, state_bytes = compile_step(config, devices)
    seconds = time.monotonic() - began
    text = compiled.as_text()
    if hlo:
        (hlo / f"{topology.replace(':', '_')}.hlo").write_text(text, encoding="utf-8")
    described = origin()
    case = case_name(topology, config, images_per_chip)
    result = {"benchmark": "aot", "case": case, "topology": topology, "chips": len(devices)}
    result |= {"images_per_chip": images_per_chip, "config": config.to_dict(), "compile_seconds": seconds}
    result |= {"commit": described["commit"], "packages": described["environment"]["packages"]}
    result |= report(Program(text), compiled.memory_analysis(), state_bytes, images_per_chip, topology.split(":")[0])
    return result | {"budget": json.loads(BUDGET.read_text(encoding="utf-8")).get(case, {})}


def _devices(topology: str) -> list[jax.Device]:
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except Exception as error:
        raise RunError(
            f"The slice {topology!r} cannot be compiled for ({str(error).splitlines()[0]}): install the extra tpu, in "
            "an environment of its own, and name a slice that exists."
        ) from error


def compile_step(config: ConfigDict, devices: list[jax.Device]) -> tuple[jax.stages.Compiled, int]:
    """Returns the trainer's step compiled for devices that need not be here, and the size of its state in bytes."""
    import jax

    from benchmarks.compiled_step import synthetic_taxonomy
    from fashion_jax.config.loading import image_shape
    from fashion_jax.data.batches.pipeline import canvas_shape
    from fashion_jax.devices.mesh import check_batch_size, create_mesh
    from fashion_jax.step.program import create_program
    from fashion_jax.step.train_state import abstract_batch

    mesh = create_mesh(devices)
    check_batch_size(config.batch_size, mesh.size, config.accumulate, config.batch_norm)
    taxonomy, _ = synthetic_taxonomy(list(config.data.levels))
    program = create_program(config, taxonomy, mesh, num_images=1000 * config.batch_size)
    state = program.abstract_state
    batch = abstract_batch(config.batch_size, taxonomy.levels, mesh, canvas_shape(config, image_shape(config)))
    compiled = program.train_step.lower(state, batch).compile()
    return compiled, sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


def case_name(topology: str, config: ConfigDict, images_per_chip: int) -> str:
    """Returns the key of a case in the budget file."""
    size = config.image_size if isinstance(config.image_size, int) else "x".join(map(str, config.image_size))
    return (
        f"{topology} {config.model.name} {size}px {config.dtype} {images_per_chip} images/chip, "
        f"batch_norm {config.batch_norm}, remat {config.remat}, accumulate {config.accumulate}"
    )


def report(program: Program, memory: Any, state_bytes: int, images: int, chip_name: str) -> dict[str, Any]:
    """Returns the counts of a compiled step on one chip, its bound and its predicted scaling."""
    chip, moved, collectives = CHIPS[chip_name], traffic(program), program.collectives()
    arrays, total = traffic_by_array(program), sum(moved.values())
    flops = sum(times * program.flops(instruction) for instruction, times in program.instructions())
    seconds = bound_seconds(program, chip)
    return {
        "counts": {
            "flops_per_image": flops / images,
            "bytes_per_image": total / images,
            "temporary_bytes": memory.temp_size_in_bytes,
            "peak_bytes": memory.peak_memory_in_bytes,
            "argument_bytes": memory.argument_size_in_bytes,
            "collectives": len(collectives),
            "collective_bytes": sum(size for _, size in collectives),
            "state_bytes_not_aliased": max(state_bytes - memory.alias_size_in_bytes, 0),
        },
        "bytes_per_image_by": {kind: size / images for kind, size in moved.items()},
        "bytes_per_image_by_array": {shape: size / images for shape, size in arrays.items() if size > _LARGE * total},
        "collectives_by": {
            kind: [k for k, _ in collectives].count(kind) for kind in sorted({k for k, _ in collectives})
        },
        "aliased_bytes": memory.alias_size_in_bytes,
        "bound_images_per_second": images / seconds,
        "bound_of_compute": images * chip.flops / flops,
        "bound_of_memory": images * chip.memory_bandwidth / total,
        "scaling": scaling(seconds, collectives, images, chip, _SIZES),
        "assumptions": ASSUMPTIONS,
    }


def table(result: dict[str, Any]) -> str:
    """Formats the result in a few lines."""
    counts, by = result["counts"], result["bytes_per_image_by"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in result["collectives_by"].items())
    rows = {
        "step": f"{result['case']}; compiled in {result['compile_seconds']:.0f} s",
        "per image": f"{counts['flops_per_image'] / 1e9:.1f} GFLOP, {counts['bytes_per_image'] / 1e6:.1f} MB of memory "
        f"traffic ({', '.join(f'{kind} {size / 1e6:.1f}' for kind, size in by.items())})",
        "arrays": ", ".join(
            f"{shape} {size / 1e6:.1f} MB" for shape, size in result["bytes_per_image_by_array"].items()
        ),
        "memory": f"{counts['temporary_bytes'] / 1e9:.2f} GB of temporaries, {counts['peak_bytes'] / 1e9:.2f} GB at "
        f"the peak; {result['aliased_bytes'] / 1e6:.1f} MB of the state aliased, "
        f"{counts['state_bytes_not_aliased'] / 1e6:.1f} MB not",
        "collectives": f"{kinds}; {counts['collective_bytes'] / 1e6:.1f} MB",
        "bound": f"{result['bound_images_per_second']:,.0f} images/s/chip (FLOPs alone "
        f"{result['bound_of_compute']:,.0f}, memory alone {result['bound_of_memory']:,.0f})",
        "scaling": "; ".join(
            f"{row['chips']} chips {row['images_per_second_per_chip']:,.0f} images/s/chip ({row['efficiency']:.0%})"
            for row in result["scaling"]
        ),
        "assuming": result["assumptions"],
    }
    return "\n".join(f"{name:<12} {value}" for name, value in rows.items())


if __name__ == "__main__":
    sys.exit(main())

"""The bfloat16 step as it is lowered for GPUs: NHWC convolutions in bfloat16, and no maps of activations in float32.

XLA's GPU compiler is not here, so this looks at the program that it gets. Element-wise operations, and the reductions
that read their results, are fused: a float32 map between them is never written to memory. One that enters or leaves any
other operation is.
"""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from benchmarks.accelerator.cases import Case, build
from fashion_jax.models.batch_norm import BatchNorm
from fashion_jax.ops.pooling import max_pool3x3

BATCH, SIZE = 16, 64
SMALLEST = BATCH * 4 * 4 * 32  # values of the smallest map that counts; parameters have no axis of BATCH images
CASES = {name: Case(name, f"{name}.py", SIZE, BATCH, is_small=True) for name in ("default", "direct", "hybrid")}
FUSED = {"add", "subtract", "multiply", "divide", "negate", "maximum", "convert", "broadcast_in_dim", "reshape"}
FUSED |= {"square", "select", "compare", "reduce"}
_TENSOR = re.compile(r"tensor<((?:\d+x)*)(\w+)>")


class Operation(NamedTuple):
    """An operation of the program: its name, and the (sizes, type) of its operands and results."""

    name: str
    operands: list[tuple[tuple[int, ...], str]]
    results: list[tuple[tuple[int, ...], str]]
    line: str


def operations(text: str) -> Iterator[Operation]:
    """Reads the operations of a StableHLO program, one per line."""
    for line in text.splitlines():
        if found := re.match(r"\s+(?:%[\w:]+ = )?\"?(?:stablehlo|chlo|func)\.(\w+)", line) or re.match(
            r"\s+(?:%[\w:]+ = )?(call|return) ", line
        ):
            types = line.rsplit(" : ", 1)[-1]
            before, arrow, after = types.rpartition("->")
            operands = before if arrow else types
            yield Operation(found[1], tensors(operands), tensors(after if arrow else types), line.strip())


def tensors(text: str) -> list[tuple[tuple[int, ...], str]]:
    return [(tuple(int(size) for size in sizes.split("x") if size), dtype) for sizes, dtype in _TENSOR.findall(text)]


def is_map(sizes: tuple[int, ...]) -> bool:
    """Tells whether a tensor is a map of activations of the batch, whichever way its pixels are arranged."""
    return len(sizes) > 2 and BATCH in sizes[:2] and math.prod(sizes) >= SMALLEST


@pytest.fixture(scope="module", params=CASES)
def program(request) -> tuple[str, list[Operation]]:
    built = build(CASES[request.param], "bfloat16", jax.devices()[:1])
    traced = built.program.train_step.trace(built.program.abstract_state, built.batches[0])
    lowered = traced.lower(lowering_platforms=("cuda",))
    return request.param, list(operations(lowered.as_text()))


def test_nothing_is_decided_for_which_the_host_would_have_to_wait(program):
    """A condition is copied to the host in each step, which then dispatches nothing ahead.

    The choices between platforms are cases of a constant, or of such a case, which the compiler resolves.
    """
    _, found = program
    made_by, deciding = {}, set()  # names of results, which functions use again
    for x in found:
        if x.name in ("case", "if"):
            deciding.add(made_by[re.search(r"\((%\w+)\)", x.line)[1]])
        made_by[re.match(r"[%\w]*", x.line)[0]] = x.name
    assert deciding == {"constant", "case"}


def test_convolutions_read_and_write_bfloat16_in_nhwc(program):
    _, found = program
    convolutions = [x for x in found if x.name == "convolution"]
    assert len(convolutions) >= 5
    assert {dtype for x in convolutions for _, dtype in (*x.operands, *x.results)} == {"bf16"}
    layouts = {re.search(r"dim_numbers = (\S+ ?.*?->\[.*?\])", x.line)[1] for x in convolutions}
    assert layouts <= {
        "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]",  # forward
        "[b, 0, 1, f]x[0, 1, o, i]->[b, 0, 1, f]",  # gradient for the input
        "[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f]",  # gradient for the kernel, of the same NHWC maps
    }


def test_float32_maps_lie_between_operations_that_are_fused(program):
    _, found = program
    touching = collections.Counter(
        x.name for x in found for sizes, dtype in (*x.operands, *x.results) if dtype == "f32" and is_map(sizes)
    )
    pixels = {"divide", "subtract", "convert", "broadcast_in_dim"}  # of the images, which are normalised in float32
    assert pixels <= touching.keys()
    assert touching.keys() <= FUSED


def test_pooling_and_relu_work_in_bfloat16(program):
    _, found = program
    pooled = [x for x in found if x.name in ("reduce_window", "select_and_scatter", "maximum")]
    assert pooled
    assert {dtype for x in pooled for sizes, dtype in (*x.operands, *x.results) if is_map(sizes)} <= {"bf16"}


def test_statistics_are_sums_in_float32_of_one_reading(program):
    """Every BatchNorm adds up two numbers of its map forward, and two of its gradient backward, in one pass each.

    Maps have the sizes [groups, images, pixels, channels] there, with one group.
    """
    name, found = program
    sums = [
        x
        for x in found
        if x.name == "reduce" and any(dtype == "f32" and s[:1] == (1,) and is_map(s) for s, dtype in x.operands)
    ]
    norms = {"default": 3, "direct": 0, "hybrid": 3}[name]  # of the trunk: the stem's and one block's
    assert len(sums) == 4 * norms


@pytest.mark.parametrize("pool", [None, max_pool3x3])
def test_no_float32_map_is_kept_for_the_gradient(pool):
    norm = BatchNorm(pool=pool)
    x = jax.ShapeDtypeStruct((BATCH, 32, 32, 64), jnp.bfloat16)
    variables = jax.eval_shape(lambda x: norm.init(jax.random.key(0), x, train=False), x)

    def pullback(params, batch_stats, x):
        def output(params, x):
            return norm.apply({"params": params, "batch_stats": batch_stats}, x, train=True, mutable="batch_stats")[0]

        return jax.vjp(output, params, x)[1]

    kept = jax.tree.leaves(jax.eval_shape(pullback, variables["params"], variables["batch_stats"], x))
    maps = [x for x in kept if x.size >= SMALLEST]
    assert maps
    assert {x.dtype.name for x in maps} <= {"bfloat16", "bool", "uint8"}

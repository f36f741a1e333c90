"""benchmarks.aot and its reader of programs, on hand-made HLO; compiling for a TPU takes minutes and libtpu."""

import json
from pathlib import Path

import pytest

from benchmarks import aot, tpu
from benchmarks.hlo import Program
from fashion_jax.config.loading import load_config

ROOT = Path(__file__).parent.parent
PROGRAM = """HloModule step, is_scheduled=true

%inside (a: bf16[2,8,8,4], b: bf16[3,3,4,16]) -> bf16[2,8,8,16] {
  %a = bf16[2,8,8,4]{3,2,1,0} parameter(0)
  %b = bf16[3,3,4,16]{3,2,1,0} parameter(1)
  ROOT %c = bf16[2,8,8,16]{3,2,1,0} convolution(%a, %b), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f
}

ENTRY %main (p: bf16[2,8,8,4], q: bf16[3,3,4,16], r: f32[10]) -> (bf16[2,8,8,16], f32[10]) {
  %p = bf16[2,8,8,4]{3,2,1,0:T(8,128)(2,1)} parameter(0)
  %q = bf16[3,3,4,16]{3,2,1,0} parameter(1)
  %r = f32[10]{0} parameter(2)
  %copy-start = (bf16[3,3,4,16]{3,2,1,0:T(8,128)S(1)}, bf16[3,3,4,16]{3,2,1,0}, u32[]{:S(2)}) copy-start(%q)
  %copy-done = bf16[3,3,4,16]{3,2,1,0:T(8,128)S(1)} copy-done(%copy-start)
  %slice-start = ((bf16[2,8,8,4]{3,2,1,0}), bf16[1,8,8,4]{3,2,1,0:S(1)}, s32[]{:S(2)}) slice-start(%p), slice={[0:1]}
  %slice-done = bf16[1,8,8,4]{3,2,1,0:S(1)} slice-done(%slice-start)
  %fusion = bf16[2,8,8,16]{3,2,1,0:T(8,128)(2,1)} fusion(%p, %copy-done), kind=kOutput, calls=%inside
  %all-reduce = (f32[10]{0}, /*index=1*/f32[6]{0:T(128)S(1)}) all-reduce(%r, %r), to_apply=%add
  %get-tuple-element = f32[10]{0} get-tuple-element(%all-reduce), index=0
  ROOT %tuple = (bf16[2,8,8,16]{3,2,1,0}, f32[10]{0}) tuple(%fusion, %get-tuple-element)
}
"""
LOOP = """HloModule loop

%body (t: (s32[], f32[4,4])) -> (s32[], f32[4,4]) {
  %t = (s32[], f32[4,4]{1,0}) parameter(0)
  %x = f32[4,4]{1,0} get-tuple-element(%t), index=1
  %dot = f32[4,4]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %i = s32[] get-tuple-element(%t), index=0
  ROOT %out = (s32[], f32[4,4]{1,0}) tuple(%i, %dot)
}

ENTRY %main (a: f32[4,4]) -> (s32[], f32[4,4]) {
  %a = f32[4,4]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], f32[4,4]{1,0}) tuple(%zero, %a)
  ROOT %while = (s32[], f32[4,4]{1,0}) while(%start), condition=%c, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
}
"""


@pytest.fixture
def program() -> Program:
    return Program(PROGRAM)


def by_name(program: Program) -> dict:
    return {i.name: i for i, _ in program.instructions()}


def test_traffic_counts_memory_and_a_prefetch_once(program):
    found = {name: program.memory_bytes(i) for name, i in by_name(program).items()}
    image, kernel, out = 2 * 8 * 8 * 4 * 2, 9 * 4 * 16 * 2, 2 * 8 * 8 * 16 * 2
    assert {name: size for name, size in found.items() if size} == {
        "copy-start": kernel,
        "slice-start": image // 2,
        "fusion": image + out,  # its kernel lies on the chip
        "all-reduce": 2 * 40,  # the second result lies on the chip
    }
    assert tpu.traffic(program) == {
        "convolutions": image + out,
        "prefetches": kernel + image // 2,
        "collectives": 80,
        "other": 0,
    }
    assert tpu.traffic_by_array(program) == {
        "bf16[2,8,8,16]": out,
        "bf16[3,3,4,16]": kernel,
        "bf16[2,8,8,4]": image,
        "bf16[1,8,8,4]": image // 2,
        "f32[10]": 80,
    }


def test_a_permutation_between_chips_is_traffic_of_a_collective():
    reduction = "(f32[10]{0}, /*index=1*/f32[6]{0:T(128)S(1)}) all-reduce(%r, %r), to_apply=%add"
    permutation = "f32[10]{0} collective-permute(%r), source_target_pairs={{0,1},{1,0}}"
    program = Program(PROGRAM.replace(reduction, permutation))
    assert program.collectives() == [("collective-permute", 40)]
    assert (tpu.traffic(program)["collectives"], tpu.traffic(program)["other"]) == (80, 0)


def test_flops_count_no_padding(program):
    taps_in_the_image = (3 * 8 - 2) ** 2
    assert program.flops(by_name(program)["fusion"]) == 2 * 2 * 4 * 16 * taps_in_the_image


@pytest.mark.parametrize(
    ("line", "pairs"),
    [
        (
            "f32[1,4,4,1] convolution(%a, %k), window={size=3x3 stride=2x2 pad=1_1x1_1}, dim_labels=b01f_01io->b01f",
            11**2,
        ),
        ("f32[3,3,1,1] convolution(%a, %a), window={size=8x8 pad=1_1x1_1}, dim_labels=f01b_i01o->01bf", 22**2),
        (
            "f32[1,15,15,1] convolution(%a, %k), window={size=3x3 pad=1_1x1_1 lhs_dilate=2x2}, "
            "dim_labels=b01f_01io->b01f",
            22**2,
        ),
    ],
    ids=["stride", "weight gradient", "dilated"],
)
def test_flops_of_other_convolutions(line, pairs):
    text = "ENTRY %m (a: f32[1,8,8,1]) -> f32[1] {\n  %a = f32[1,8,8,1] parameter(0)\n  %k = f32[3,3,1,1] constant(0)\n"
    program = Program(f"{text}  ROOT %c = {line}\n}}\n")
    assert program.flops(by_name(program)["c"]) == 2 * pairs


def test_collectives_are_counted_with_their_bytes(program):
    assert program.collectives() == [("all-reduce", 64)]


def test_a_loops_body_counts_as_often_as_it_runs():
    program = Program(LOOP)
    assert sum(times * program.flops(i) for i, times in program.instructions()) == 3 * 2 * 4 * 4 * 4


def test_the_bound_is_what_each_instruction_waits_for(program):
    flops = program.flops(by_name(program)["fusion"])
    slow_memory = tpu.Chip(1e30, 1.0, 1, 1.0, 2)
    assert tpu.bound_seconds(program, slow_memory) == sum(tpu.traffic(program).values())
    assert tpu.bound_seconds(program, tpu.Chip(1.0, 1e30, 1, 1.0, 2)) == pytest.approx(flops)


def test_scaling_counts_hops_and_bytes():
    chip = tpu.Chip(1, 1, 1, 1e9, 2)
    assert tpu.collective_seconds([("all-reduce", 1e9)], 16, chip) == pytest.approx(12e-6 + 2 * 15 / 16)
    assert tpu.collective_seconds([("all-reduce", 1e9)], 1, chip) == 0
    one, many = tpu.scaling(1.0, [("all-reduce", 1e9)] * 2, 8, chip, (1, 4))
    assert (one["images_per_second_per_chip"], one["efficiency"]) == (8, 1)
    assert many["efficiency"] == pytest.approx(1 / 4, rel=1e-4)


def result(budget: dict) -> dict:
    class Memory:
        temp_size_in_bytes, peak_memory_in_bytes, argument_size_in_bytes, alias_size_in_bytes = 10, 20, 30, 40

    head = {"case": "tiny", "compile_seconds": 1.0, "budget": budget}
    return head | aot.report(Program(PROGRAM), Memory, 40, 2, "v5e")


def test_the_budget_is_kept_or_the_command_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(aot, "measure", lambda *_: result({"collectives": 1, "temporary_bytes": 10}))
    assert aot.main(["--json", str(tmp_path / "aot.json")]) == 0
    written = json.loads((tmp_path / "aot.json").read_text())[0]
    assert written["counts"]["collectives"] == 1 and written["collectives_by"] == {"all-reduce": 1}
    assert [row["chips"] for row in written["scaling"]] == [4, 16, 64, 256]
    assert "1 all-reduce" in capsys.readouterr().out

    monkeypatch.setattr(aot, "measure", lambda *_: result({"collectives": 0, "temporary_bytes": 10}))
    assert aot.main([]) == 1
    assert "collectives is 1, above the budget of 0" in capsys.readouterr().err


def test_the_committed_budget_names_what_is_counted():
    budget = json.loads(aot.BUDGET.read_text(encoding="utf-8"))
    config = load_config(str(ROOT / "configs" / "mtl.py"), [("image_size", "224"), ("dtype", "bfloat16")])
    assert aot.case_name("v5e:2x2", config, 256) in budget
    assert {name for limits in budget.values() for name in limits} <= set(result({})["counts"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topology", "h100:8"], "--topology is 'h100:8'"),
        (["--images-per-chip", "1"], "--images-per-chip is 1"),
        (["--hlo", "no/such"], "--hlo is 'no/such'"),
        (["--json", "no/such/x.json"], "--json is 'no/such/x.json'"),
    ],
)
def test_wrong_usage_is_told(arguments, said, capsys):
    assert aot.main(arguments) == 2
    assert said in capsys.readouterr().err

"""State dicts of PyTorch are read without PyTorch, and nothing in them is executed."""

import contextlib
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from fashion_jax.models.pretrained.tensors import Unsuitable
from fashion_jax.models.pretrained.torch_file import read_torch
from tests.torch_files import View, write_legacy, write_program, write_torch

VALUES = np.arange(24, dtype=np.float32)


def read(path) -> dict[str, np.ndarray]:
    return {name: x.read() for name, x in read_torch(path).items()}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16, "int64"])
def test_values_become_float32_unless_they_are_float64(tmp_path, dtype):
    values = np.array([[1.5, -2], [0.25, 7]]).astype(dtype)
    (found,) = read(write_torch(tmp_path / "a.pth", {"x": values})).values()
    assert found.dtype == (np.float64 if dtype == "float64" else np.float32)
    np.testing.assert_array_equal(found, values.astype(np.float64))


def test_offsets_and_strides_are_honoured(tmp_path):
    views = {
        "transposed": View(VALUES, 0, (4, 6), (1, 4)),
        "a part": View(VALUES, 5, (2, 3), (6, 2)),
        "expanded": View(VALUES, 7, (3, 2), (0, 1)),
        "a scalar": View(VALUES, 23, (), ()),
        "empty": View(VALUES, 0, (0, 3), (3, 1)),
    }
    found = read(write_torch(tmp_path / "a.pth", views))
    np.testing.assert_array_equal(found["transposed"], VALUES.reshape(6, 4).T)
    np.testing.assert_array_equal(found["a part"], [[5, 7, 9], [11, 13, 15]])
    np.testing.assert_array_equal(found["expanded"], [[7, 8]] * 3)
    assert found["a scalar"] == 23 and found["a scalar"].shape == ()
    assert found["empty"].shape == (0, 3)


@pytest.mark.parametrize("within", ["", "state_dict", "model_state_dict", "model"])
def test_nested_state_dicts(tmp_path, within):
    path = write_torch(tmp_path / "a.pth", {"a.weight": VALUES, "b": VALUES}, within=within)
    assert list(read_torch(path)) == ["a.weight", "b"]


def test_an_axis_of_one_value_may_have_any_stride(tmp_path):
    found = read(write_torch(tmp_path / "a.pth", {"x": View(VALUES, 0, (1, 4), (2**62, 1))}))
    np.testing.assert_array_equal(found["x"], VALUES[None, :4])


@pytest.mark.parametrize(
    "view",
    [
        View(VALUES, 1, (4, 6), (6, 1)),
        View(VALUES, -1, (2,), (1,)),
        View(VALUES, 20, (2,), (-1,)),
        View(VALUES, 24, (1,), (1,)),
        View(VALUES, 0, (2**40, 2**40), (2**40, 1)),
        View(VALUES, 0, (2,), (1, 1)),
    ],
)
def test_a_view_beyond_its_storage_is_refused(tmp_path, view):
    with pytest.raises(Unsuitable, match=r"x reaches beyond its storage.*download it again"):
        read_torch(write_torch(tmp_path / "a.pth", {"x": view}))


class Payload:
    """Unpickled by Python, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_payload_is_named_and_not_run(tmp_path, protocol):
    made = tmp_path / "made"
    start = 2 if protocol == 2 else 11  # after the version, and the length of the frame
    program = pickle.dumps({"state_dict": Payload(made)}, protocol)[start:-1]
    path = write_program(tmp_path / "a.pth", program)
    with pytest.raises(Unsuitable, match=r"names \S+\.(getattr|touch), which .*safetensors\.torch\.save_file"):
        read_torch(path)
    assert not made.exists()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"cposix\nsystem\n(X\x01\x00\x00\x00xtR", "names posix.system, which no state dict needs"),
        (b"ctorch.nn.modules.linear\nLinear\n)\x81", "names torch.nn.modules.linear.Linear"),
        (b"(X\x01\x00\x00\x00xios\nsystem\n", "instruction INST"),
        (b"ctorch\nFloatStorage\n)R", "calls what is no function"),
        (b"}K\x01s", "cannot be read"),
        (b"K\x01K\x02K\x03s", "no dict"),
        (b"h\x07", "cannot be read"),
        (b"}", "holds no tensors"),
        (b"X\xff\xff\xff\x7fx", "cannot be read"),
        (b"(X\x07\x00\x00\x00storageK\x01K\x02K\x03K\x04tQ", "something else than a storage"),
        (b"})K\x01s", "something else than a name or a number"),
        (b"ccollections\nOrderedDict\n((((K\x01tK\x02tttR", "something else than a name or a number"),
    ],
)
def test_programs_that_no_state_dict_needs_are_refused(tmp_path, program, words):
    with pytest.raises(Unsuitable, match=words):
        read_torch(write_program(tmp_path / "a.pth", program))


@pytest.mark.parametrize("function", ["_rebuild_tensor_v2", "_rebuild_tensor"])
def test_the_format_before_pytorch_1_6_is_read(tmp_path, function):
    views = {"x": VALUES.astype(np.float16), "transposed": View(VALUES, 0, (4, 6), (1, 4)), "y": np.arange(3)}
    found = read(write_legacy(tmp_path / "old.pth", views, function))
    np.testing.assert_array_equal(found["x"], VALUES)
    np.testing.assert_array_equal(found["transposed"], VALUES.reshape(6, 4).T)
    np.testing.assert_array_equal(found["y"], [0, 1, 2])


@pytest.mark.parametrize("write", [write_torch, write_legacy])
def test_damaged_files_are_refused_wherever_they_are_cut_or_changed(tmp_path, write):
    path = write(tmp_path / "a.pth", {"x": VALUES, "y": VALUES.reshape(4, 6)})
    content = path.read_bytes()
    for length in range(0, len(content), 31):
        path.write_bytes(content[:length])
        with pytest.raises(Unsuitable, match="cannot be read as a state dict"):
            read_torch(path)
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(content)
        changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        with contextlib.suppress(Unsuitable):  # a change may be harmless; nothing else may be raised
            read(path)


@pytest.mark.parametrize("part", ["data.pkl", "byteorder", "data/0"])
def test_what_is_compressed_is_refused(tmp_path, part):
    path = write_torch(tmp_path / "a.pth", {"x": VALUES})
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED if name.endswith(part) else zipfile.ZIP_STORED)
    with pytest.raises(Unsuitable, match="compressed"):
        read_torch(path)

"""Writes and reads a network as a TensorFlow SavedModel of plain operations.

Unlike the program that jax2tf would call, it needs no XLA, is not compiled again for every batch size, and runs by
TensorFlow's own kernels, which are faster on CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.command_line import quiet_tensorflow
from fashion_jax.data.tensorflow_cpu import import_tensorflow
from fashion_jax.serving.exports.folder import MODELS

if TYPE_CHECKING:
    from fashion_jax.serving.exports.graph import Network

SIGNATURE = "serving_default"  # the one that TensorFlow Serving calls

_COMPUTE = {
    "AddV2",
    "ArgMax",
    "BatchMatMulV2",
    "BiasAdd",
    "Cast",
    "ConcatV2",
    "Const",
    "Conv2D",
    "Exp",
    "GatherV2",
    "Identity",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Mul",
    "NoOp",
    "Pad",
    "PadV2",
    "PartitionedCall",
    "Placeholder",
    "Relu",
    "Reshape",
    "ReverseV2",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "StatefulPartitionedCall",
    "StridedSlice",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
}
# TensorFlow adds functions of these to every SavedModel. They save and restore its variables, of which there are none.
_FILES = {
    "MergeV2Checkpoints",
    "Pack",
    "RestoreV2",
    "SaveV2",
    "Select",
    "ShardedFilename",
    "StaticRegexFullMatch",
    "StringJoin",
}


def write(network: Network, folder: Path) -> None:
    """Writes the network into the folder of an export."""
    from fashion_jax.serving.exports.tensorflow_operations import tf_function

    tf = import_tensorflow()
    signature = tf_function(network).get_concrete_function()
    tf.saved_model.save(tf.Module(), str(folder / MODELS["savedmodel"]), signatures={SIGNATURE: signature})


def read(folder: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns the function that runs the SavedModel of an export.

    Raises:
        ValueError: it has operations that no export has, or no signature for uint8 images.
    """
    quiet_tensorflow()
    tf = import_tensorflow()
    path = folder / MODELS["savedmodel"]
    _check_operations(path / "saved_model.pb")
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures[SIGNATURE]
    if [spec.dtype for spec in signature.structured_input_signature[1].values()] != [tf.uint8]:
        raise ValueError(f"its signature {SIGNATURE} does not take uint8 images")

    def run(images: np.ndarray, model: Any = loaded) -> dict[str, np.ndarray]:  # without the model, it would be freed
        return {name: values.numpy() for name, values in signature(images=tf.constant(images)).items()}

    return run


def _check_operations(path: Path) -> None:
    """Raises a ValueError if a SavedModel would do anything but compute: operations on files may not be called."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    graphs = SavedModel.FromString(path.read_bytes()).meta_graphs
    if len(graphs) != 1 or not graphs[0].HasField("object_graph_def"):
        raise ValueError("it is no SavedModel of TensorFlow 2")  # whose operations would run while it is loaded
    functions = graphs[0].graph_def.library.function
    of_files = {f.signature.name for f in functions if any(node.op in _FILES for node in f.node_def)}
    if offered := of_files.intersection(graphs[0].object_graph_def.concrete_functions):
        raise ValueError(f"its function {min(offered)} reads or writes files")
    for function in functions:
        for node in function.node_def:
            if node.op not in _COMPUTE | _FILES or of_files.intersection(_called(node)):
                raise ValueError(f"its operation {node.op} is none of an export")


def _called(node: Any) -> Iterator[str]:
    """Yields the names of the functions that a node calls."""
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)

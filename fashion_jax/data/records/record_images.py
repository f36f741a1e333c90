"""The images of a split that are stored as records instead of files."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, SupportsIndex, overload

import numpy as np

from fashion_jax.data.decoding.decode import decode, fit, in_parallel
from fashion_jax.data.records.record_files import Records, file_digests, read_patiently
from fashion_jax.data.tensorflow_cpu import closed_at_exit, dataset_of, failures, import_tensorflow
from fashion_jax.errors import Outage, RunError, UserError, first_line

_PARALLEL_READS = 4  # batches; each reads its shards in parallel


@dataclasses.dataclass(frozen=True)
class ImageFormat:
    """How a record holds its image.

    Attributes:
        feature: its name in a tf.train.Example; "" if the record is the image itself.
        shape: (height, width, channels) of raw uint8 pixels; () if the image is encoded.
    """

    feature: str = ""
    shape: tuple[int, ...] = ()


class RecordNames(Sequence[str]):
    """The names of a split's images, used in place of file paths; knows where the record of each image is.

    Attributes:
        records: the records of the whole dataset.
        rows: int64 [images], the record of each image.
        format: how a record holds its image.
        title: the dataset's name in messages.
    """

    def __init__(
        self,
        records: Records,
        rows: np.ndarray,
        image_format: ImageFormat,
        title: str,
        content_digests: np.ndarray | None = None,
    ):
        """Takes `content_digests`, of the files that the images were made of (uint64 [images]), if they are known."""
        self.records, self.rows, self.format, self.title = records, rows, image_format, title
        self._content_digests = content_digests

    def select(self, images: Sequence[int] | np.ndarray) -> RecordNames:
        """Returns the names of some images (int [n]), in the given order."""
        images = np.asarray(images, np.int64)
        digests = None if self._content_digests is None else self._content_digests[images]
        return RecordNames(self.records, self.rows[images], self.format, self.title, digests)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> RecordNames: ...

    def __getitem__(self, index: SupportsIndex | slice) -> str | RecordNames:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        return f"{self.title}, record {self.rows[index]}"

    def content_digests(self) -> np.ndarray:
        """Returns uint64 [images], which differ if the file that an image was made of has changed.

        If that file is not known, they differ if the record file has changed, or the position of the record in it.
        """
        if self._content_digests is not None:
            return self._content_digests
        files, counts = zip(*self.records.shards, strict=True)
        starts = np.cumsum([0, *counts])
        shard = np.searchsorted(starts, self.rows, side="right") - 1
        return file_digests(files)[shard] + (self.rows - starts[shard]).astype(np.uint64)

    def picture(self, i: int) -> io.BytesIO:
        """Returns an image as a file that Pillow opens."""
        content = self.records.read(self.rows[i : i + 1])[0]
        if self.format.feature:
            example = import_tensorflow().train.Example.FromString(content)
            content = example.features.feature[self.format.feature].bytes_list.value[0]
        if not self.format.shape:
            return io.BytesIO(content)
        from PIL import Image

        pixels, file = np.frombuffer(content, np.uint8).reshape(self.format.shape), io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
        file.seek(0)
        return file


class RecordImages:
    """Reads and decodes an image whenever it is asked for; raw pixels of the canvas's size are only copied."""

    def __init__(self, names: RecordNames, canvas: tuple[int, int], resize: str):
        self._names, self._canvas, self._resize = names, canvas, resize
        self._unread: list[UserError | Outage] = []  # why records could not be read, in a sentence

    @closed_at_exit
    def batches(self, indices: Callable[[], Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
        """Yields batches as image_stores.Images.batches does."""
        tf = import_tensorflow()
        dataset = dataset_of(tf, indices).map(
            lambda i: self._canvases(tf, tf.numpy_function(self._read, [i], tf.string)),
            num_parallel_calls=_PARALLEL_READS,
            deterministic=True,
        )
        asked = indices()
        try:
            for pixels in dataset.prefetch(2).as_numpy_iterator():
                yield pixels
                next(asked)
        except failures(tf) as error:
            raise self._unreadable(tf, next(asked), error) from error

    def _read(self, images: np.ndarray) -> np.ndarray:
        try:
            return np.array(read_patiently(self._names.records, self._names.rows[images], self._names.title), object)
        except (UserError, Outage) as error:
            self._unread.append(error)
            raise

    def _canvases(self, tf: Any, records: Any) -> Any:
        """Decodes serialized records to uint8 [records, height, width, 3]."""
        contents = tf.ensure_shape(records, [None])
        if feature := self._names.format.feature:
            contents = tf.io.parse_example(contents, {feature: tf.io.FixedLenFeature([], tf.string)})[feature]
        if not self._names.format.shape:
            return tf.numpy_function(self._decoded, [contents], tf.uint8)
        pixels = tf.reshape(tf.io.decode_raw(contents, tf.uint8), [-1, *self._names.format.shape])
        if self._names.format.shape == (*self._canvas, 3):
            return pixels
        return tf.numpy_function(self._fitted, [pixels], tf.uint8)

    def _decoded(self, contents: np.ndarray) -> np.ndarray:
        return np.stack(in_parallel(lambda data: decode(data, self._canvas, self._resize), contents.tolist()))

    def _fitted(self, images: np.ndarray) -> np.ndarray:
        images = images.repeat(3, axis=-1) if images.shape[-1] == 1 else images
        return np.stack(in_parallel(lambda pixels: fit(pixels, self._canvas, self._resize), list(images)))

    def _unreadable(self, tf: Any, images: np.ndarray, error: Exception) -> Exception:
        """Returns an error that names the unreadable image of the failed batch, which tf.data's own error does not."""
        if self._unread:
            return self._unread[-1]
        for i in images.tolist():
            try:
                self._canvases(tf, tf.constant(self._names.records.read(self._names.rows[i : i + 1])))
            except UserError as found:
                return found
            except Exception as reason:
                return UserError(
                    f"The image {self._names[i]} cannot be read and decoded ({first_line(reason)}): restore the set."
                )
        return RunError(
            f"An image of a batch of {self._names.title} could not be read and decoded ({first_line(error)}), but now "
            "all can be: run the same command again to resume."
        )

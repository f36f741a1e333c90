"""Plain convolutions with padding size // 2, and gradients that are fast on CPU inside loops too.

XLA's CPU backend has fast code for convolutions whose axes are in the order NHWC and HWIO. It brings others, such as
JAX's own gradients, into this order first, except inside loops: there it computes them one number at a time, on one
thread. So the gradients are written in this order here.
"""

from jax import Array, lax


def convolve(x: Array, kernel: Array, stride: int) -> Array:
    """Convolves x [batch, height, width, in] with kernel [size, size, in, out]."""
    low = kernel.shape[0] // 2
    return _convolve(x, kernel, [(low, low)] * 2, stride=stride)


def input_gradient(x: Array, kernel: Array, g: Array, stride: int) -> Array:
    """Returns the gradient of convolve for x, from the gradient g of its result."""
    low = kernel.shape[0] // 2
    padding = [(low, low + size - _span(outputs, stride)) for size, outputs in _sides(x, g)]
    return _convolve(g, lax.rev(kernel, (0, 1)).swapaxes(2, 3), padding, input_dilation=stride)


def kernel_gradient(x: Array, g: Array, size: int, stride: int) -> Array:
    """Returns the gradient of convolve for a kernel of the given size."""
    return turned_kernel_gradient(x.transpose(3, 1, 2, 0), g, size, stride)


def turned_kernel_gradient(turned: Array, g: Array, size: int, stride: int) -> Array:
    """Returns what kernel_gradient does, from x with images and features exchanged, [in, height, width, batch]."""
    low = size // 2
    padding = [(low, low - inputs + _span(outputs, stride)) for inputs, outputs in _sides(turned, g)]
    gradient = _convolve(turned, g.transpose(1, 2, 0, 3), padding, kernel_dilation=stride)
    return gradient.transpose(1, 2, 0, 3)


def _sides(x: Array, g: Array) -> list[tuple[int, int]]:
    """Pairs the height, and the width, of an input with that of the output."""
    return list(zip(x.shape[1:3], g.shape[1:3], strict=True))


def _span(outputs: int, stride: int) -> int:
    """Returns the number of input pixels from the first output's center to the last one's."""
    return (outputs - 1) * stride + 1


def _convolve(
    x: Array,
    kernel: Array,
    padding: list[tuple[int, int]],
    stride: int = 1,
    input_dilation: int = 1,
    kernel_dilation: int = 1,
) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        lhs_dilation=(input_dilation, input_dilation),
        rhs_dilation=(kernel_dilation, kernel_dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

"""What the steps ask of the compiler, per platform."""

from jax.sharding import Mesh

# XLA's fusions into YNNPACK, on by default since jaxlib 0.10, are slower than its own loops and convolutions in
# this network's gradients. An empty list of fusion types turns them off.
_OPTIONS = {"cpu": {"xla_cpu_experimental_ynn_fusion_type": ""}}


def compiler_options(mesh: Mesh) -> dict[str, str]:
    """The options with which jax.jit compiles a step for the devices of a mesh; none for most platforms."""
    return _OPTIONS.get(mesh.devices.flat[0].platform, {})

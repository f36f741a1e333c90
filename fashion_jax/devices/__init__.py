"""The mesh of devices, compiler options, the compilation cache and the host's memory."""

"""The mesh of devices, the compiler's options, the compilation cache and the host's memory."""

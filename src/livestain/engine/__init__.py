"""The generator, compiled for a device."""

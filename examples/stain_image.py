"""Stain single images, without microscope or session."""

import livestain
from livestain.specimen import Camera, Specimen, illumination


def main() -> None:
    specimen = Specimen("spindle", shape=(256, 256), seed=7)
    frame = Camera(seed=7).expose(specimen.transmission() * illumination((256, 256), 7), 0)
    with livestain.open_engine("demo-nuclei-membrane") as engine:
        stain = engine.stain(frame)
        print(engine.info.backend, engine.info.precision, "-", engine.info.reason)
        # stain.stains: (S, Y, X) uint16, 65535 = the top of the model's range
        for name, plane in zip(stain.names, stain.stains, strict=True):
            print(f"virtual {name}: {plane.shape} {plane.dtype}, mean {plane.mean() / 65535:.3f}")
        for warning in stain.input.warnings:
            print("input:", warning)


if __name__ == "__main__":
    main()

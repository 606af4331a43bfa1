"""Attach livestain to a core, run a time-lapse, react to each stain as it comes.

Here the core's camera shows simulated cells; on a microscope, use your own ``CMMCorePlus`` instead.
"""

import sys

import useq

import livestain
from livestain.sources.camera import make_core, specimen_camera


def main(run_folder: str) -> None:
    sequence = useq.MDASequence(time_plan={"interval": 0.2, "loops": 10})
    with (
        make_core(specimen_camera(shape=(256, 256))) as core,
        livestain.attach(core, model="demo-nuclei-membrane", record=run_folder) as session,
    ):

        @session.stained.connect
        def show(stain: object) -> None:
            if isinstance(stain, livestain.Stain):
                nuclei = stain.stains[stain.names.index("nuclei")]
                print(f"{stain.key}: mean virtual nuclei {nuclei.mean() / 65535:.3f}, {stain.timing.total_ms:.0f} ms")

        core.run_mda(sequence, block=True)
        first = session.wait((0, 0, 0), timeout_s=30)
        print(f"{first.key} was stained {'live' if first.live else 'late, from disk'}")
    for status in session.report():
        print(status.counters)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "example-run")

"""Open a recorded run: channels, planes, what has no stain."""

import sys

import livestain


def main(run_folder: str) -> None:
    run = livestain.open_run(run_folder)
    print("channels:", ", ".join(run.channels))
    for name in run.channels:
        planes = run.array(name)  # lazy: T Z Y X
        print(f"{name}: {planes.shape} {planes.dtype}, mean of the first plane {planes[0, 0].mean():.1f}")
    rows = run.ledger("raw")  # columns; pandas.DataFrame(rows) works
    print("rows:", len(rows["t"]), "without a stain:", [str(key) for key in run.missing()])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "demo-run")

"""One adapter per engine library."""

import sys

# OpenVINO reports its use over the network, by a process it forks at import: nothing of a lab leaves the lab, and the
# fork holds our pipes open (seen: it hung, and the end of the stainer was never noticed). Without the package OpenVINO
# takes its own silent stand-in.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

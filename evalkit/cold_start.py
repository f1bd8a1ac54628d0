"""A process that loads one method, makes one frame and tells when: what a user waits for who has just typed the command.

Reads its task as JSON from standard input; times are of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

STARTED_S = time.monotonic()
PIECE_S = 0.48


def main() -> None:
    """Entry point: `python -m evalkit.cold_start`."""
    given = json.load(sys.stdin)
    from evalkit.generator import GeneratorSetup, configured_method
    from evalkit.methods.base import Inputs
    from evalkit.methods.remux import read_voice, voice_rate_hz
    from evalkit.plugins import load_plugins

    load_plugins(given["plugins"])
    session = configured_method(given["method"], GeneratorSetup(**given["generator"])).load(given["profile"])
    loaded_s = time.monotonic()
    about = given["inputs"]
    inputs = Inputs(about["id"], Path(about["image"]), Path(about["audio"]), about["prompt"])
    try:
        stream = session.listen(inputs, 0)
    except NotImplementedError as error:
        print(json.dumps({"not_possible": str(error)}))
        return
    voice, step = read_voice(inputs.audio), round(PIECE_S * voice_rate_hz(inputs.audio))
    for first in range(0, len(voice), step):
        for _ in stream.push(voice[first : first + step]):
            times = {"started_s": STARTED_S, "loaded_s": loaded_s, "first_frame_s": time.monotonic()}
            print(json.dumps(times))
            return
    raise SystemExit("the voice ended before the first frame")


if __name__ == "__main__":
    main()

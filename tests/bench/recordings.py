"""Made-up recordings in the form of py-spy's, of any size."""

import json
import random
from pathlib import Path

RATE_HZ = 100
FRAMES = 1500
DEPTHS = range(20, 49)  # frames of a stack; sglang-jax's are up to 50 deep
PID = 4242


def write_recording(path: Path, *, samples: int, stacks: int, threads: int = 12, seed: int = 0) -> Path:
    """A speedscope file of ``threads`` threads with ``samples`` samples in all, of ``stacks`` distinct stacks.

    A few stacks are most of the samples, as in a real recording: the k-th is k times rarer than the first.
    """
    rng = random.Random(seed)
    frames: list[dict[str, object]] = [
        {
            "name": f"Class{number % 97}.method_{number}",
            "file": f"/venv/lib/python3.12/site-packages/package_{number % 31}/module_{number % 211}.py",
            "line": number % 900 + 1,
        }
        for number in range(FRAMES)
    ]
    frames.append({"name": f'process {PID}:"python -m sgl_jax.launch_server"', "file": "", "line": 0})
    frames += [
        {"name": f"thread ({PID + thread}): worker-{thread}", "file": "", "line": 0}
        for thread in range(threads)
    ]
    profiles = []
    for thread in range(threads):
        labels = [FRAMES, FRAMES + 1 + thread]
        own = [labels + rng.choices(range(FRAMES), k=rng.choice(DEPTHS)) for _ in range(stacks // threads)]
        ticks = samples // threads
        profiles.append(
            {
                "type": "sampled",
                "name": f'Process {PID} Thread {10**14 + thread} "worker-{thread}"',
                "unit": "seconds",
                "startValue": 0.0,
                "endValue": ticks / RATE_HZ,
                "samples": rng.choices(own, [1 / (k + 1) for k in range(len(own))], k=ticks),
                "weights": [1 / RATE_HZ] * ticks,
            }
        )
    document = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "profiles": profiles,
        "shared": {"frames": frames},
        "activeProfileIndex": None,
        "exporter": "py-spy@0.4.3",
        "name": "py-spy profile",
    }
    path.write_text(json.dumps(document, separators=(",", ":")), encoding="ascii")
    return path

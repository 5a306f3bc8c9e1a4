"""How often the intervals of a simulated phase hold the truth, and how wide they are: ``make interval-coverage``.

All cases of lag-1 correlation, differences between blocks and kinds in turn, with as many blocks as a capture
has; then phases too short for 16 blocks, and ticks at lower rates, of short and of long requests. 93 % is the least
that passes.
"""

import sys

from tests.support.simulated_phase import CASES, Case, coverage

REPEATS = 400
SHORT = [Case(rho, 0.01, kinds, phase_s) for phase_s in (8.0, 3.0) for kinds in (1, 3) for rho in (0, 0.6)]
RATES = [
    Case(0.3, 0.01, kinds, rate_hz=rate_hz, times=times)
    for times in (1.0, 10.0)
    for kinds in (1, 3)
    for rate_hz in (60, 25)
]
LEAST = 0.93


def main() -> int:
    failed = 0
    for case in [*CASES, *SHORT, *RATES]:
        table = coverage(case, REPEATS)
        low = table[table["covered"] < LEAST]
        failed += len(low)
        print(f"{case}{'' if low.empty else ': TOO LOW'}")
        print((100 * table).round(1).T.to_string(), flush=True)
    print(f"{failed} estimates cover less than {LEAST:.0%}" if failed else f"all cover at least {LEAST:.0%}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

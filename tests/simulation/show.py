"""Shows the sweep of a seed step by step.

python -m tests.simulation.show SEED
"""

from __future__ import annotations

import sys
import traceback

from tests.simulation.sweeps import simulate


def main() -> None:
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit("python -m tests.simulation.show SEED")
    result = simulate(int(sys.argv[1]), print)
    if result.violation is not None:
        traceback.print_exception(result.violation)
    sys.exit(f"{result}" if result.violation else 0)


if __name__ == "__main__":
    main()

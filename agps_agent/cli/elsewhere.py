"""`python -m agps_agent.cli.elsewhere ADDRESS COMMAND...`: a command of AGPS, on a machine of a Ray cluster.

No command for people: `agps reproduce --ray` starts it in the place of `agps train` and `agps eval`.
"""

import os
import sys
from collections.abc import Sequence

from agps_agent.cli.terminal import say
from agps_agent.fleet.elsewhere import run_elsewhere
from rl.errors import AgpsError


def starts_elsewhere(address: str) -> tuple[str, ...]:
    """Return what starts a command of AGPS on a machine of a cluster, before its name."""
    return sys.executable, "-m", "agps_agent.cli.elsewhere", address


def main(argv: Sequence[str]) -> int:
    """Run the command; the cores that it is to have stand in OMP_NUM_THREADS."""
    address, *command = argv
    try:
        return run_elsewhere(address, command, cores=int(os.environ.get("OMP_NUM_THREADS", "1")))
    except AgpsError as error:
        say(f"agps: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        say("agps: Interrupted.")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

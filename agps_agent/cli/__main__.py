"""`python -m agps_agent.cli` is `agps`."""

import sys

from agps_agent.cli.main import main

sys.exit(main())

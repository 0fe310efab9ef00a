"""The `agps` command line: one short file per command."""

from agps_agent.cli.main import main

__all__ = ["main"]

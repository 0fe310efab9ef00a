"""From run directories to pages, figures and a Rerun recording."""

from agps_agent.report.run_page import write_report

__all__ = ["write_report"]

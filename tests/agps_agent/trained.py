"""A training run as `agps train` does it: with the report."""

from functools import partial

from agps_agent.report import write_report
from agps_agent.run import training

train_with_report = partial(training.train, report=write_report)

"""A task in a package of its own, written for somebody who goes on from there: `agps new-task NAME`."""

"""Devices with which a person moves the arm or judges an episode."""

"""A station file of an emulated arm that is never reached."""

STATION = """
truth = "emulator://127.0.0.1:1"
[arm]
ip = "127.0.0.1"
[workspace]
lower = [0.30, -0.20, 0.00]
upper = [0.70, 0.20, 0.40]
"""

"""Devices with which a person moves the arm or judges an episode."""

from rl.robots.teleop.gamepad import GamepadHand, GamepadMapping
from rl.robots.teleop.hand import DeviceHand, HandConfig
from rl.robots.teleop.keys import Key, KeyReader
from rl.robots.teleop.spacemouse import SpaceMouseHand

__all__ = ["DeviceHand", "GamepadHand", "GamepadMapping", "HandConfig", "Key", "KeyReader", "SpaceMouseHand"]

"""Arms with the controls of a real one, which fail when they are told to."""

import time
from collections import Counter

from rl.errors import HardwareFault
from rl.robots.fake import FakeBackend
from rl.robots.mujoco import MujocoBackend


class Controls:
    """A backend's `fail_at` are the numbers of the commands that find it broken, `unrecoverable` is how it stays."""

    def __init__(self, task, *, fail_at=(), unrecoverable=False, period_s=0.0, blind=False):
        super().__init__(task)
        self.blind = blind
        """The next picture for the agent fails."""
        self.fail_at, self.unrecoverable, self.period_s = set(fail_at), unrecoverable, period_s
        self.calls: Counter[str] = Counter()
        self.log: list[str] = []

    def _note(self, name):
        self.calls[name] += 1
        if not self.log or self.log[-1] != name:
            self.log.append(name)

    def reset(self, T_base_tcp, rng):
        self._note("reset")
        return super().reset(T_base_tcp, rng)

    def command(self, T_base_target, gripper_opening):
        self._note("command")
        if self.calls["command"] in self.fail_at:
            raise HardwareFault("A reflex stopped the arm; free it.")
        time.sleep(self.period_s)
        return super().command(T_base_target, gripper_opening)

    def capture(self, cameras=None, *, shadows=True):
        if self.blind:
            self.blind = False
            raise HardwareFault("Camera side has sent no frame for 2 s; check its cable.")
        return super().capture(cameras, shadows=shadows)

    def pause(self):
        self._note("pause")

    def resume(self):
        self._note("resume")

    def stop(self):
        self._note("stop")

    def recover(self):
        self._note("recover")
        if self.unrecoverable:
            raise HardwareFault("The arm was recovered 3 times within the hour; look at it.")

    def metrics(self):
        return {"watchdog_freezes": 0.0}


class FailingBackend(Controls, FakeBackend):
    """Obeys at once."""


class SimulatedArm(Controls, MujocoBackend):
    """Has real images and contacts."""


class Typed:
    """Keys that are pressed at given control steps of the first episode, counting from 1; 0 is before it."""

    available = True

    def __init__(self, **at):
        self.at = {step: key for key, step in at.items()}
        self.steps = -1

    def read(self):
        self.steps += 1
        return self.at.get(self.steps)

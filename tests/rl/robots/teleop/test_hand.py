"""From the deflection of a device to an action."""

import logging

import numpy as np
import pytest

from rl.errors import ConfigError
from rl.robots.teleop.hand import Deflection, DeviceHand, HandConfig
from rl.types import Observation, RobotState

STATE = RobotState(T_base_tcp=np.eye(4), twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=1.0)
OBSERVATION = Observation(images={}, state=np.zeros(19, np.float32), robot=STATE, T_base_ref=np.eye(4), step=0)


class ScriptedDevice(DeviceHand):
    """Is deflected as the test says."""

    device = "scripted device"

    def __init__(self, config: HandConfig | None = None) -> None:
        self.now_s = 0.0
        super().__init__(config, clock=lambda: self.now_s)
        self.deflection: Deflection | None = Deflection(axes=np.zeros(6))

    def _deflection(self) -> Deflection | None:
        return self.deflection

    def deflect(self, *axes: float, grip: float = 0.0, held: bool = False):
        self.deflection = Deflection(axes=np.array([*axes, *[0.0] * (6 - len(axes))]), grip=grip, held=held)
        return self.read(OBSERVATION)


def test_device_at_rest_is_a_hand_that_is_off():
    assert ScriptedDevice().deflect(0.0) is None


def test_deflection_within_the_deadband_is_none():
    assert ScriptedDevice(HandConfig(deadband=0.2)).deflect(0.2, -0.2, 0.1) is None


def test_action_grows_from_zero_beyond_the_deadband_and_is_scaled():
    hand = ScriptedDevice(HandConfig(deadband=0.2, translation_scale=0.5))
    np.testing.assert_allclose(hand.deflect(0.6, -1.0), [0.25, -0.5, 0, 0, 0, 0], atol=1e-6)


def test_rotations_have_their_own_scale():
    hand = ScriptedDevice(HandConfig(deadband=0.0, rotation_scale=0.25))
    np.testing.assert_allclose(hand.deflect(0, 0, 0, 1.0, 0, -1.0), [0, 0, 0, 0.25, 0, -0.25], atol=1e-6)


def test_operator_who_faces_the_arm_pushes_it_towards_it():
    hand = ScriptedDevice(HandConfig(operator_yaw_rad=np.pi))
    np.testing.assert_allclose(hand.deflect(1.0, 0, 0, 0, 1.0, 1.0), [-1, 0, 0, 0, -1, 1], atol=1e-6)


def test_action_stays_within_one_whatever_the_device_says():
    hand = ScriptedDevice(HandConfig(operator_yaw_rad=0.8))
    action = hand.deflect(9.0, -9.0, np.inf, np.nan, 1.0, 1.0)
    assert np.all(np.abs(action) <= 1.0)


def test_crossing_the_middle_does_not_end_the_intervention_but_letting_go_does():
    hand = ScriptedDevice(HandConfig(release_s=0.2))
    hand.deflect(1.0)
    hand.now_s = 0.2
    np.testing.assert_array_equal(hand.deflect(0.0), np.zeros(6))
    hand.now_s = 0.21
    assert hand.deflect(0.0) is None


def test_gripper_command_is_the_seventh_entry_and_keeps_without_a_button():
    hand = ScriptedDevice(HandConfig(actions=7))
    np.testing.assert_array_equal(hand.deflect(0.0, grip=-1.0, held=True), [0, 0, 0, 0, 0, 0, -1])
    np.testing.assert_array_equal(hand.deflect(0.0), np.zeros(7))


def test_button_holds_the_arm_still_where_there_is_no_gripper_command():
    np.testing.assert_array_equal(ScriptedDevice().deflect(0.0, grip=1.0, held=True), np.zeros(6))


def test_hand_that_leaves_the_dead_mans_switch_is_off_at_once():
    hand = ScriptedDevice()
    hand.deflect(1.0)
    hand.deflection = None
    assert hand.read(OBSERVATION) is None


def test_lost_device_ends_the_intervention_and_is_said_once(caplog):
    hand = ScriptedDevice()
    hand.deflect(1.0)
    with caplog.at_level(logging.WARNING):
        hand._lose("unplugged")
        hand._lose("unplugged")
    assert hand.deflect(1.0) is None and hand.lost
    assert [record.message for record in caplog.records] == [
        "The scripted device is lost (unplugged): the policy acts alone; plug it in and start again."
    ]


@pytest.mark.parametrize(
    "wrong", [{"actions": 5}, {"deadband": 1.0}, {"translation_scale": 1.5}, {"rotation_scale": 0.0}, {"release_s": -1}]
)
def test_configuration_that_no_action_can_be_made_of_is_refused(wrong):
    with pytest.raises(ConfigError, match=f"teleop.{next(iter(wrong))} is"):
        HandConfig(**wrong)

"""The real SpaceMouse and gamepad libraries, fed with the bytes and events of devices that are not there."""

import logging
import queue
import struct
import subprocess
import sys

import numpy as np
import pytest

pyspacemouse = pytest.importorskip("pyspacemouse")
pygame = pytest.importorskip("pygame")
pytestmark = pytest.mark.emulated

from pyspacemouse.config_helpers import apply_axis_convention  # noqa: E402
from pyspacemouse.device import HIDException  # noqa: E402

from rl.errors import ConfigError  # noqa: E402
from rl.robots.teleop import GamepadHand, GamepadMapping, HandConfig, SpaceMouseHand  # noqa: E402
from rl.robots.teleop import spacemouse as spacemouse_module  # noqa: E402
from tests.clocks import MovedClock, until  # noqa: E402
from tests.rl.robots.teleop.test_hand import OBSERVATION  # noqa: E402

FULL = 350
"""Count of a fully deflected axis."""


class CompactOverUsb:
    """What hidapi hands out for a SpaceMouse Compact: reports of 7 bytes, nothing in between, an error at the end."""

    product_string, manufacturer_string, release_number, serial_number = "SpaceMouse Compact", "3Dconnexion", 1, ""

    def __init__(self) -> None:
        self.reports: queue.Queue[bytes] = queue.Queue()
        self.idle = 0
        """Times that nothing was there to be read."""
        self.unplugged = False
        self.closed = False

    def open(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def read(self, size: int) -> bytearray:
        if self.unplugged:
            raise HIDException("Failed to read from HID device: -1")
        report = b"" if self.reports.empty() else self.reports.get()
        self.idle += not report
        return bytearray(report.ljust(size, b"\0")[:size]) if report else bytearray()

    def translate(self, x: int = 0, y: int = 0, z: int = 0) -> None:
        self.reports.put(struct.pack("<Bhhh", 1, x, y, z))

    def rotate(self, x: int = 0, y: int = 0, z: int = 0) -> None:
        self.reports.put(struct.pack("<Bhhh", 2, x, y, z))

    def press(self, *buttons: int) -> None:
        self.reports.put(struct.pack("<BH", 3, sum(1 << button for button in buttons)))


@pytest.fixture
def usb():
    return CompactOverUsb()


@pytest.fixture
def make_hand(usb):
    hands = []

    def make(**options):
        spec = pyspacemouse.get_device_specs()["SpaceMouseCompact"]
        mouse = pyspacemouse.SpaceMouseDevice(apply_axis_convention(spec, pyspacemouse.AxisConvention.ROS), usb)
        mouse.open()
        config = options.pop("config", HandConfig(deadband=0.0))
        hands.append(SpaceMouseHand(config, mouse=mouse, **{"clock": MovedClock().now, **options}))
        return hands[-1]

    yield make
    for hand in hands:
        hand.close()


def taken(usb) -> None:
    """Wait until the thread has taken every report, and looked for more."""
    until(usb.reports.empty)
    idle = usb.idle
    until(lambda: usb.idle > idle)


@pytest.mark.parametrize(
    ("kind", "counts", "axis", "sign"),
    [
        ("translate", {"y": -FULL}, 0, 1),  # away from the operator: forward
        ("translate", {"x": -FULL}, 1, 1),  # to the left
        ("translate", {"z": -FULL}, 2, 1),  # lifted: HID counts down
        ("rotate", {"z": -FULL}, 5, 1),  # counter-clockwise seen from above
        ("rotate", {"x": -FULL}, 4, 1),  # nodding forward
    ],
)
def test_cap_moves_the_arm_the_way_it_is_pushed(usb, make_hand, kind, counts, axis, sign):
    hand = make_hand()
    getattr(usb, kind)(**counts)
    taken(usb)
    action = hand.read(OBSERVATION)
    expected = np.zeros(6)
    expected[axis] = sign
    np.testing.assert_allclose(action, expected, atol=1e-6)


def test_hundred_waiting_reports_are_drained_before_the_next_control_step(usb, make_hand):
    hand = make_hand()
    for count in range(100):
        usb.translate(y=-count)
    usb.translate(y=-FULL)
    taken(usb)
    assert hand.read(OBSERVATION)[0] == pytest.approx(1.0)


def test_silence_of_a_held_cap_stops_the_arm(usb, make_hand):
    clock = MovedClock()
    hand = make_hand(timeout_s=0.15, config=HandConfig(deadband=0.0, release_s=0.0), clock=clock.now)
    usb.translate(y=-FULL)
    taken(usb)
    clock.move(0.14)
    assert hand.read(OBSERVATION) is not None
    clock.move(0.02)
    assert hand.read(OBSERVATION) is None
    usb.press(0)  # a report about a button does not bring the old deflection back
    taken(usb)
    np.testing.assert_array_equal(hand.read(OBSERVATION), np.zeros(6))


def test_buttons_close_and_open_the_gripper(usb, make_hand):
    hand = make_hand(config=HandConfig(actions=7))
    usb.press(0)
    taken(usb)
    assert hand.read(OBSERVATION)[6] == -1.0
    usb.press(1)
    taken(usb)
    assert hand.read(OBSERVATION)[6] == 1.0
    usb.press()
    taken(usb)
    assert hand.read(OBSERVATION)[6] == 0.0


def test_unplugged_mouse_ends_the_intervention_and_is_said_once(usb, make_hand, caplog):
    hand = make_hand()
    usb.translate(y=-FULL)
    taken(usb)
    assert hand.read(OBSERVATION) is not None
    with caplog.at_level(logging.WARNING):
        usb.unplugged = True
        until(lambda: hand.lost)
        assert hand.read(OBSERVATION) is None and hand.read(OBSERVATION) is None
    assert sum("SpaceMouse is lost" in record.message for record in caplog.records) == 1


def test_closing_stops_the_thread_and_releases_the_device(usb, make_hand):
    hand = make_hand()
    hand.close()
    assert usb.closed and not hand._thread.is_alive()


def test_no_mouse_attached_is_one_sentence():
    if pyspacemouse.get_connected_devices():
        pytest.skip("a SpaceMouse is attached")
    with pytest.raises(ConfigError, match="^No SpaceMouse is attached; plug one in, or choose another device.$"):
        SpaceMouseHand()


def test_missing_package_and_missing_library_are_told_apart(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyspacemouse", None)
        with pytest.raises(ConfigError, match=r"no pyspacemouse.*pip install"):
            spacemouse_module.open_space_mouse()

    def enumerate_without_library():
        raise AttributeError("undefined symbol: hid_enumerate")  # what easyhid does then

    monkeypatch.setattr("pyspacemouse.api.Enumeration", enumerate_without_library)
    with pytest.raises(ConfigError, match="apt install libhidapi-hidraw0"):
        spacemouse_module.open_space_mouse()


class XboxPad:
    """A `pygame.joystick.Joystick` of an Xbox pad; SDL reports 0 for triggers that have not moved yet."""

    def __init__(self, *, axes: int = 6, buttons: int = 11) -> None:
        self.axes, self.buttons, self.hat, self.closed = [0.0] * axes, [0] * buttons, (0, 0), False

    def get_numaxes(self) -> int:
        return len(self.axes)

    def get_numbuttons(self) -> int:
        return len(self.buttons)

    def get_numhats(self) -> int:
        return 1

    def get_axis(self, index: int) -> float:
        return self.axes[index]

    def get_button(self, index: int) -> int:
        return self.buttons[index]

    def get_hat(self, index: int) -> tuple[int, int]:
        return self.hat

    def get_instance_id(self) -> int:
        return 7

    def quit(self) -> None:
        self.closed = True


@pytest.fixture
def pad():
    return XboxPad()


def held(pad: XboxPad, **config) -> GamepadHand:
    pad.buttons[GamepadMapping().deadman] = 1
    return GamepadHand(HandConfig(deadband=0.0, **config), joystick=pad)


@pytest.mark.parametrize(
    ("pushed", "value", "axis", "sign"),
    [("left_y", -1.0, 0, 1), ("left_x", -1.0, 1, 1), ("right_x", -1.0, 5, 1), ("right_y", -1.0, 4, 1)],
)
def test_stick_moves_the_arm_the_way_it_is_pushed(pad, pushed, value, axis, sign):
    hand = held(pad)
    pad.axes[getattr(GamepadMapping(), pushed)] = value
    expected = np.zeros(6)
    expected[axis] = sign
    np.testing.assert_allclose(hand.read(OBSERVATION), expected, atol=1e-6)


def test_triggers_lift_and_lower_and_rest_at_zero_before_they_have_moved(pad):
    hand = held(pad)
    np.testing.assert_array_equal(hand.read(OBSERVATION), np.zeros(6))
    pad.axes[GamepadMapping().right_trigger] = 1.0
    assert hand.read(OBSERVATION)[2] == pytest.approx(1.0)
    pad.axes[GamepadMapping().right_trigger] = -1.0
    assert hand.read(OBSERVATION)[2] == pytest.approx(0.0)
    pad.axes[GamepadMapping().left_trigger] = 1.0
    assert hand.read(OBSERVATION)[2] == pytest.approx(-1.0)


def test_cross_rolls_and_buttons_grip(pad):
    hand = held(pad, actions=7)
    pad.hat = (1, 0)
    pad.buttons[GamepadMapping().close] = 1
    np.testing.assert_allclose(hand.read(OBSERVATION), [0, 0, 0, 1, 0, 0, -1])


def test_nothing_moves_without_the_dead_mans_button(pad):
    hand = held(pad)
    pad.axes[GamepadMapping().left_y] = -1.0
    assert hand.read(OBSERVATION) is not None
    pad.buttons[GamepadMapping().deadman] = 0
    assert hand.read(OBSERVATION) is None


def test_pad_that_is_unplugged_ends_the_intervention_for_good(pad, caplog):
    hand = held(pad)
    pygame.event.post(pygame.event.Event(pygame.JOYDEVICEREMOVED, instance_id=6))
    assert hand.read(OBSERVATION) is not None  # another one
    pygame.event.post(pygame.event.Event(pygame.JOYDEVICEREMOVED, instance_id=7))
    with caplog.at_level(logging.WARNING):
        assert hand.read(OBSERVATION) is None and hand.read(OBSERVATION) is None
    assert hand.lost and len(caplog.records) == 1


def test_pad_with_too_few_axes_is_refused_and_released():
    pad = XboxPad(axes=4)
    with pytest.raises(ConfigError, match="has 4 axes and 11 buttons; 6 and 5 are needed"):
        GamepadHand(joystick=pad)
    assert pad.closed


def test_no_gamepad_attached_is_one_sentence():
    with pytest.raises(ConfigError, match="^No gamepad is attached"):
        GamepadHand()


def test_pygame_missing_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ConfigError, match="no pygame for a gamepad; run `pip install"):
        GamepadHand()


def test_pygame_greets_nobody_and_leaves_sigterm_to_us():
    program = (
        "from rl.robots.teleop.gamepad import load_pygame\n"
        "def caught():\n"
        "    return next(int(l.split()[1], 16) for l in open('/proc/self/status') if l.startswith('SigCgt'))\n"
        "load_pygame()\n"
        "assert not caught() & (1 << 14), hex(caught())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_station_says_where_the_operator_stands(tmp_path, monkeypatch):
    from agps_agent.run import hardware
    from agps_agent.run.config import RunConfig
    from rl.tasks import get_task

    station = tmp_path / "station.toml"
    station.write_text(
        '[arm]\nip = "127.0.0.2"\n[workspace]\nlower = [0.3, -0.2, 0.0]\nupper = [0.7, 0.2, 0.4]\n'
        "[teleop]\noperator_yaw_deg = 180\ntranslation_scale = 0.5\n"
    )
    config = RunConfig(task="usb_insertion", robot="franka", station=station, method="hil-serl", teleop="gamepad")
    monkeypatch.setattr("rl.robots.teleop.GamepadHand", lambda config: config)
    hand = hardware.open_hand(config, get_task("usb_insertion"))
    assert hand == HandConfig(operator_yaw_rad=np.pi, translation_scale=0.5)

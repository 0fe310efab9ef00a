"""Connecting to the arm's control box, with one clear sentence for each way in which that fails."""

import importlib
import queue
import threading
from collections.abc import Callable
from typing import Any

from rl.errors import ConfigError
from rl.robots.franka.config import ArmConfig
from rl.robots.franka.faults import network_errors_of, reason

HARDEST_BLOW_N = 100.0
"""Highest threshold of the control box, [N] (HIL-SERL: 100)."""
CONNECT_S = 20.0
"""Longest wait for the control box, [s]: libfranka waits for ever where another client is served."""
MAX_DYNAMICS = 0.3
"""Largest fraction of franky's built-in limits: they are a Panda's, above what an FR3 allows."""


def import_franky() -> Any:
    """Return the module `franky` of the distribution franky-control.

    Raises:
        ConfigError: If it is missing, cannot be loaded, or is the unrelated package of that name.
    """
    try:
        franky = importlib.import_module("franky")
    except ModuleNotFoundError as error:
        if error.name == "franky":
            raise ConfigError('The arm needs franky-control; install it: pip install "agps[robot]".') from None
        raise ConfigError(
            f"The package franky here needs {error.name}, so it is not franky-control; "
            "run: pip uninstall franky && pip install --force-reinstall franky-control."
        ) from error
    except ImportError as error:
        raise ConfigError(
            f"franky-control is installed but cannot be loaded: {error}; it needs Linux on x86_64 with glibc 2.34 or "
            "newer, e.g. Debian 12 or Ubuntu 22.04."
        ) from error
    if not hasattr(franky, "CartesianImpedanceTrackingMotion"):
        if hasattr(franky, "Robot"):
            raise ConfigError("This franky-control is older than 2.0; run: pip install -U 'franky-control>=2'.")
        raise ConfigError(
            "The package franky here is not franky-control but another one of the same import name; "
            "run: pip uninstall franky && pip install --force-reinstall franky-control."
        )
    return franky


def connect(franky: Any, config: ArmConfig) -> Any:
    """Return a `franky.Robot` with its collision thresholds and load set; nothing moves.

    Raises:
        ConfigError: If the kernel, the firmware, the network or the box's state does not allow it.
    """
    if not 0.0 < config.speed <= MAX_DYNAMICS:
        raise ConfigError(f"arm.speed is {config.speed}; ask for more than 0 and at most {MAX_DYNAMICS}.")
    realtime = franky.RealtimeConfig.Enforce if config.realtime == "enforce" else franky.RealtimeConfig.Ignore
    stop_force_N = config.stop_force_factor * config.max_contact_force_N
    try:
        robot = within(
            CONNECT_S,
            lambda: franky.Robot(config.ip, relative_dynamics_factor=config.speed, realtime_config=realtime),
            f"The control box at {config.ip} does not answer within {CONNECT_S:.0f} s; close other programs that use "
            "the arm, and check arm.ip and the cable.",
        )
        # The control box is the last line: it brakes hard where the impedance and the 1 kHz reaction did not stop.
        # Its thresholds are for blows, in one millisecond: HIL-SERL sets 100 N.
        robot.set_collision_behavior([60.0] * 4 + [30.0] * 3, [min(max(60.0, 2.5 * stop_force_N), HARDEST_BLOW_N)] * 6)
        if config.load_kg > 0.0:
            robot.set_load(config.load_kg, list(config.load_com_m), [0.001, 0, 0, 0, 0.001, 0, 0, 0, 0.001])
    except franky.RealtimeException as error:
        raise ConfigError(
            "This kernel has no real-time scheduling (PREEMPT_RT), without which the arm stops at random; boot a "
            'real-time kernel (docs/hardware.md), or set arm.realtime = "ignore" for an emulator.'
        ) from error
    except franky.IncompatibleVersionException as error:
        raise ConfigError(
            f"The arm at {config.ip} speaks another protocol than this franky-control ({reason(error)}); the wheel on "
            "PyPI is for FR3 systems from 5.9.0 (server version 10): update the arm, or for server version N run: "
            "pip install franky-control --extra-index-url "
            "https://timschneider42.github.io/franky/whl/by-robot-server-version/N/."
        ) from error
    except network_errors_of(franky) as error:
        raise ConfigError(_unreachable(config.ip, reason(error))) from error
    except (franky.CommandException, franky.ProtocolException, franky.InvalidOperationException) as error:
        raise ConfigError(
            f"The arm at {config.ip} refuses the set-up: {reason(error)}; unlock the brakes and activate FCI in Desk."
        ) from error
    return robot


def within(timeout_s: float, action: Callable[[], Any], otherwise: str) -> Any:
    """Return the result of an action that may never end."""
    outcome: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def act() -> None:
        try:
            outcome.put((action(), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=act, name="connecting", daemon=True).start()
    try:
        result, error = outcome.get(timeout=timeout_s)
    except queue.Empty:
        raise ConfigError(otherwise) from None
    if error is not None:
        raise error
    return result


def _unreachable(ip: str, reason: str) -> str:
    if "refused" in reason.lower():
        return (
            f"The connection to FCI at {ip} was refused; activate FCI in Desk, close other programs that use it, and "
            "check arm.ip."
        )
    if "interrupted" in reason.lower():
        return f"FCI at {ip} hung up ({reason}): another program uses the arm; close it, then try again."
    return f"No control box answers at {ip} ({reason}); check arm.ip, the cable and that this PC is in its network."

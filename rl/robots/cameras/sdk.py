"""The RealSense SDK, imported only when a camera is opened."""

from typing import Any

import numpy as np

from rl.errors import ConfigError
from rl.types import FloatArray


def load_sdk() -> Any:
    """Return the module `pyrealsense2`.

    Raises:
        ConfigError: If it is not installed, or a shared library that it needs is not.
    """
    try:
        import pyrealsense2
    except ModuleNotFoundError:
        raise ConfigError("pyrealsense2 is not installed; run `pip install 'agps[realsense]'`.") from None
    except ImportError as error:
        if "libusb" in str(error):
            raise ConfigError(
                f"pyrealsense2 lacks a system library ({error}); run `apt install libusb-1.0-0`."
            ) from error
        raise ConfigError(f"pyrealsense2 does not load: {error}; reinstall it for this Python.") from error
    if not hasattr(pyrealsense2, "pipeline"):
        origin = getattr(pyrealsense2, "__file__", None) or ", ".join(getattr(pyrealsense2, "__path__", ("?",)))
        raise ConfigError(f"The module pyrealsense2 at {origin} is not the SDK; run `pip install 'agps[realsense]'`.")
    return pyrealsense2


def pinhole(intrinsics: Any) -> FloatArray:
    """Return K (3, 3), [px], of a stream's `rs.intrinsics`."""
    return np.array([[intrinsics.fx, 0.0, intrinsics.ppx], [0.0, intrinsics.fy, intrinsics.ppy], [0.0, 0.0, 1.0]])


def opencv_distortion(rs: Any, intrinsics: Any) -> FloatArray:
    """Return OpenCV's (k1, k2, p1, p2, k3) for the lens model of a stream, shape (5,).

    OpenCV's model is the SDK's `brown_conrady`. Colour streams of the D400 line come as `inverse_brown_conrady`, whose
    polynomial runs the other way; OpenCV's is linear in its coefficients, so they are fitted to the SDK's own rays.

    Raises:
        ConfigError: If no coefficients reproduce the rays within a quarter of a pixel.
    """
    coefficients = np.array(intrinsics.coeffs, float)
    if intrinsics.model == rs.distortion.none or not coefficients.any():
        return np.zeros(5)
    if intrinsics.model == rs.distortion.brown_conrady:
        return coefficients
    grid = np.meshgrid(np.linspace(0, intrinsics.width - 1, 17), np.linspace(0, intrinsics.height - 1, 13))
    pixels = np.column_stack([axis.ravel() for axis in grid])
    x, y = np.array([rs.rs2_deproject_pixel_to_point(intrinsics, list(pixel), 1.0)[:2] for pixel in pixels]).T
    bent = (pixels - [intrinsics.ppx, intrinsics.ppy]) / [intrinsics.fx, intrinsics.fy]
    r2 = x**2 + y**2
    radial = np.stack([r2, r2**2, r2**3])
    columns = np.vstack(
        [
            np.column_stack([*(x * radial)[:2], 2 * x * y, r2 + 2 * x**2, x * radial[2]]),
            np.column_stack([*(y * radial)[:2], r2 + 2 * y**2, 2 * x * y, y * radial[2]]),
        ]
    )
    wanted = np.concatenate([bent[:, 0] - x, bent[:, 1] - y])
    fitted, *_ = np.linalg.lstsq(columns, wanted, rcond=None)
    error_px = float(np.abs(columns @ fitted - wanted).max() * max(intrinsics.fx, intrinsics.fy))
    if error_px > 0.25:
        raise ConfigError(
            f"The lens model {intrinsics.model} {coefficients.tolist()} differs by {error_px:.2f} px from anything "
            "that OpenCV's can say, 0.25 px is the limit; choose another profile."
        )
    return np.asarray(fitted)

"""MuJoCo, which loads what `MUJOCO_GL` names when it is imported: where that is not installed, one sentence says so."""

import os

from rl.errors import ConfigError

try:
    import mujoco
except Exception as error:  # PyOpenGL without its library raises AttributeError, MuJoCo RuntimeError or ImportError
    raise ConfigError(
        f"Cannot load MuJoCo with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')!r} ({error}); unset MUJOCO_GL, or install "
        "what it names: `apt-get install libosmesa6` for osmesa, libegl1 for egl, libglfw3 for glfw."
    ) from error

__all__ = ["mujoco"]

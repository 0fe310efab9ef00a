"""Can this machine train: packages, rendering, meshes, processor, disk and, if asked, a chat model."""

import os
import platform
import shutil
from pathlib import Path

from agps_agent.doctor.checkup import Check
from rl.errors import AgpsError

NEEDED_DISK_GB = 2.0
"""A run with its checkpoints, interventions and recording."""


def machine_checks(run_dir: Path, vlm: str | None) -> dict[str, Check]:
    """Return the checks of the machine by name.

    Args:
        run_dir: Folder that runs are written to.
        vlm: Base URL of an OpenAI-compatible server to check too.
    """
    checks: dict[str, Check] = {
        "python": _python,
        "packages": _packages,
        "processor": _processor,
        "gpu": _gpu,
        "meshes": _meshes,
        "rendering": _rendering,
        "disk": lambda: _disk(run_dir),
    }
    if vlm is not None:
        checks["chat model"] = lambda: _chat_model(vlm)
    return checks


def _python() -> str:
    return f"{platform.python_version()} on {platform.platform(terse=True)}"


def _packages() -> str:
    from agps_agent.run.config_file import installed_versions

    versions = installed_versions()
    missing = [name for name, version in versions.items() if version == "not installed"]
    if missing:
        raise AgpsError(f"{', '.join(missing)} not installed; run `pip install -e .` in the repository.")
    return ", ".join(f"{name} {version}" for name, version in versions.items() if name != "python")


def _processor() -> str:
    import torch

    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    bfloat16 = "native bfloat16" if native else "no native bfloat16: an update takes about 1.5 times as long"
    return f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads; {bfloat16}"


def _gpu() -> str:
    from rl.devices import all_in_words

    return all_in_words()


def _meshes() -> str:
    from rl.robots.panda import find_mesh_folder

    folder = find_mesh_folder()
    if folder is None:
        raise AgpsError("No Panda meshes: the arm is drawn as capsules; run `pip install gymnasium-robotics`.")
    return str(folder)


def _rendering() -> str:
    from rl.envs import make_env

    env = make_env("usb_insertion")
    try:
        _, info = env.reset(seed=0)
        frame = env.capture()[0]
    finally:
        env.close()
    images = {**info["observation"].images, frame.name: frame.rgb}
    black = [name for name, image in images.items() if image.std() < 1.0]
    if black:
        raise AgpsError(f"The images of {', '.join(black)} are black; set MUJOCO_GL=egl or MUJOCO_GL=osmesa.")
    return f"MUJOCO_GL={os.environ.get('MUJOCO_GL', 'egl')}, {', '.join(images)} have content"


def _disk(folder: Path) -> str:
    folder = next(there for there in (folder.resolve(), *folder.resolve().parents) if there.exists())
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < NEEDED_DISK_GB:
        raise AgpsError(f"{free_gb:.1f} GB free in {folder}; a run needs {NEEDED_DISK_GB:.0f} GB.")
    return f"{free_gb:.0f} GB free in {folder}"


def _chat_model(url: str) -> str:
    from agps_agent.run.build import build_chat_model
    from agps_agent.settings import AgentSettings

    chat = build_chat_model(url, name=None, settings=AgentSettings())
    return f"{url} serves {chat.name}, read with the profile {chat.profile.name}"

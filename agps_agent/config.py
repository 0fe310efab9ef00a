"""Everything that a run can be told: documented here, reachable from the command line, saved as config.json."""

import importlib.metadata
import json
import math
import platform
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from agps_agent.float_trigger import FloatConfig, StallConfig
from agps_agent.runs import RunDirectory, read_json_object, write_atomically
from agps_agent.state import AgentSettings
from agps_agent.supervisor import SupervisorConfig
from rl.drq.config import PRESETS, DrQConfig, Preset
from rl.errors import AgpsError, ConfigError
from rl.guidance import GuidanceConfig

Method = Literal["agps", "serl"]

TESTED_PACKAGES = (
    "agps",
    "chromadb",
    "gymnasium",
    "langchain-core",
    "langchain-openai",
    "langgraph",
    "mujoco",
    "numpy",
    "pot",
    "stable-baselines3",
    "torch",
)
"""Packages whose version can change a result; saved beside the configuration."""


class TaskOptions(BaseModel):
    """What to change about the task; None leaves the task's own value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clearance_mm: Annotated[float, Field(gt=0)] | None = None
    """Gap between plug and port on each side, [mm]."""
    lead_in_mm: Annotated[float, Field(ge=0)] | None = None
    """Bevel at the rim, [mm]; 0: a sharp rim."""
    horizon: Annotated[int, Field(ge=1)] | None = None
    """Control steps until an episode is truncated."""
    port_jitter_mm: Annotated[float, Field(ge=0)] | None = None
    """The port moves uniformly within this in x and y each episode, [mm]."""
    port_jitter_deg: Annotated[float, Field(ge=0)] | None = None
    """The port turns uniformly within this about z each episode, [deg]."""
    light_jitter: Annotated[float, Field(ge=0)] | None = None
    """Relative change of brightness and of the lights' direction each episode."""
    colour_jitter: Annotated[float, Field(ge=0)] | None = None
    """Relative change of each material's colour each episode."""
    camera_jitter_mm: Annotated[float, Field(ge=0)] | None = None
    """Each camera moves by a normal deviate of this size each episode, [mm]."""
    camera_jitter_deg: Annotated[float, Field(ge=0)] | None = None
    """Each camera turns by a normal deviate of this size each episode, [deg]."""

    def overrides(self) -> dict[str, Any]:
        """Return the fields of the task that change, in m and rad."""
        fields: dict[str, Any] = {}
        for name, value in self.model_dump(exclude_none=True).items():
            if name.endswith("_mm"):
                fields[name.removesuffix("_mm") + "_m"] = value / 1000.0
            elif name.endswith("_deg"):
                fields[name.removesuffix("_deg") + "_rad"] = math.radians(value)
            else:
                fields[name] = value
        return fields


class RunConfig(BaseModel):
    """Train a policy on TASK with the agent in place of the human."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: tyro.conf.Positional[str]
    """Task to learn, e.g. usb_insertion."""
    method: Method = "agps"
    """agps: FLOAT watches and the agent helps. serl: the same learner, alone."""
    robot: Literal["sim"] = "sim"
    """Where the task runs: sim is MuJoCo."""
    vlm: str = "embedded"
    """Chat model: `embedded` works offline; else the base URL of an OpenAI-compatible server."""
    vlm_model: str | None = None
    """Model name at that server; its coordinate frame is taken from the name. None: the first that the server lists."""
    demos: Annotated[int, Field(ge=0)] = 20
    """Demonstrations, recorded by the scripted expert (paper: 20)."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything random; in lockstep it fixes the whole run."""
    max_env_steps: Annotated[int, Field(ge=1)] = 10_000
    """Budget of control steps."""
    max_minutes: Annotated[float, Field(gt=0)] = 5.0
    """Budget of wall-clock training time, [min]."""
    run_dir: Path | None = None
    """Where everything is written. None: runs/TASK/METHOD-demosN-seedN."""
    preset: Preset = "tuned"
    """Learner settings to start from: what measures best on two cores, or HIL-SERL's literal ones."""
    image_size: Literal[64, 128, 256] = 64
    """Edge of the policy's images, [px]."""
    mode: Literal["auto", "prune", "guide"] = "auto"
    """Intervention to ask for: what the agent decides, always a box, or always waypoints."""
    on_trigger: Literal["hold", "continue"] = "hold"
    """What the arm does while the agent thinks: hold still (the paper), or continue with the policy and take the answer
    when it comes."""
    store_guided: Literal["online", "both", "success"] = "success"
    """Buffer of guided steps: online (Algorithm 1), both (HIL-SERL), success (the demo buffer too
    if the episode succeeds)."""
    eval_every: Annotated[int, Field(ge=0)] = 1_000
    """Evaluate the policy alone every so many control steps; 0: only at the end."""
    eval_episodes: Annotated[int, Field(ge=1)] = 50
    """Episodes of the final evaluation: deterministic policy, no agent, no box."""
    learner: Literal["lockstep", "threaded"] = "lockstep"
    """lockstep: a fixed number of updates per control step, reproducible. threaded: it runs beside the loop."""
    threads: Annotated[int, Field(ge=0)] = 1
    """Torch threads; 0: one per physical core. Two are a third faster alone and ten times slower beside other work."""

    stop_when_solved: bool = True
    """End the training before the budget once two evaluations in a row are perfect."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 1_000
    """Save a checkpoint every so many control steps; 0: only at the end."""

    record_every: Annotated[int, Field(ge=0)] = 10
    """Rollouts from one that is recorded with images to the next; those with an intervention always are. 0: none."""

    task_options: TaskOptions = TaskOptions()
    """What to change about the task."""
    drq: DrQConfig = DrQConfig()
    """The learner; starts from --preset."""
    detector: Annotated[FloatConfig, tyro.conf.arg(name="float")] = FloatConfig()
    """The failure detector."""
    stall: StallConfig = StallConfig()
    """What watches until FLOAT has enough good rollouts to compare with."""
    supervisor: SupervisorConfig = SupervisorConfig()
    """When a trigger becomes a question to the agent."""
    agent: AgentSettings = AgentSettings()
    """Limits of one question."""
    guidance: GuidanceConfig = GuidanceConfig()
    """When a waypoint is reached."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, values: Any) -> Any:
        if isinstance(values, dict) and "drq" not in values:
            return {**values, **preset_values(values.get("preset", "tuned"))}
        return values

    @field_validator("vlm")
    @classmethod
    def _is_embedded_or_url(cls, vlm: str) -> str:
        if vlm != "embedded" and not vlm.startswith(("http://", "https://")):
            raise ValueError("use `embedded` or a URL such as http://localhost:8000/v1")
        return vlm

    def default_run_dir(self) -> Path:
        """Return where the run is written when --run-dir is not given."""
        return Path("runs") / self.task / f"{self.method}-demos{self.demos}-seed{self.seed}"


def preset_values(preset: str) -> dict[str, Any]:
    """Return the fields of `RunConfig` that a preset sets; none for an unknown name, which validation reports."""
    return {"drq": DrQConfig.preset(preset)} if preset in PRESETS else {}


def save_config(config: RunConfig, run: RunDirectory) -> None:
    """Write config.json: the complete configuration and the versions that it ran with."""
    content = {"config": config.model_dump(mode="json"), "versions": installed_versions()}
    write_atomically(run.config, json.dumps(content, indent=2) + "\n")


def load_config(run: RunDirectory) -> RunConfig:
    """Return the configuration of a run.

    Raises:
        AgpsError: If config.json is damaged.
        ConfigError: If it was written by a version with other fields.
    """
    content = read_json_object(run.config)
    if not isinstance(content.get("config"), dict):
        raise AgpsError(f"{run.config} has no `config` object; it is damaged.")
    try:
        return RunConfig.model_validate(content["config"])
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{run.config} does not fit this version: {field}: {first['msg']}.") from error


def load_versions(run: RunDirectory) -> dict[str, str]:
    """Return the package versions that a run was made with; empty when none were saved."""
    versions = read_json_object(run.config).get("versions", {})
    return {str(name): str(version) for name, version in versions.items()}


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of each package whose version can change a result."""
    versions = {"python": platform.python_version()}
    for package in TESTED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions

"""A model server that fails, in every way, in both modes, while the arm holds or goes on: the policy goes on, the guard
holds, and the reason is counted."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from stable_baselines3.common.vec_env import DummyVecEnv

from agps_agent.detectors import StallConfig
from agps_agent.models.faults import FaultPlan
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.server import serve_model
from agps_agent.retreat import HIDDEN
from agps_agent.run import build
from agps_agent.run.build import build_env, build_supervisor
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from rl.envs import ManipulationEnv
from rl.loop import RolloutLoop
from tests.agps_agent.injections import ORDER, Obedient, paint


class Faulty(BaseChatModel):
    """The embedded model, but for one kind of answer: an exception is raised, anything else is said."""

    schema_name: str = ""
    reply: Any = None

    @property
    def _llm_type(self) -> str:
        return "faulty"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        if kwargs["response_format"]["json_schema"]["name"] != self.schema_name:
            return EmbeddedVLM()._generate(messages, **kwargs)
        if isinstance(self.reply, Exception):
            raise self.reply
        return ChatResult(generations=[ChatGeneration(message=AIMessage(json.dumps(self.reply)))])


def both_at(point: list[float] | None) -> dict[str, Any]:
    """A perceive answer with both keypoints at one point, relative to 1000."""
    labels = ("port_left", "port_right")
    return {"keypoints": [{"label": label, "point_2d": point, "visible": point is not None} for label in labels]}


OF_THE_SERVER = {
    "rate_limited": "rate_limited",
    "server_error": "server_error",
    "cut": "connection_lost",
    "flood": "reply_too_long",
    "prose": "not_json",
    "wrong_keys": "wrong_schema",
    "nan": "not_json",
    "outside_image": "outside_image",
    "unknown_tool": "unknown_tool",
}
OF_AN_ORDER = {"prune": "box_misses_workspace", "guide": "outside_workspace"}


STAY, INTO_THE_CORNER = np.zeros(6, np.float32), np.array([1.0, 1.0, -1.0, 0.0, 0.0, 0.0], np.float32)


class Rig:
    """A watched robot, and the server that its agent asks."""

    def __init__(
        self, env: ManipulationEnv, folder: Path, mode: str, on_trigger: str, *, call_timeout_s: float = 50.0
    ) -> None:
        self.mode = mode
        self.env = env
        self.server = serve_model(EmbeddedVLM())
        once = {"retries": 0, "max_repairs": 0, "breaker_failures": 0, "max_views": 1}
        config = RunConfig(
            task="usb_insertion",
            vlm=self.server.url,
            mode=mode,
            on_trigger=on_trigger,
            agent={**once, "call_timeout_s": call_timeout_s},
            supervisor={"help_share": 1.0},
            stall=StallConfig(window_steps=3),
        )
        self.supervisor = build_supervisor(config, RunDirectory.create(folder / "run"), env)
        robot = DummyVecEnv([lambda: env])
        robot.seed(7)
        self.action = STAY
        self.loop = RolloutLoop(robot, policy=lambda _: self.action, supervisor=self.supervisor)

    def close(self) -> None:
        self.supervisor.close()
        self.server.shutdown()
        self.server.server_close()

    def counted(self) -> set[str]:
        """Begin a rollout and run it until a question has been answered, and a little longer; what was counted."""
        before = self.supervisor.metrics()
        self.loop.reset()
        deadline = time.monotonic() + 120.0
        counted: set[str] = set()
        while not counted and time.monotonic() < deadline:
            self.control_step()
            counted = {"helped"} if self.loop.active else set()
            counted |= {
                key for key, count in self.supervisor.metrics().items()
                if key.startswith(("declined/", "stale/")) and count > before.get(key, 0)
            }  # fmt: skip
        for _ in range(3):
            self.control_step()
        return counted

    def control_step(self) -> None:
        """One step; what was commanded, by whomever, is inside of the workspace."""
        reference = self.loop.step().info["observation"].T_base_ref[:3, 3]
        assert self.env.workspace.contains(reference)


@pytest.fixture(scope="module")
def env() -> Iterator[ManipulationEnv]:
    env = build_env(RunConfig(task="usb_insertion", task_options={"horizon": 100_000}))
    yield env
    env.close()


@pytest.fixture(scope="module", autouse=True)
def one_capture(env: ManipulationEnv) -> Iterator[None]:
    """Rendering what the agent sees takes longer than all else here: it is shown one picture throughout."""
    env.reset(seed=7)
    scene = build.capture_scene(env)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "capture_scene", lambda _: scene)
        yield


CASES = list(product(("prune", "guide"), ("hold", "continue")))


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def rig(
    request: pytest.FixtureRequest, env: ManipulationEnv, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    with closing(Rig(env, tmp_path_factory.mktemp("faults"), *request.param)) as rig:
        yield rig


def test_sound_server_helps(rig: Rig) -> None:
    assert rig.counted() == {"helped"}


@pytest.mark.parametrize("fault", OF_THE_SERVER)
def test_policy_goes_on_when_the_server_fails(fault: str, rig: Rig) -> None:
    rig.server.model, rig.server.faults = EmbeddedVLM(), FaultPlan((fault,))
    assert rig.counted() == {f"declined/{OF_THE_SERVER[fault]}"}


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_policy_goes_on_when_the_server_is_slow(case: tuple[str, str], env: ManipulationEnv, tmp_path: Path) -> None:
    with closing(Rig(env, tmp_path, *case, call_timeout_s=0.2)) as rig:
        rig.server.faults = FaultPlan(("slow",))
        assert rig.counted() == {"declined/timeout"}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Faulty(schema_name="PerceiveAnswer", reply=RuntimeError("CUDA out of memory")), "server_error"),
        (Faulty(schema_name="PerceiveAnswer", reply=both_at([20.0, 20.0])), "no_depth"),  # the sky
        (Faulty(schema_name="PerceiveAnswer", reply=both_at(None)), "not_visible"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_policy_goes_on_when_the_model_fails(model: Faulty, reason: str, rig: Rig) -> None:
    rig.server.model, rig.server.faults = model, FaultPlan((), share=0.0)
    rises = {"helped"} if rig.mode == "guide" and reason in HIDDEN else set()  # to look again
    assert rig.counted() == {f"declined/{reason}"} | rises


def test_order_painted_into_the_scene_moves_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.server.model, rig.server.faults = Obedient(), FaultPlan((), share=0.0)
    scene = build.capture_scene(rig.env)
    monkeypatch.setattr(build, "capture_scene", lambda _: paint(scene, ORDER))
    assert rig.counted() == {f"declined/{OF_AN_ORDER[rig.mode]}"}


def test_policy_goes_on_when_the_server_is_gone(rig: Rig) -> None:
    """The last one: it does not come back. The policy runs into the corner of the workspace meanwhile."""
    rig.server.shutdown()
    rig.server.server_close()
    rig.action = INTO_THE_CORNER
    assert rig.counted() <= {"declined/server_down", "declined/connection_lost"}
    assert rig.counted() == {"declined/server_down"}

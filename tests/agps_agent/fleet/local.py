"""A fleet in one process: robots and learner are threads, and a call is a call."""

import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from agps_agent.fleet.build import open_learner
from agps_agent.fleet.learner import FleetLearner
from agps_agent.fleet.link import LinkDown, News, RobotReport, StreamedStep
from agps_agent.fleet.robot import Place, RobotRun
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import SilentProgress
from rl.drq import DrQConfig
from rl.episodes import Episode

SMALL = DrQConfig(batch_size=16, learning_starts=20, hidden_size=32, channels=8, feature_size=16, buffer_capacity=2_000)


def configure(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "task": "usb_insertion",
        "method": "serl",
        "demos": 1,
        "agent_demos": 0,
        "pretrain_steps": 10,
        "max_env_steps": 120,
        "eval_every": 0,
        "eval_episodes": 1,
        "record_every": 0,
        "threads": 1,
        "drq": SMALL,
    }
    return RunConfig(**{**values, **changes})


class LocalLink:
    """A link that copies what it carries, as a network does, and can be cut."""

    def __init__(self, learning: FleetLearner) -> None:
        self.learning = learning
        self.is_cut = False

    def _carry(self, call: Callable[..., Any], *told: Any) -> Any:
        if self.is_cut:
            raise LinkDown("The link is cut.")
        return pickle.loads(pickle.dumps(call(*pickle.loads(pickle.dumps(told)))))

    def demonstrations(self) -> Sequence[Episode]:
        return self._carry(self.learning.demonstrations)

    def deliver(self, content: bytes) -> None:
        self._carry(self.learning.deliver, content)

    def ask(self, report: RobotReport) -> "Future[News]":
        future: Future[News] = Future()
        try:
            future.set_result(self._carry(self.learning.news, report))
        except Exception as error:
            future.set_exception(error)
        return future

    def take_steps(self, steps: Sequence[StreamedStep]) -> News:
        return self._carry(self.learning.take_steps, steps)


def run_fleet(
    config: RunConfig,
    path: Path,
    *,
    resume: bool = False,
    adviser: Any = None,
    during: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Run a fleet to its end and return the summary; `during` is called with learner, links and robots meanwhile."""
    run = RunDirectory(path) if resume else RunDirectory.create(path)
    names = [f"r{n}" for n in range(config.robots or 1)]
    with open_learner(config, run, names, SilentProgress(), evaluates=True) as learning:
        learning.prepare(resume=resume)
        links = [LocalLink(learning) for _ in names]
        robots = []
        for n, name in enumerate(names):
            own = config.model_copy(update={"seed": config.seed + 10_000_000 * n})
            place = Place(name=name, folder=path / "fleet" / name, number=n, fleet_size=len(names))
            robots.append(RobotRun(own, place, links[n], adviser))
        threads = [threading.Thread(target=robot.run, daemon=True) for robot in robots]
        for thread in threads:
            thread.start()
        if during is not None:
            threading.Thread(target=during, args=(learning, links, robots), daemon=True).start()
        error = learning.run()
        for thread in threads:
            thread.join(30.0)
            assert not thread.is_alive()
        return dict(learning.finish(error, lambda run: None))

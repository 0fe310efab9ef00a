import importlib.util
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agps_agent.fleet.cluster import prepare_environment
from rl.errors import AgpsError
from tests.agps_agent.fleet.local import configure

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a thread has no niceness of its own"),
]


def niceness_while(act: Callable[[], object]) -> tuple[int, int]:
    """Return the niceness of a thread before and after it did something."""

    def measured() -> tuple[int, int]:
        before = os.nice(0)
        act()
        return before, os.nice(0)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(measured).result()


@pytest.mark.parametrize(("evaluates", "nicer_by"), [(True, 0), (False, 10)])
def test_updates_have_less_priority_than_robots_only_where_there_are_arms(
    evaluates: bool, nicer_by: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_environment(is_ours=True)
    from agps_agent.fleet import actors

    class Context:
        was_current_actor_reconstructed = False

    def open_learner(*args: Any, **kwargs: Any) -> Any:
        raise AgpsError("far enough")

    monkeypatch.setattr(actors.ray, "get_runtime_context", Context)
    monkeypatch.setattr(actors, "open_learner", open_learner)
    learner = actors.LearnerActor(configure(robots=1), tmp_path, ["r0"], evaluates, None)

    def update() -> None:
        with pytest.raises(AgpsError, match="far enough"):
            learner.run(lambda run: None, resume=False)

    answers = os.nice(0)
    before, after = niceness_while(update)
    assert after == min(19, before + nicer_by)
    assert os.nice(0) == answers


@pytest.mark.parametrize(("robot", "nicer_by"), [("sim", 10), ("franka", 0)])
def test_simulated_robots_give_way_to_the_learner_and_arms_do_not(
    robot: str, nicer_by: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_environment(is_ours=True)
    from agps_agent.fleet import actors

    config = configure(robots=1).model_copy(update={"robot": robot})
    place = actors.Place(name="r0", folder=tmp_path, number=0, fleet_size=1)
    acted = []
    monkeypatch.setattr(actors.RobotRun, "run", lambda self: acted.append(self) or "said")
    actor = actors.RobotActor(config, place, None)
    before, after = niceness_while(lambda: (actor.run(), actor.run()))
    assert (after, len(acted)) == (min(19, before + nicer_by), 1)

import importlib.util
import os
import sys
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

    def updates() -> int:
        with pytest.raises(AgpsError, match="far enough"):
            learner.run(lambda run: None, resume=False)
        return os.nice(0)

    answers = os.nice(0)
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(updates).result() == min(19, answers + nicer_by)
    assert os.nice(0) == answers

"""Episodes as robots send them."""

import numpy as np

from agps_agent.fleet.message import EpisodeMessage, Key
from rl.types import EpisodeOutcome, InterventionEnd


def message(
    robot: str = "r0", run: str = "a", number: int = 0, *, steps: int = 3, success: bool = True
) -> EpisodeMessage:
    rng = np.random.default_rng(number)
    last = np.arange(steps) == steps - 1
    episode = {
        "wrist": rng.integers(0, 256, (steps + 1, 8, 8, 3), dtype=np.uint8),
        "state": rng.normal(size=(steps + 1, 4)).astype(np.float32),
        "action": rng.uniform(-1, 1, (steps, 6)).astype(np.float32),
        "reward": (last & success).astype(np.float32),
        "terminated": last & success,
        "truncated": last & (not success),
        "guided": np.zeros(steps, bool),
    }
    end = InterventionEnd(id="r0-a-0001", kind="guide", how="reached", steps=2, waypoint=1, waypoints=2)
    outcome = EpisodeOutcome(
        episode=number,
        success=success,
        terminated=success,
        truncated=not success,
        steps=steps,
        guided_steps=2,
        pruned_steps=0,
        final_robot=None,
        intervention_ids=(end.id,),
        interventions=(end,),
    )
    noted = {"triggered": True, "float_trace": [np.float32(0.5)]}
    return EpisodeMessage(
        key=Key(robot, run, number), episode=episode, outcome=outcome, info={"fault": None}, noted=noted
    )

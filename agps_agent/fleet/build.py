"""The learner's side of a fleet from a configuration: simulator, algorithm, log."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from agps_agent.fleet.learner import FleetLearner
from agps_agent.fleet.log import FleetLog, FleetSupervisor
from agps_agent.run.build import Session, build_algorithm
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.hardware import check_demonstrations
from agps_agent.run.mirror import open_mirror
from agps_agent.run.place import place_of
from agps_agent.run.progress import ProgressListener
from agps_agent.run.recording import Recorder
from rl.process import prepare_process


@contextmanager
def open_learner(
    config: RunConfig,
    run: RunDirectory,
    robots: Sequence[str],
    progress: ProgressListener,
    *,
    evaluates: bool,
    model: str | None = None,
    on_log: Callable[[FleetLog], None] = lambda log: None,
) -> Iterator[FleetLearner]:
    """Yield the learner of a fleet; what it opened is released afterwards.

    Args:
        config: The run's settings.
        run: Its directory.
        robots: Names of the robots.
        progress: Hears how it goes.
        evaluates: Whether the policy is evaluated in simulation.
        model: Name of the model that the agents ask; None where none is asked.
        on_log: Is handed the run's log.

    Raises:
        ConfigError: If it cannot be carried out as it was asked for.
    """
    check_demonstrations(config, run.demos)
    prepare_process(config.threads)
    with ExitStack() as opened:
        place = place_of(config.robot)
        env = place.open_alone(config, opened)
        supervisor = FleetSupervisor(robots, model=model)
        session = Session(
            config=config,
            run=run,
            place=place,
            env=env,
            eval_env=env,
            algorithm=build_algorithm(config, run, env, supervisor),
            supervisor=supervisor,
            recorder=Recorder(run.recording, every=0),  # the robots' cameras are elsewhere
            mirror=None if config.wandb is None else opened.enter_context(closing(open_mirror(config, run))),
            opened=opened,
        )
        log = FleetLog(config, run, session, progress)
        on_log(log)
        yield FleetLearner(session, log, evaluates=evaluates)

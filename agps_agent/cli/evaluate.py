"""`agps eval RUN_DIR`: how good the policy of a run is alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from agps_agent.cli.options import check_at_least, json_only_on_stdout, parse_options
from agps_agent.runs import RunDirectory


@dataclass(frozen=True)
class EvalOptions:
    """Evaluate the policy of a run alone: deterministic, no agent, no box, starts that training never saw."""

    run_dir: tyro.conf.Positional[Path]
    """Run directory."""
    episodes: int = 50
    """Episodes."""
    seed: int = 20_000
    """Seed of the first start; episode k starts from seed + k. The default repeats the final evaluation of training."""
    threads: int = 1
    """Torch threads; 0: one per physical core."""
    json: bool = False
    """Print one JSON object on stdout."""


def run(argv: Sequence[str]) -> int:
    """Run `agps eval`."""
    options = parse_options(EvalOptions, argv, prog="agps eval")
    check_at_least(1, episodes=options.episodes)
    check_at_least(0, seed=options.seed, threads=options.threads)
    directory = RunDirectory.open(options.run_dir)
    from agps_agent.build import build_env, load_policy
    from agps_agent.config import load_config
    from rl.evaluation import evaluate
    from rl.learner import prepare_process

    config = load_config(directory)
    prepare_process(options.threads)
    with json_only_on_stdout(options.json) as show:
        policy = load_policy(directory)
        env = build_env(config)
        try:
            result = evaluate(policy, env, episodes=options.episodes, seed=options.seed)
        finally:
            env.close()
        low, high = result.interval_95
        show(
            {
                "run_dir": str(directory.path),
                "task": config.task,
                "method": config.method,
                "env_steps": policy.num_timesteps,
                "eval_episodes": result.episodes,
                "seed": options.seed,
                "successes": result.success_count,
                "success_rate": result.success_rate,
                "interval_95": [low, high],
                "mean_steps": result.mean_steps,
                "failed_seeds": [options.seed + n for n, success in enumerate(result.successes) if not success],
            }
        )
    if not options.json:
        print(
            f"{result.success_count} of {result.episodes} episodes succeed ({result.success_rate:.0%}, "
            f"95 % interval {low:.0%} to {high:.0%}), {result.mean_steps:.1f} steps on average; "
            f"{config.task}, {policy.num_timesteps} environment steps of training."
        )
    return 0

"""`agps serve-model`: the embedded chat model behind an OpenAI-compatible URL, to try `--vlm URL` without a GPU."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from agps_agent.cli.options import UsageError, parse_options
from agps_agent.cli.tasks import check_task
from agps_agent.models.faults import TRANSPORT_FAULTS, Fault, FaultPlan
from agps_agent.models.offline.flaws import Flaws
from rl.bounds import Port, Seed, Share
from rl.errors import AgpsError


@dataclass(frozen=True)
class ServeOptions:
    """Serve the embedded model until Ctrl-C. There is no authentication: keep it on this machine."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8000
    """TCP port; 0: any free one."""
    task: tuple[str, ...] = ()
    """Tasks whose plans it knows beside those of the registered ones: ./my_task.py:MyTask."""
    fail_share: Share = 0.0
    """Share of the requests that fail on purpose, from 0 to 1: to see what a run makes of it."""
    faults: tuple[Fault, ...] = TRANSPORT_FAULTS
    """How they fail."""
    fault_seed: Seed = 0
    """Seed of which requests fail, and how."""
    flaws: Annotated[Flaws, tyro.conf.arg(name="")] = Flaws()


def run(argv: Sequence[str]) -> int:
    """Run `agps serve-model`."""
    options = parse_options(ServeOptions, argv, prog="agps serve-model")
    if not options.faults:
        raise UsageError("--faults is empty; name at least one, or leave it out.")
    from agps_agent.models.offline.embedded import EmbeddedVLM
    from agps_agent.models.server import serve_model
    from prompts.loader import load_task_prompt

    words = tuple(load_task_prompt(check_task(name)) for name in options.task)
    model = EmbeddedVLM(tasks=words, config=options.flaws)
    try:
        faults = FaultPlan(options.faults, share=options.fail_share, seed=options.fault_seed)
        running = serve_model(model, host=options.host, port=options.port, faults=faults)
    except OSError as error:
        raise AgpsError(
            f"Cannot listen on {options.host}:{options.port}: {error.strerror}; name another --port or --host."
        ) from error
    with running as server:
        print(f"{server.url} serves {server.name!r}; try: agps ask usb_insertion --vlm {server.url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            server.shutdown()
    return 0

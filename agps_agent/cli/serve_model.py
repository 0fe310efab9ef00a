"""`agps serve-model`: the embedded chat model behind an OpenAI-compatible URL, to try `--vlm URL` without a GPU."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from agps_agent.cli.options import UsageError, parse_options
from rl.errors import AgpsError


@dataclass(frozen=True)
class ServeOptions:
    """Serve the embedded model until Ctrl-C. There is no authentication: keep it on this machine."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """TCP port; 0: any free one."""


def run(argv: Sequence[str]) -> int:
    """Run `agps serve-model`."""
    options = parse_options(ServeOptions, argv, prog="agps serve-model")
    if not 0 <= options.port <= 65_535:
        raise UsageError(f"--port is {options.port}; use 0 (any free one) to 65535.")
    from agps_agent.build import build_chat_model
    from agps_agent.models.server import serve_model
    from agps_agent.state import AgentSettings

    chat = build_chat_model("embedded", name=None, settings=AgentSettings())
    try:
        running = serve_model(chat.model, name=chat.name, host=options.host, port=options.port)
    except OSError as error:
        raise AgpsError(
            f"Cannot listen on {options.host}:{options.port}: {error.strerror}; name another --port or --host."
        ) from error
    with running as server:
        print(f"{server.url} serves {chat.name!r}; try: agps ask usb_insertion --vlm {server.url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            server.shutdown()
    return 0

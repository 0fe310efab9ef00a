"""`agps traces serve|report`: LangSmith traces without an account, collected on this machine."""

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agps_agent.cli.options import json_only_on_stdout, parse_options, run_subcommand
from rl.bounds import Count, Port
from rl.errors import AgpsError, ConfigError, words_of


@dataclass(frozen=True)
class ServeOptions:
    """Collect what the LangSmith SDK reports, and show it in a browser, until Ctrl-C. There is no authentication."""

    dir: Path = Path("traces")
    """Where the traces are kept."""
    host: str = "127.0.0.1"
    """Address to listen on: only this machine by default."""
    port: Port = 8765
    """TCP port; 0: any free one."""


@dataclass(frozen=True)
class ReportOptions:
    """Write the collected traces as one page that needs no server."""

    dir: Path = Path("traces")
    """Where the traces are kept."""
    out: Path | None = None
    """Page to write. None: traces.html in that folder."""
    newest: Count = 50
    """How many of the newest traces to show."""
    json: bool = False
    """Print one JSON object on stdout: the page, and how many traces it holds."""


def run(argv: Sequence[str]) -> int:
    """Run `agps traces`."""
    commands = {
        "serve": (_serve, "collect traces and show them"),
        "report": (_report, "write the collected traces as one page"),
    }
    return run_subcommand("agps traces", "LangSmith traces on this machine.", commands, argv)


def _serve(argv: Sequence[str]) -> int:
    from agps_agent.tracing.collector import serve_traces
    from agps_agent.tracing.store import TraceStore

    options = parse_options(ServeOptions, argv, prog="agps traces serve")
    store = TraceStore(options.dir)
    try:
        running = serve_traces(store, host=options.host, port=options.port)
    except OSError as error:
        raise AgpsError(
            f"Cannot listen on {options.host}:{options.port}: {error.strerror}; name another --port or --host."
        ) from error
    with running as server:
        print(f"Look at {server.url} and trace into it with:", flush=True)
        print(f"  export LANGSMITH_TRACING=true LANGSMITH_ENDPOINT={server.url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            server.shutdown()
            store.close()
    return 0


def _report(argv: Sequence[str]) -> int:
    from agps_agent.tracing.report import write_trace_report
    from agps_agent.tracing.store import TraceStore

    options = parse_options(ReportOptions, argv, prog="agps traces report")
    if not (options.dir / "traces.db").is_file():
        raise ConfigError(f"There are no traces in {options.dir}; collect some with `agps traces serve`.")
    store = TraceStore(options.dir)
    page = options.out or options.dir / "traces.html"
    try:
        count = write_trace_report(store, page, newest=options.newest)
    except (sqlite3.Error, AttributeError, LookupError, TypeError, ValueError) as error:
        file = options.dir / "traces.db"
        raise AgpsError(f"{file} is damaged, or of another version ({words_of(error)}); move it away.") from error
    finally:
        store.close()
    with json_only_on_stdout(options.json) as show:
        show({"report": str(page), "traces": count})
    if not options.json:
        print(f"{page}: {count} traces")
    return 0

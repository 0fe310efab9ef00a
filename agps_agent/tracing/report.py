"""The collector's page as one file, with its traces and images inside."""

import base64
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from agps_agent.tracing.store import TraceStore
from rl.files import write_atomically


def write_trace_report(store: TraceStore, path: Path, *, newest: int) -> int:
    """Write a page that shows the newest traces without a server; return how many it holds.

    Args:
        store: Where the traces are.
        path: File to write.
        newest: Traces to show at most.

    Raises:
        AgpsError: If the file cannot be written.
    """
    traces = store.traces()[:newest]
    runs = {trace["id"]: store.trace(trace["id"]) for trace in traces}
    images = {name: _data_uri(name, store) for name in sorted(_image_names(runs))}
    # `</` would end the script, whatever string it stands in.
    data = json.dumps({"list": traces, "runs": runs, "images": images}).replace("</", r"<\/")
    page = files("agps_agent.tracing").joinpath("page.html").read_text(encoding="utf-8")
    inside = f'<script>window.AGPS_TRACES = {data};</script>\n<script>\n"use strict";'
    write_atomically(path, page.replace('<script>\n"use strict";', inside, 1))
    return len(traces)


def _image_names(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_image_names, value))
    if not isinstance(value, dict):
        return set()
    if value.get("type") == "image" and isinstance(value.get("image"), str):
        return {value["image"]}
    return set().union(*map(_image_names, value.values()))


def _data_uri(name: str, store: TraceStore) -> str:
    content = store.image(name)
    return (
        "" if content is None else f"data:image/{name.rpartition('.')[2]};base64,{base64.b64encode(content).decode()}"
    )

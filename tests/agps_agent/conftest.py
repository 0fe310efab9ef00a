"""A collector that this process's LangSmith SDK reports to."""

from collections.abc import Iterator

import pytest

from agps_agent.tracing import client
from agps_agent.tracing.collector import Collector, serve_traces
from agps_agent.tracing.store import TraceStore


@pytest.fixture
def collector(tmp_path, monkeypatch) -> Iterator[Collector]:
    """A running collector, with tracing switched on as a user does."""
    store = TraceStore(tmp_path / "traces")
    with serve_traces(store) as server:
        monkeypatch.setenv("LANGSMITH_TRACING", "true")
        monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
        clear_caches()
        yield server
        client.flush()
        server.shutdown()
    clear_caches()
    store.close()


def clear_caches() -> None:
    """Forget the client and what the SDK read from the environment before."""
    from langsmith.utils import get_env_var

    client._client.cache_clear()
    client._project_id.cache_clear()
    get_env_var.cache_clear()

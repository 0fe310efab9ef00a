"""The collector's page in a real browser: a question to the agent is opened and looked at."""

import asyncio

import pytest

from agps_agent.ask import ask
from agps_agent.graph import build_graph
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.profiles import find_profile
from agps_agent.state import AgentContext
from agps_agent.tracing import client
from agps_agent.tracing.report import write_trace_report
from scripts.browser import open_page
from tests.agps_agent import scenes
from tests.browser import needs_browser

pytestmark = needs_browser


def ask_one(collector) -> str:
    """Ask the agent, and report that the episode succeeded; return the trace."""
    context = AgentContext(scene=scenes.scene(), model=EmbeddedVLM(), profile=find_profile("embedded"))
    answer = asyncio.run(ask(build_graph("usb_insertion"), context, mode="guide"))
    assert answer.intervention is not None
    client.flush()
    trace = collector.store.traces()[0]
    client.report_outcome(trace["id"], success=True)
    client.flush()
    return str(trace["id"])


@pytest.fixture
def asked(collector) -> str:
    """A question that was traced, and whose episode succeeded; its trace."""
    return ask_one(collector)


def test_page_opens_on_the_newest_question_and_follows_until_one_is_chosen(collector, asked, tmp_path) -> None:
    shown = "document.querySelector('#traces .on')?.dataset.trace"
    with open_page(collector.url, tmp_path / "profile") as page:
        page.wait_for(f"{shown} === '{asked}' && document.querySelectorAll('[data-run]').length > 5")
        newer = ask_one(collector)
        page.wait_for(f"{shown} === '{newer}'")
        page.click(f"[data-trace='{asked}']")
        ask_one(collector)
        page.wait_for("document.querySelectorAll('[data-trace]').length === 3")
        assert page.evaluate(shown) == asked


def test_browser_opens_a_question_and_sees_tree_and_annotated_image(collector, asked, tmp_path) -> None:
    with open_page(collector.url, tmp_path / "profile") as page:
        page.click(f"[data-trace='{asked}']")
        page.wait_for("document.querySelectorAll('[data-run]').length > 5")
        assert "episode succeeded" in page.text
        assert "guide" in page.text
        names = page.evaluate("[...document.querySelectorAll('[data-run]')].map((row) => row.dataset.run)")
        assert {"ask", "perceive", "plan", "EmbeddedVLM", "call_tools"} <= set(names)

        page.evaluate("[...document.querySelectorAll('[data-run=EmbeddedVLM]')].at(-1).click()")  # the plan's
        page.wait_for("document.querySelector('#run img')?.naturalWidth === 640")
        assert "Use only these primitives" in page.text


def test_report_shows_the_same_without_a_server(collector, asked, tmp_path) -> None:
    page_file = tmp_path / "traces.html"
    assert write_trace_report(collector.store, page_file, newest=10) == 1
    with open_page(page_file.as_uri(), tmp_path / "profile") as page:
        page.click(f"[data-trace='{asked}']")
        page.wait_for("document.querySelectorAll('[data-run]').length > 5")
        page.evaluate("[...document.querySelectorAll('[data-run=EmbeddedVLM]')].at(-1).click()")
        page.wait_for("document.querySelector('#run img')?.naturalWidth === 640")

"""The graph for `langgraph dev` and LangGraph Studio: it runs on scenes that `agps ask` saved."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from agps_agent.graph import Graph, build_graph
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.openai_compat import OpenAICompatConfig, ServedModel, open_chat_model
from agps_agent.models.profiles import load_profile
from agps_agent.state import AgentContext, AgentSettings
from tools.scene import load_scene


@dataclass
class SavedSceneContext:
    """An `AgentContext` that is read from a folder, given as JSON: `{"scene_folder": "interventions/0001/scene"}`."""

    scene_folder: str
    """Folder that `save_scene` wrote."""
    vlm: str = "embedded"
    """`embedded`, or the base URL of an OpenAI-compatible server."""
    settings: AgentSettings = field(default_factory=AgentSettings)

    @cached_property
    def opened(self) -> AgentContext:
        """The live objects, made at the first use."""
        served = ServedModel(EmbeddedVLM(), "embedded", load_profile("embedded"))
        if self.vlm != "embedded":
            served = open_chat_model(OpenAICompatConfig(url=self.vlm, profile=self.settings.profile))
        scene = load_scene(Path(self.scene_folder))
        return AgentContext(scene=scene, model=served.model, profile=served.profile, settings=self.settings)

    def __getattr__(self, name: str) -> object:
        """Return what an `AgentContext` has and this lacks."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.opened, name)


def usb_insertion() -> Graph:
    """Return the graph of USB insertion; run it with a `SavedSceneContext` and e.g. `{"mode_request": "guide"}`."""
    return _graph("usb_insertion")


def knot_hanging() -> Graph:
    """Return the graph of knot hanging, as `usb_insertion`."""
    return _graph("knot_hanging")


def towel_folding() -> Graph:
    """Return the graph of towel folding, as `usb_insertion`."""
    return _graph("towel_folding")


def _graph(task: str) -> Graph:
    graph = build_graph(task, context_schema=SavedSceneContext)
    graph.step_timeout = AgentSettings().wall_budget_s
    return graph

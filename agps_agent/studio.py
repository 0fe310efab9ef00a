"""The graph for `langgraph dev` and LangGraph Studio: it runs on scenes that `agps ask` saved.

There is one function per registered task, of its name; langgraph.json lists ours. For a task of yours add
`"my_task": "./agps_agent/studio.py:my_task"` there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from agps_agent.graph import Graph, build_graph
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.openai_compat import OpenAICompatConfig, ServedModel, open_chat_model
from agps_agent.models.profiles import load_profile
from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext
from prompts.loader import load_task_prompt
from rl.tasks.registry import TASKS
from tools.scene import load_scene


@dataclass
class SavedSceneContext:
    """An `AgentContext` that is read from a folder, given as JSON: `{"scene_folder": "interventions/0001/scene"}`."""

    scene_folder: str
    """Folder that `save_scene` wrote."""
    task: str = ""
    """Task in a file or module, as `./my_task.py:MyTask`; empty: the registered one that the scene names."""
    vlm: str = "embedded"
    """`embedded`, or the base URL of an OpenAI-compatible server."""
    settings: AgentSettings = field(default_factory=AgentSettings)

    @cached_property
    def opened(self) -> AgentContext:
        """The live objects, made at the first use."""
        scene = load_scene(Path(self.scene_folder))
        words = load_task_prompt(self.task or scene.task)
        served = ServedModel(EmbeddedVLM(tasks=(words,)), "embedded", load_profile("embedded"))
        if self.vlm != "embedded":
            served = open_chat_model(OpenAICompatConfig(url=self.vlm, profile=self.settings.profile))
        return AgentContext(
            scene=scene, model=served.model, profile=served.profile, settings=self.settings, task_prompt=words
        )

    def __getattr__(self, name: str) -> object:
        """Return what an `AgentContext` has and this lacks."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.opened, name)


def graph_of(task: str) -> Callable[[], Graph]:
    """Return what makes the graph of a task; run it with a `SavedSceneContext` and e.g. `{"mode_request": "guide"}`."""

    def make() -> Graph:
        graph = build_graph(task, context_schema=SavedSceneContext)
        graph.step_timeout = AgentSettings().wall_budget_s
        return graph

    make.__name__ = task
    return make


for _task in TASKS.names:
    globals()[_task] = graph_of(_task)

"""Whom a supervisor asks, and what remembers for it: in its own process, or where several robots share it."""

from dataclasses import dataclass, field
from typing import Protocol

from langchain_core.language_models import BaseChatModel

from agps_agent.ask import Answer, ask, save_answer
from agps_agent.graph import Graph, build_graph
from agps_agent.models.gate import CallGate
from agps_agent.models.profiles import ModelProfile
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.state import AgentContext, Trigger
from agps_agent.supervisor import Remembers
from agps_agent.toolbox import Toolbox
from agps_agent.tracing.truth import Truth, save_truth
from prompts.loader import TaskPrompt
from rl.types import FloatArray
from tools.memory import EpisodicMemory
from tools.scene import Scene


@dataclass(frozen=True, kw_only=True)
class ChatModel:
    """A chat model and the coordinate frame it speaks."""

    model: BaseChatModel
    profile: ModelProfile
    name: str


class Adviser(Protocol):
    """Answers a supervisor's questions, keeps them for people, and remembers what worked."""

    @property
    def model(self) -> str:
        """Name of the model that is asked."""

    @property
    def memory(self) -> Remembers:
        """What remembers."""

    @property
    def gate(self) -> CallGate:
        """What each call of the model passes in this process."""

    async def ask(self, scene: Scene, embedding: FloatArray, trigger: Trigger) -> Answer:
        """Return what the agent advises for a scene."""

    def save(self, id: str, answer: Answer, scene: Scene, truth: Truth) -> None:
        """Keep a question for people, under its id, with named points of the simulator's truth if there are any."""


@dataclass(frozen=True, kw_only=True)
class OwnAdviser:
    """The agent in this process."""

    config: RunConfig
    run: RunDirectory
    chat: ChatModel
    words: TaskPrompt
    tools: Toolbox
    memory: EpisodicMemory
    gate: CallGate = field(default_factory=CallGate)
    graph: Graph = field(init=False)

    def __post_init__(self) -> None:
        """Build the graph.

        Raises:
            ConfigError: If the agent has no prompt for the task.
        """
        object.__setattr__(self, "graph", build_graph(self.words))

    @property
    def model(self) -> str:
        """Name of the model that is asked."""
        return self.chat.name

    async def ask(self, scene: Scene, embedding: FloatArray, trigger: Trigger) -> Answer:
        """Return what the agent advises for a scene: one pass of the graph."""
        context = AgentContext(
            scene=scene,
            model=self.chat.model,
            profile=self.chat.profile,
            model_name=self.chat.name,
            memory=self.memory,
            embedding=embedding,
            gate=self.gate,
            settings=self.config.agent,
            run=self.run.path.name,
            tools=self.tools,
            task_prompt=self.words,
        )
        return await ask(self.graph, context, mode=self.config.mode, trigger=trigger)

    def save(self, id: str, answer: Answer, scene: Scene, truth: Truth) -> None:
        """Write a question into its folder of the run."""
        save_answer(self.run.intervention(id), answer, scene)
        save_truth(self.run.intervention(id), truth)

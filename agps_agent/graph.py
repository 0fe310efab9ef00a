"""The supervisor as a state machine (AGPS, arXiv:2602.11978, Algorithm 1, lines 16-32): nodes and edges, nothing else.

The picture is written by `python -m agps_agent.graph`.

```mermaid
graph TD
__start__ --> recall;
call_tools -. answers .-> plan;
call_tools -. done .-> validate;
call_tools -. repair .-> plan;
call_tools -. stale .-> decide_mode;
decide_mode --> perceive;
perceive --> plan;
plan --> call_tools;
recall -. box .-> validate;
recall -. miss .-> decide_mode;
recall -. plan .-> call_tools;
remember --> __end__;
validate --> remember;
```
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from agps_agent import nodes
from agps_agent.state import AgentContext, GraphState
from prompts.loader import TaskPrompt, load_task_prompt

Graph = CompiledStateGraph[GraphState, AgentContext, GraphState, GraphState]


class Choice(Runnable[GraphState, str]):
    """A function of the state that chooses an edge; a plain function would be a run of its own in every trace."""

    def __init__(self, function: Callable[[GraphState], str]) -> None:
        self._function = function
        self.name = function.__name__

    def invoke(self, input: GraphState, config: RunnableConfig | None = None, **kwargs: Any) -> str:
        """Return where to go on."""
        return self._function(input)

    async def ainvoke(self, input: GraphState, config: RunnableConfig | None = None, **kwargs: Any) -> str:
        """Return where to go on."""
        return self._function(input)


def build_graph(task: str | TaskPrompt, *, context_schema: type[Any] = AgentContext) -> Graph:
    """Return the compiled graph of a task.

    Args:
        task: Name of a task that the agent has words for, e.g. `usb_insertion`; or those words.
        context_schema: What the graph is run with, if not an `AgentContext` itself then something that looks like one.

    Raises:
        ConfigError: If the agent has no prompt for the task.
    """
    words = task if isinstance(task, TaskPrompt) else load_task_prompt(task)
    builder = StateGraph(GraphState, context_schema=context_schema)
    # The stubs know no handler with a NodeError, which the library documents and passes.
    builder.set_node_defaults(error_handler=nodes.give_up)  # type: ignore[arg-type]

    builder.add_node("recall", nodes.recall)
    builder.add_node("decide_mode", nodes.decide_mode)
    builder.add_node("perceive", nodes.perceive)
    builder.add_node("plan", nodes.plan)
    builder.add_node("call_tools", nodes.call_tools)
    builder.add_node("validate", nodes.validate)
    builder.add_node("remember", nodes.remember)

    builder.add_edge(START, "recall")  # first, so that memory is asked once: what worked says box or waypoints too
    builder.add_conditional_edges(
        "recall", Choice(nodes.after_recall), {"box": "validate", "plan": "call_tools", "miss": "decide_mode"}
    )
    builder.add_edge("decide_mode", "perceive")
    builder.add_edge("perceive", "plan")
    builder.add_edge("plan", "call_tools")
    builder.add_conditional_edges(
        "call_tools",
        Choice(nodes.after_tools),
        {"done": "validate", "repair": "plan", "answers": "plan", "stale": "decide_mode"},
    )
    builder.add_edge("validate", "remember")
    builder.add_edge("remember", END)
    return builder.compile(name=words.task)  # whoever asks limits the time: limits per step cost half of a millisecond


def picture() -> str:
    """Return the graph as a Mermaid diagram: its edges, without the colours."""
    builder = build_graph("usb_insertion").builder
    edges = [f"{source} --> {target};" for source, target in builder.edges]
    # Not by LangGraph's own drawing: it keeps one of two labels that lead to the same node.
    for source, branches in builder.branches.items():
        for branch in branches.values():
            edges += [f"{source} -. {label} .-> {target};" for label, target in (branch.ends or {}).items()]
    return "\n".join(["graph TD", *sorted(edges)])


def update_picture() -> None:
    """Write the picture into this module's docstring and into the README of the checkout."""
    for path in (Path(__file__), Path(__file__).parents[1] / "README.md"):
        text = path.read_text()
        path.write_text(re.sub(r"(?<=```mermaid\n).*?(?=\n```)", lambda _: picture(), text, count=1, flags=re.DOTALL))


if __name__ == "__main__":
    update_picture()

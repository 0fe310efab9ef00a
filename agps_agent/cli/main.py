"""`agps COMMAND ...`: find the command, run it, turn its errors into one line and an exit code.

Commands are imported when they are called: `agps --help` loads neither torch nor the graph.
"""

import errno
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from agps_agent.cli.options import UsageError, help_page
from agps_agent.cli.terminal import replace_what_cannot_be_shown, say
from rl.errors import AgpsError, ConfigError
from rl.nearest import nearest

DONE, FAILED, BAD_USAGE = 0, 1, 2

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("train", "train a policy on a task, with the agent or without"),
    "eval": ("evaluate", "evaluate the policy of a run alone (no agent, no box), or the agent alone"),
    "ask": ("ask", "ask the agent once about a scene; saves the annotated image"),
    "tasks": ("tasks", "list the tasks that there are, and where they come from"),
    "new-task": ("new_task", "write a package with a task of your own, which trains as it is"),
    "demos": ("demos", "record, list, show, export or import demonstrations"),
    "keypoints": ("keypoints", "mark the keypoints of a task once for `--vlm reference`; list and show what is marked"),
    "reward": ("reward", "learn the reward from images: collect frames, fit, eval"),
    "float": ("detector", "calibrate and score the failure detector"),
    "calibrate": ("calibrate", "find out where a camera of the station sits; `calibrate board` prints the board"),
    "emulate": ("emulate", "run an emulated robot station: FR3, gripper and cameras behind the real protocols"),
    "report": ("report", "write the report of one run, of a declared experiment, or compare several"),
    "view": ("view", "open the Rerun recording of a run"),
    "fleet": ("fleet", "see how the robots of a fleet are doing, which `agps train --robots N` starts"),
    "reproduce": ("reproduce", "run a declared experiment: resumable, many seeds; lists the experiments there are"),
    "memory": ("memory", "list, show, rebuild or forget what the agent remembers"),
    "prompts": ("prompts", "list or show the prompts, or replay a run's questions with others"),
    "traces": ("traces", "collect LangSmith traces on this machine and look at them"),
    "bench": ("bench", "measure env, float, agent, grounding, realtime, memory, update or detectors"),
    "doctor": ("doctor", "check that this machine can run everything, and that a robot station is fit for a run"),
    "completion": ("completion", "print what lets bash or zsh complete commands, options, tasks and other names"),
    "serve-model": ("serve_model", "serve the embedded model behind an OpenAI-compatible URL"),
}
"""Command -> (module in this package, one line of help)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 the run failed, 2 bad usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    replace_what_cannot_be_shown(sys.stdout)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        return _run(arguments)
    except SystemExit as stop:  # tyro, after it has shown a help page
        return DONE if not stop.code else BAD_USAGE
    except ConfigError as error:  # UsageError is one
        return _fail(error, BAD_USAGE)
    except AgpsError as error:
        return _fail(error, FAILED)
    except MemoryError as error:
        return _fail(AgpsError(f"The memory does not suffice ({error}); ask for something smaller."), FAILED)
    except RecursionError:  # the parsers of JSON and TOML raise it; nothing of ours calls itself so often
        return _fail(AgpsError("A file is nested too deeply to be read; it is damaged."), FAILED)
    except BrokenPipeError:  # the reader of our output, `head` for one, has seen enough
        sys.stderr.close()
        return FAILED
    except OSError as error:
        return _fail(AgpsError(_refused_by_the_disk(error)), FAILED)
    except KeyboardInterrupt:
        return _fail(AgpsError("Interrupted."), FAILED)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = {name: text for name, (_, text) in COMMANDS.items()}
        print(help_page("agps", "Agent-guided policy search: robot RL with an agent in place of the human.", lines))
        return DONE if arguments else BAD_USAGE
    name = arguments[0]
    if name == "--version":
        from agps_agent.run.config_file import installed_versions

        print(f"agps {installed_versions()['agps']}")
        return DONE
    if name not in COMMANDS:
        close = nearest(name.lstrip("-"), (*COMMANDS, "help"))
        close = "--help" if close == "help" else close
        hint = f"did you mean `agps {close}`?" if close else f"use one of {', '.join(COMMANDS)}."
        raise UsageError(f"There is no command {name!r}; {hint}")
    module = importlib.import_module(f"agps_agent.cli.{COMMANDS[name][0]}")
    code: int = module.run(arguments[1:])
    return code


def _refused_by_the_disk(error: OSError) -> str:
    """Return what the operating system refused, and where somebody's file is in the way, that it is."""
    if not error.filename:
        return f"{error.strerror or error}."
    place = Path(str(error.filename))
    if error.errno == errno.ENAMETOOLONG:
        return f"The name {str(place)[:40]}... is too long for this disk; choose a shorter one."
    if isinstance(error, FileExistsError | NotADirectoryError):
        in_the_way = next((path for path in (place, *place.parents) if path.is_file()), place)
        return f"{in_the_way} is a file, where a folder is needed for {place}; name another place."
    if isinstance(error, IsADirectoryError):
        return f"{place} is a folder, where a file is needed; name another place, or move it away."
    if isinstance(error, PermissionError):
        return f"{place} may not be used ({error.strerror}); name another place, or change its rights."
    return f"{error.strerror}: {place}."


def _fail(error: Exception, code: int) -> int:
    say(f"agps: {' '.join(str(error).split())}")
    return code

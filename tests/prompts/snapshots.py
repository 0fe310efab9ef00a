"""Every prompt as the model gets it, with fixed values; `python -m tests.prompts.snapshots` writes them anew."""

from pathlib import Path

from agps_agent.models.profiles import load_profile
from prompts.loader import load_prompt, load_task_prompt, prompt_names, task_names
from tests.tools.scenes import PORT, point, scene
from tools.describe import describe_bounds, describe_keypoints, describe_robot, describe_tools
from tools.spec import load_tools

FOLDER = Path(__file__).parent / "snapshots"
POINT_FORMAT = load_profile("qwen3-vl").instructions(width=640, height=480)


def rendered() -> dict[str, str]:
    """Return the text of each prompt for each task by file name."""
    texts = {}
    for task_name in task_names():
        task = load_task_prompt(task_name)
        guide = load_tools(task.tools["guide"])
        motions = [tool for tool, spec in guide.items() if spec.gives == "waypoints"]
        places = {label: point(label, 0.5 + 0.01 * i, 0.0, 0.055) for i, label in enumerate(task.keypoints)}
        keypoints = PORT if task_name == "usb_insertion" else places
        for name in prompt_names():
            prompt = load_prompt(name)
            mode = "prune" if name == "exploration_pruning" else "guide"
            values = {
                "task_description": task.description,
                "heuristics": task.heuristics[mode],
                "available_tools": describe_tools(load_tools(task.tools[mode]), task.tool_defaults),
                "allowed_primitive": ", ".join(guide if mode == "guide" and name != "decide_mode" else motions),
                "global_xyz_bounds": describe_bounds(scene()),
                "situation": describe_robot(scene()),
                "keypoints": describe_keypoints(keypoints),
                "requested_keypoints": task.requested_keypoints,
                "point_format": POINT_FORMAT,
                "image_size": "640 pixels wide, 480 high",
                "answers": "measure: from port_left to port_right: 20.0 mm.",
                "rounds_left": "1",
                "error": "search: radius_m = 0.5: Input should be less than or equal to 0.01.",
            }
            system, user = prompt.render(**{key: values[key] for key in prompt.variables})
            texts[f"{task_name}-{name}.txt"] = f"[system]\n{system}\n\n[user]\n{user}\n"
    return texts


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file_name, text in rendered().items():
        (FOLDER / file_name).write_text(text, encoding="utf-8")

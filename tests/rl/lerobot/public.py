"""A dataset as LeRobot itself writes it, by hand: names of its own, lists of float32, several episodes in a file."""

import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

HEIGHT, WIDTH = 480, 640
LENGTHS = (4, 6, 3)
TOP, SIDE = "observation.images.top", "observation.images.side"


def grey(episode: int, frame: int, key: str) -> int:
    """Grey value in the middle square of a frame: no two are alike."""
    return 20 + 60 * episode + 9 * frame + (4 if key == SIDE else 0)


def picture(episode: int, frame: int, key: str) -> np.ndarray:
    """A frame: its grey in the middle square, white beside it."""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    image[:, 80:560] = grey(episode, frame, key)
    return image


def make_public(
    folder: Path,
    *,
    fps: int = 10,
    state: int = 19,
    action: int = 6,
    version: str = "v3.0",
    dtype: str = "video",
    columns: dict[str, list[list[Any]]] | None = None,
    features: dict[str, Any] | None = None,
) -> Path:
    """Write the dataset; `columns` are further ones, per episode, with their `features`."""
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    (folder / "data/chunk-000").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {}
    for episode, length in enumerate(LENGTHS):
        for key, size in (("observation.state", state), ("action", action)):
            rows.setdefault(key, []).extend(rng.uniform(-1, 1, (length, size)).astype(np.float32).tolist())
        rows.setdefault("timestamp", []).extend((np.arange(length) / fps).tolist())
        rows.setdefault("frame_index", []).extend(range(length))
        rows.setdefault("episode_index", []).extend([episode] * length)
        rows.setdefault("task_index", []).extend([0] * length)
        for key, values in (columns or {}).items():
            rows.setdefault(key, []).extend(values[episode])
        for key in (TOP, SIDE) if dtype == "image" else ():
            rows.setdefault(key, []).extend(_png(picture(episode, frame, key)) for frame in range(length))
    rows["index"] = list(range(sum(LENGTHS)))
    kinds = {key: pa.list_(pa.float32()) for key in ("observation.state", "action")} | {"timestamp": pa.float32()}
    table = pa.table({key: pa.array(values, kinds.get(key)) for key, values in rows.items()})
    pq.write_table(table, folder / "data/chunk-000/file-000.parquet")
    pd.DataFrame({"task_index": [0]}, index=["Put it in."]).to_parquet(folder / "meta/tasks.parquet")
    if dtype == "video":
        for key in (TOP, SIDE):
            _write_video(folder / f"videos/{key}/chunk-000/file-000.mp4", key, fps)
    _episodes(fps).to_parquet(folder / "meta/episodes/chunk-000/file-000.parquet")
    joints = [f"joint_{n}.pos" for n in range(action)]
    described: dict[str, Any] = {
        "observation.state": {"dtype": "float32", "shape": [state], "names": None},
        "action": {"dtype": "float32", "shape": [action], "names": {"motors": joints}},
        TOP: {"dtype": dtype, "shape": [3, HEIGHT, WIDTH], "names": ["channels", "height", "width"]},
        SIDE: {"dtype": dtype, "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channels"]},
        **(features or {}),
    }
    info = {"codebase_version": version, "fps": fps, "robot_type": "so101", "features": described}
    info["data_path"] = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    info["video_path"] = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    (folder / "meta/info.json").write_text(json.dumps(info))
    return folder


def rewarded() -> dict[str, Any]:
    """Columns as LeRobot's reinforcement learning records them: the last but one episode fails."""
    ends = [[n == length - 1 for n in range(length)] for length in LENGTHS]
    rewards = [[float(end and episode != 1) for end in each] for episode, each in enumerate(ends)]
    features = {key: {"dtype": kind, "shape": [1], "names": None} for key, kind in _KINDS.items()}
    return {"columns": {"next.reward": rewards, "next.done": ends}, "features": features}


_KINDS = {"next.reward": "float32", "next.done": "bool"}


def _png(image: np.ndarray) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def _write_video(path: Path, key: str, fps: int) -> None:
    path.parent.mkdir(parents=True)
    with av.open(path, "w") as output:
        stream = output.add_stream("h264", fps, options={"g": "2", "crf": "30"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number, (episode, n) in enumerate((e, n) for e, length in enumerate(LENGTHS) for n in range(length)):
            frame = av.VideoFrame.from_ndarray(picture(episode, n, key), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def _episodes(fps: int) -> pd.DataFrame:
    starts = np.cumsum((0, *LENGTHS))
    table = {"episode_index": range(len(LENGTHS)), "length": LENGTHS, "tasks": [["Put it in."]] * len(LENGTHS)}
    table |= {"dataset_from_index": starts[:-1], "dataset_to_index": starts[1:]}
    table |= dict.fromkeys(("data/chunk_index", "data/file_index"), 0)
    for key in (TOP, SIDE):
        table |= dict.fromkeys((f"videos/{key}/chunk_index", f"videos/{key}/file_index"), 0)
        table |= {f"videos/{key}/from_timestamp": starts[:-1] / fps, f"videos/{key}/to_timestamp": starts[1:] / fps}
    return pd.DataFrame(table)

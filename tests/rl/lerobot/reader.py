"""A reader of LeRobotDataset v3.0 without a line of ours: pandas, pyarrow and PyAV, by LeRobot's documentation."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

TOLERANCE_S = 1e-4
"""How far a frame may be from its time stamp, LeRobot's default, [s]."""


@dataclass
class ReadEpisode:
    rows: pd.DataFrame
    images: dict[str, np.ndarray]
    tasks: list[str]


class Reader:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info: dict[str, Any] = json.loads((folder / "meta/info.json").read_text())
        self.stats: dict[str, Any] = json.loads((folder / "meta/stats.json").read_text())
        self.tasks = pd.read_parquet(folder / "meta/tasks.parquet")
        parts = [pq.read_table(path).to_pandas() for path in sorted(folder.glob("meta/episodes/*/*.parquet"))]
        self.episodes = pd.concat(parts).set_index("episode_index")

    def episode(self, number: int) -> ReadEpisode:
        about = self.episodes.loc[number]
        path = self.info["data_path"].format(chunk_index=about["data/chunk_index"], file_index=about["data/file_index"])
        table = pq.read_table(self.folder / path).to_pandas()
        rows = table[(table["index"] >= about["dataset_from_index"]) & (table["index"] < about["dataset_to_index"])]
        assert len(rows) == about["length"] and (rows["episode_index"] == number).all()
        keys = [key for key, feature in self.info["features"].items() if feature["dtype"] == "video"]
        images = {key: self._frames(about, key, rows["timestamp"].to_numpy(float)) for key in keys}
        return ReadEpisode(rows=rows, images=images, tasks=list(about["tasks"]))

    def _frames(self, about: pd.Series, key: str, stamps: np.ndarray) -> np.ndarray:
        place = {name: about[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
        wanted = about[f"videos/{key}/from_timestamp"] + stamps
        assert wanted[-1] < about[f"videos/{key}/to_timestamp"] + TOLERANCE_S
        with av.open(self.folder / self.info["video_path"].format(video_key=key, **place)) as video:
            decoded = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in video.decode(video=0)]
        times = np.array([time for time, _ in decoded])
        nearest = np.abs(times[None] - wanted[:, None]).argmin(axis=1)
        assert np.abs(times[nearest] - wanted).max() < TOLERANCE_S
        return np.stack([decoded[n][1] for n in nearest])

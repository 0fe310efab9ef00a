"""LeRobotDataset v3.0, written and read by its format alone: parquet, mp4, JSON. `docs/data.md` describes it."""

from rl.lerobot.dataset import Dataset
from rl.lerobot.export import export_dataset
from rl.lerobot.fitting import Wanted, fitted_episodes
from rl.lerobot.recorded import About, Exported, Recorded

__all__ = ["About", "Dataset", "Exported", "Recorded", "Wanted", "export_dataset", "fitted_episodes"]

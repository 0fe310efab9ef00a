from pathlib import Path

import numpy as np
import pytest

from rl.errors import ConfigError
from rl.lerobot.layout import FilePlace, Limits
from rl.lerobot.video import ENCODERS, VideoReader, VideoTrack, choose_encoder, writes


def greys(count: int) -> np.ndarray:
    """Images that are each of one grey."""
    return np.full((count, 64, 64, 3), 1, np.uint8) * (20 + 7 * np.arange(count, dtype=np.uint8))[:, None, None, None]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_each_encoder_gives_back_every_frame_at_its_time(encoder: str, tmp_path: Path):
    if not writes(encoder):
        pytest.skip(f"this PyAV has no {encoder}")
    track = VideoTrack(tmp_path, "k", fps=10, encoder=encoder, limits=Limits())
    spans = [track.add(greys(count)) for count in (7, 1, 12)]
    track.close()
    assert [(span.from_s, span.to_s) for span in spans] == [(0.0, 0.7), (0.7, 0.8), (0.8, 2.0)]
    with VideoReader(fps=10) as reader:
        path = tmp_path / FilePlace().path("videos/k/chunk-000/file-000.mp4")
        for span, count in zip(spans, (7, 1, 12), strict=True):
            images = reader.frames(path, [span.from_s + n / 10 for n in range(count)])
            np.testing.assert_allclose(np.mean(images, axis=(1, 2, 3)), greys(count)[:, 0, 0, 0], atol=2)


def test_reader_goes_back_and_skips(tmp_path: Path):
    track = VideoTrack(tmp_path, "k", fps=10, encoder=choose_encoder(), limits=Limits())
    track.add(greys(20))
    track.close()
    path = tmp_path / "videos/k/chunk-000/file-000.mp4"
    with VideoReader(fps=10) as reader:
        for time_s in (1.5, 0.2, 1.9):
            (image,) = reader.frames(path, [time_s])
            assert abs(image.mean() - (20 + 70 * time_s)) < 2


def test_time_after_the_last_frame_is_told(tmp_path: Path):
    track = VideoTrack(tmp_path, "k", fps=10, encoder=choose_encoder(), limits=Limits())
    track.add(greys(3))
    track.close()
    with VideoReader(fps=10) as reader, pytest.raises(ConfigError, match=r"ends at 0.200 s, and a frame at 0.300 s"):
        reader.frames(tmp_path / "videos/k/chunk-000/file-000.mp4", [0.1, 0.2, 0.3])


def test_encoder_is_the_first_that_there_is():
    assert choose_encoder(lambda name: True) == "libx264"
    assert choose_encoder(lambda name: name == "libsvtav1") == "libsvtav1"
    with pytest.raises(ConfigError, match="can write neither libx264 nor libsvtav1 videos"):
        choose_encoder(lambda name: False)


def test_file_after_the_last_of_a_chunk_is_the_first_of_the_next():
    limits = Limits(chunks_size=2)
    first = FilePlace()
    assert first.next(limits) == FilePlace(chunk=0, file=1)
    assert first.next(limits).next(limits) == FilePlace(chunk=1, file=0)

"""The ChArUco board: chessboard crossings that a camera names by the markers around them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError
from rl.types import ByteArray, FloatArray

Dictionary = Literal["DICT_4X4_50", "DICT_4X4_100", "DICT_5X5_50", "DICT_5X5_100"]
Rectangle = tuple[float, float, float, float]
"""Left, top, width, height, [squares]."""

MARKER_RATIO = 0.75
"""Edge of a marker over the edge of its square. At 0.8 and 27 px a square the marker's own corners pull at the crossing
beside them: 0.29 px instead of 0.10."""
_ZOOM = 2
"""Images are enlarged before the search: 18 % more crossings of a far board, a third less error."""
MIN_CORNERS = 8
"""Fewer crossings do not say where a board is: four are needed, and single ones may be wrong."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """The crossings that one image shows."""

    ids: npt.NDArray[np.intp]
    """Number of each crossing: row by row from the mark, left to right. Shape (N,)."""
    corners: FloatArray
    """Where it is in the image; pixel (0, 0) has its centre at (0, 0). Shape (N, 2), [px]."""

    @property
    def count(self) -> int:
        """Number of crossings."""
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class CharucoBoard:
    """A flat board of black and white squares with a marker in each white one.

    Its frame: origin at the board's outer corner nearest the mark, x along the columns, y along the rows, z into the
    board, so that a camera in front of it sees x right and y down when the board is upright.
    """

    columns: int = 8
    """Squares along x."""
    rows: int = 6
    """Squares along y."""
    square_m: float = 0.025
    """Measured edge of a printed square, [m]: its error is a scale error of every distance."""
    dictionary: Dictionary = "DICT_4X4_50"
    """Marker family; 4x4 is read from the fewest pixels."""

    def __post_init__(self) -> None:
        if self.columns < 3 or self.rows < 3:
            raise ConfigError(f"A board of {self.columns}x{self.rows} squares is too small; ask for at least 3x3.")
        if not 0.005 <= self.square_m <= 0.2:
            raise ConfigError(f"A square of {1e3 * self.square_m:g} mm is not between 5 and 200 mm; measure it again.")
        markers, known = self.columns * self.rows // 2, int(self.dictionary.rsplit("_", 1)[1])
        if markers > known:
            raise ConfigError(
                f"A board of {self.columns}x{self.rows} squares needs {markers} markers and {self.dictionary} has "
                f"{known}; ask for fewer squares."
            )

    def __str__(self) -> str:
        return f"charuco {self.columns}x{self.rows} {1e3 * self.square_m:.2f} mm"

    @cached_property
    def points(self) -> FloatArray:
        """Crossings in the board's frame, by number. Shape (N, 3), [m]."""
        x, y = np.meshgrid(np.arange(1, self.columns), np.arange(1, self.rows))
        return self.square_m * np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1, dtype=np.float64)

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height, [m]."""
        return self.columns * self.square_m, self.rows * self.square_m

    @property
    def outline(self) -> FloatArray:
        """Outer corners in the board's frame. Shape (4, 3), [m]."""
        width, height = self.size_m
        return np.array([[0.0, 0.0, 0.0], [width, 0.0, 0.0], [width, height, 0.0], [0.0, height, 0.0]])

    @property
    def centre(self) -> FloatArray:
        """Middle of the board in its frame. Shape (3,), [m]."""
        return np.asarray(self.outline.mean(axis=0))

    @cached_property
    def _dictionary(self) -> Any:
        return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary))

    @cached_property
    def _detector(self) -> Any:
        board = cv2.aruco.CharucoBoard(
            (self.columns, self.rows), self.square_m, MARKER_RATIO * self.square_m, self._dictionary
        )
        parameters = cv2.aruco.DetectorParameters()
        parameters.minMarkerPerimeterRate = 0.02  # of the longer edge
        parameters.adaptiveThreshWinSizeStep = 4
        parameters.errorCorrectionRate = 1.0  # a misread marker has no place on the board and is dropped
        crossings = cv2.aruco.CharucoParameters()
        crossings.tryRefineMarkers = True
        return cv2.aruco.CharucoDetector(board, crossings, parameters)

    def detect(self, rgb: ByteArray) -> Sighting:
        """Return the crossings in an image, none if there is no board.

        Args:
            rgb: As the lens draws it. Shape (H, W, 3), uint8.
        """
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        large = cv2.resize(grey, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_CUBIC)
        corners, ids, _, _ = self._detector.detectBoard(large)
        if ids is None or len(ids) == 0:
            return Sighting(ids=np.empty(0, np.intp), corners=np.empty((0, 2)))
        # The edges of the image are half a pixel outside the centres of its first and last pixels, in both sizes.
        seen = (corners.reshape(-1, 2).astype(np.float64) + 0.5) / _ZOOM - 0.5
        return Sighting(ids=ids.reshape(-1).astype(np.intp), corners=seen)

    def rectangles(self) -> tuple[list[Rectangle], list[Rectangle]]:
        """Return the black rectangles on white, and the white ones on top of those; y points down."""
        black: list[Rectangle] = []
        white: list[Rectangle] = []
        bits = self._dictionary.markerSize + 2
        cell, margin = MARKER_RATIO / bits, (1.0 - MARKER_RATIO) / 2
        marker = 0
        for row in range(self.rows):
            for column in range(self.columns):
                if (row + column) % 2 == 0:
                    black.append((column, row, 1.0, 1.0))
                    continue
                left, top = column + margin, row + margin
                black.append((left, top, MARKER_RATIO, MARKER_RATIO))
                image = cv2.aruco.generateImageMarker(self._dictionary, marker, bits)
                white += [(left + x * cell, top + y * cell, cell, cell) for y, x in np.argwhere(image > 0)]
                marker += 1
        return black, white

    def image(self, pixels: int = 80) -> ByteArray:
        """Return the board without a border. Shape (rows x pixels, columns x pixels), uint8.

        Args:
            pixels: Edge of a square, [px]; 80 draws the cells of 4x4 markers in whole pixels, 560 those of 5x5 too.
        """
        black, white = self.rectangles()
        image = np.full((self.rows * pixels, self.columns * pixels), 255, np.uint8)
        for rectangles, value in ((black, 0), (white, 255)):
            for left, top, width, height in rectangles:
                x0, y0, x1, y1 = (round(v * pixels) for v in (left, top, left + width, top + height))
                image[y0:y1, x0:x1] = value
        return image

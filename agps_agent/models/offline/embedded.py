"""A vision-language model that needs no download: it reads the prompt by its structure, the image by classical vision.

It is sent what any other model is sent, and answers in the same form. It sees pixels only: there is no way for anything
else to reach it.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from agps_agent.models.offline.chat import Declined, OfflineVLM, Question, hidden, requested
from agps_agent.models.offline.flaws import Flaws
from agps_agent.models.offline.grounding import GROUNDINGS, Grounding, finder_of
from agps_agent.models.profiles import load_profile
from rl.types import ByteArray

NAME = "embedded"


class EmbeddedVLM(OfflineVLM):
    """Finds keypoints in tens of milliseconds with whatever finders are installed, see `grounding`.

    `config` makes it point worse and answer later, see `flaws`.
    """

    name_of_model: ClassVar[str] = NAME
    profile_family: ClassVar[str] = NAME
    """It points in pixels of the image that it is sent, whatever its size (`agps_agent/models/families`)."""
    config_class: ClassVar[type[Flaws]] = Flaws
    config: Flaws = Flaws()
    """How it errs on purpose. Plans are computed from what was measured; they stay as they are."""

    @property
    def delay_s(self) -> float:
        """Time that each reply is late, [s]."""
        return self.config.latency_s

    def perceive(self, question: Question) -> dict[str, Any]:
        """Return where the requested keypoints are, `PerceiveAnswer` as JSON.

        Raises:
            Declined: If there is a finder for none of them.
        """
        return _perceive(question, self.config)


def _perceive(question: Question, flaws: Flaws) -> dict[str, Any]:
    labels = requested(question)
    if labels and not any(map(finder_of, labels)):
        raise Declined(
            f"I know no keypoint {', '.join(f'`{label}`' for label in labels)}, only those whose names begin with "
            f"{', '.join(sorted(GROUNDINGS.names))}; mark it with `agps keypoints mark TASK` and use --vlm reference, "
            "or bring a finder (entry point agps.groundings)."
        )
    if question.image is None:
        return {"keypoints": [hidden(label) for label in labels]}
    found = _found(labels, question.image)
    points = {label: grounding.points[label] for label, grounding in found.items()}
    moved = flaws.moved(points, question.image, question.text)
    height, width = question.image.shape[:2]
    keypoints = []
    for label in labels:
        if label not in moved:
            keypoints.append(hidden(label))
            continue
        point = load_profile(NAME).from_pixel(moved[label], width=width, height=height)
        confidence = found[label].confidence  # of a point that is wrong too: a model does not know
        keypoints.append({"label": label, "point_2d": list(point), "visible": True, "confidence": confidence})
    return {"keypoints": keypoints}


def _found(labels: Sequence[str], image: ByteArray) -> dict[str, Grounding]:
    """Return what was found with each of the keypoints that can be seen; one finder looks once for all of its own."""
    looked: dict[str, Grounding | None] = {}
    found = {}
    for label in labels:
        name = finder_of(label)
        if name is None:
            continue
        if name not in looked:
            looked[name] = GROUNDINGS.load(name)(image)
        grounding = looked[name]
        if grounding is not None and label in grounding.points:
            found[label] = grounding
    return found

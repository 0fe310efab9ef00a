"""Files that hold one pydantic model as JSON."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from rl.errors import AgpsError
from rl.files import read_json_object

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_model(path: Path, kind: type[ModelT], *, then: str) -> ModelT:
    """Return what a file holds.

    Args:
        path: The file.
        kind: Of what.
        then: Ends the sentence about a file that holds something else: what that means, or what to do.

    Raises:
        AgpsError: If it cannot be read, or the first thing in it that does not fit.
    """
    try:
        return kind.model_validate(read_json_object(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(path)] + ([".".join(map(str, first["loc"]))] if first["loc"] else [])
        raise AgpsError(f"{': '.join(where)}: {first['msg'].removeprefix('Value error, ')}; {then}.") from None

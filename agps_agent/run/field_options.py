"""Options made from the fields of a dataclass: of a task, of an algorithm's settings, whoever wrote it.

A field becomes an option of its name, with its docstring as help, its default, and its limits (`rl.bounds`). Metres
become millimetres and radians degrees: `clearance_m` is `clearance_mm`, `turn_rad` is `turn_deg`. A dataclass in a
dataclass becomes a group. What no command line can spell (arrays, mappings, functions) is left out.

    model = options_model(UsbInsertion)           # a pydantic model, for tyro
    given = model(clearance_mm=0.4).given()       # {"clearance_mm": 0.4}: plain values, for config.json
    field_values(UsbInsertion, given)             # {"clearance_m": 0.0004}: what the dataclass takes
"""

import ast
import dataclasses
import inspect
import math
import textwrap
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from rl.bounds import Limit, bound_of, field_limits
from rl.errors import ConfigError

Kind = Any
"""A dataclass, `type[Any]`; mypy takes no class for something that can be hashed."""

_UNITS: Mapping[str, tuple[str, float]] = {"m": ("mm", 1e-3), "rad": ("deg", math.pi / 180.0)}
"""Unit of a field -> unit of its option, and what one of those is."""
_PLAIN = (bool, int, float, str, Path)


class FieldOptions(BaseModel):
    """Options of one dataclass; None leaves the field as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def given(self) -> dict[str, Any]:
        """Return the options that are not left out, groups as mappings."""
        values = {
            name: value.given() if isinstance(value, FieldOptions) else value
            for name, value in ((name, getattr(self, name)) for name in type(self).model_fields)
        }
        return {name: value for name, value in values.items() if value is not None and value != {}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Option:
    """One option and the field behind it."""

    field: str
    type: Any
    """Of its values in its own unit, without None."""
    factor: float | None
    """What one unit of the option is in that of the field; None where they have the same."""
    default: Any
    """Of the field; MISSING where it has none."""
    help: str

    @property
    def group(self) -> type[Any] | None:
        """The dataclass behind a group of options."""
        return self.type if dataclasses.is_dataclass(self.type) and isinstance(self.type, type) else None

    def value(self, given: Any) -> Any:
        """Return what is given in the unit of the field."""
        if self.factor is None:
            return given
        return tuple(v * self.factor for v in given) if isinstance(given, tuple | list) else given * self.factor

    @property
    def placeholder(self) -> str | None:
        """What stands for the value in the help; None: what tyro makes of it."""
        plain = get_args(self.type)[0] if get_origin(self.type) is Annotated else self.type
        return plain.__name__.upper() if plain in (int, float, str) else None

    @property
    def default_in_words(self) -> str:
        """The default in the unit of the option."""
        if self.default is dataclasses.MISSING:
            return ""
        default = self.default if isinstance(self.default, tuple | list) else (self.default,)
        numbers = (v / self.factor if self.factor and isinstance(v, float) else v for v in default)
        return f"(default: {' '.join(f'{v:.6g}' if isinstance(v, float) else str(v) for v in numbers)})"


@cache
def options_model(kind: Kind) -> type[FieldOptions]:
    """Return the pydantic model of the options of a dataclass, all of them optional; tyro makes its help."""
    fields: dict[str, Any] = {}
    for name, option in _options(kind).items():
        if option.group is not None:
            inner = options_model(option.group)
            fields[name] = (Annotated[inner, tyro.conf.arg(help=option.help)], inner())
        else:
            shown = tyro.conf.arg(
                help=option.help, help_behavior_hint=option.default_in_words, metavar=option.placeholder
            )
            fields[name] = (Annotated[option.type | None, shown], None)
    return create_model(
        f"{kind.__name__}Options", __base__=FieldOptions, __doc__=f"What to change about {kind.__name__}.", **fields
    )


def options_group(name: str, models: Mapping[str, type[FieldOptions]]) -> type[FieldOptions]:
    """Return the model of several groups of options, each under its name."""
    fields: dict[str, Any] = {group: (model, model()) for group, model in models.items()}
    return create_model(name, __base__=FieldOptions, __doc__="What to change about each.", **fields)


def check_options(kind: Kind, given: Mapping[str, Any], *, flag: str, name: str) -> dict[str, Any]:
    """Return options, as a file or a program gives them, without those that are None.

    Args:
        kind: The dataclass.
        given: Values by option.
        flag: What comes before them on the command line, e.g. `task-options`.
        name: How the owner of the fields is called in messages.

    Raises:
        ConfigError: If there is no such option, or a value is out of bounds.
    """
    known = _options(kind)
    given = {option.replace("-", "_"): value for option, value in given.items() if value is not None}
    for option in given:
        if option not in known:
            raise no_such_option(kind, option, flag=flag, name=name)
    try:
        return options_model(kind).model_validate(given).given()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([flag, *_names(kind, first["loc"])])
        raise ConfigError(f"--{where}: {first['msg']}, got {first['input']}.") from error


def _names(kind: Kind, place: tuple[int | str, ...]) -> list[str]:
    """Return the names of an option as they are typed, of where pydantic found a mistake."""
    name, *rest = place
    option = _options(kind).get(str(name))
    deeper = _names(option.group, tuple(rest)) if option is not None and option.group is not None and rest else []
    return [spelled(str(name)), *deeper]


def no_such_option(kind: Kind, option: str, *, flag: str, name: str) -> ConfigError:
    """Return the error about an option that a dataclass does not have."""
    has = ", ".join(map(spelled, _options(kind)))
    return ConfigError(f"--{flag}.{spelled(option)}: {name} has no such option; it has {has or 'none'}.")


def has_option(kind: Kind, option: str) -> bool:
    """Return whether a dataclass has an option or a group of that name."""
    return option in _options(kind)


def field_values(kind: Kind, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass that options change; a group changes its default.

    Args:
        kind: The dataclass.
        given: From `FieldOptions.given` or `check_options`.
    """
    values = {}
    for name, value in given.items():
        option = _options(kind)[name.replace("-", "_")]
        if option.group is None:
            values[option.field] = option.value(value)
        else:
            values[option.field] = dataclasses.replace(option.default, **field_values(option.group, value))
    return values


def made(kind: Kind, given: Mapping[str, Any]) -> Any:
    """Return an instance of a dataclass with what options change about its defaults."""
    return kind(**field_values(kind, given))


def spelled(name: str) -> str:
    """Return a name as it is typed: with hyphens."""
    return name.replace("_", "-")


@cache
def _options(kind: Kind) -> Mapping[str, _Option]:
    hints, limits, docs = get_type_hints(kind), field_limits(kind), field_docs(kind)
    options = {}
    for field in dataclasses.fields(kind):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        name, unit, factor = _with_unit(field.name, hints[field.name])
        type_ = _offered(hints[field.name], _scaled(limits[field.name], factor))
        is_group_without_start = dataclasses.is_dataclass(type_) and default is dataclasses.MISSING
        if not field.init or type_ is None or is_group_without_start:
            continue
        help_ = docs.get(field.name, "").replace(f"[{unit}]", f"[{_UNITS[unit][0]}]" if unit else "")
        options[name] = _Option(field=field.name, type=type_, factor=factor, default=default, help=help_)
    return MappingProxyType(options)


def _with_unit(field: str, hint: Any) -> tuple[str, str, float | None]:
    """Return the option of a field, the field's unit if the option has another, and the factor between the two."""
    stem, _, unit = field.rpartition("_")
    inner = _without_none(hint)
    parts = {part for part in get_args(inner) if part is not Ellipsis} if get_origin(inner) is tuple else {inner}
    if not stem or unit not in _UNITS or parts != {float}:
        return field, "", None
    other, factor = _UNITS[unit]
    return f"{stem}_{other}", unit, factor


def _scaled(limits: tuple[Limit, ...], factor: float | None) -> tuple[Limit, ...]:
    return limits if factor is None else tuple(type(limit)(bound_of(limit) / factor) for limit in limits)


def _offered(hint: Any, limits: tuple[Limit, ...]) -> Any:
    """Return the type of an option for a field of some type, None where the command line cannot spell it."""
    inner = _without_none(hint)
    origin, parts = get_origin(inner), get_args(inner)
    if inner in _PLAIN:
        return Annotated[(inner, *limits)] if limits else inner
    if origin is Literal:
        return inner
    if origin is tuple and parts and all(part in (*_PLAIN, Ellipsis) for part in parts):
        return tuple[tuple(p if p is Ellipsis or not limits else Annotated[(p, *limits)] for p in parts)]  # type: ignore[misc]
    if dataclasses.is_dataclass(inner) and inner is hint and _options(inner):
        return inner
    return None


def _without_none(hint: Any) -> Any:
    """Return the one type beside None in `X | None`; any other type as it is."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    parts = [part for part in get_args(hint) if part is not NoneType]
    return parts[0] if len(parts) == 1 else hint


@cache
def field_docs(kind: Kind) -> Mapping[str, str]:
    """Return the docstring under each field of a class and of those that it derives from; none where no source is."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for statement, below in zip(body, body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                match below:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        docs[statement.target.id] = " ".join(text.split())
    return MappingProxyType(docs)

"""The help that most people want: the common options of a command, with the first sentence of each."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro
from pydantic import BaseModel

from agps_agent.run.field_options import field_docs

SHORT, ALL = ("-h", "--help"), "--help-all"
_SENTENCE = re.compile(r"(?<=\.)\s(?=[A-Z])")


def common_options(options: type[Any], default: Any, names: Sequence[str]) -> type[Any]:
    """Return a dataclass of a few options alone, in the order of their names; only its help is of use.

    Args:
        options: Dataclass of all options; a field that tyro calls "" holds more of them.
        default: What the defaults are taken from; None: the class.
        names: Fields.
    """
    there = {name: (hint, help_, value) for name, hint, help_, value in flat_fields(options, default)}
    fields: list[tuple[str, Any, Any]] = []
    for name in names:
        hint, help_, value = there[name]
        told = tyro.conf.arg(
            help=first_sentence(help_),
            metavar=_placeholder(hint),
            help_behavior_hint="" if value is None or value is False else None,
        )
        shown = Annotated[hint, told, tyro.conf.FlagCreatePairsOff] if value is False else Annotated[hint, told]
        is_required = value in (dataclasses.MISSING, tyro.MISSING)
        fields.append((name, shown, dataclasses.field(kw_only=True, **({} if is_required else {"default": value}))))
    return dataclasses.make_dataclass(options.__name__, fields, frozen=True, namespace={"__doc__": options.__doc__})


def first_sentence(text: str) -> str:
    """Return the first sentence of an option's help: what it is, before how it is used."""
    return _SENTENCE.split(text)[0]


def flat_fields(options: Any, default: Any) -> Iterator[tuple[str, Any, str, Any]]:
    """Yield name, type, help and default of each option, those of nameless groups among them."""
    hints, docs = get_type_hints(options, include_extras=True), field_docs(options)
    for name, value in _defaults(options).items():
        value = value if default is None else getattr(default, name, value)
        inner, *marks = get_args(hints[name]) if get_origin(hints[name]) is Annotated else (hints[name],)
        if any(getattr(mark, "name", None) == "" for mark in marks):
            yield from flat_fields(inner, None if value is dataclasses.MISSING else value)
        else:
            yield name, hints[name], docs.get(name, ""), value


def positional_fields(options: Any, default: Any = None) -> dict[str, Any]:
    """Return the type of each argument that stands without its name, by its field."""
    return {name: get_args(hint)[0] for name, hint, _, _ in flat_fields(options, default) if is_positional(hint)}


def is_positional(hint: Any) -> bool:
    """Return whether a field's value stands without its name."""
    return get_origin(hint) is Annotated and tyro.conf.Positional in get_args(hint)[1:]


def _defaults(options: type[Any]) -> dict[str, Any]:
    if issubclass(options, BaseModel):
        return {
            name: dataclasses.MISSING if field.is_required() else field.get_default(call_default_factory=True)
            for name, field in options.model_fields.items()
        }
    return {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(options)
    }


def _placeholder(hint: Any) -> str | None:
    """Return what stands for a value that may be left out, shorter than tyro's `{None}|STR`; None: tyro's."""
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(hint) not in (Union, UnionType):
        return None
    inner = next(part for part in get_args(hint) if part is not NoneType)
    inner = get_args(inner)[0] if get_origin(inner) is Annotated else inner
    if get_origin(inner) is Literal:
        return f"{{{','.join(map(str, get_args(inner)))}}}"
    return {str: "STR", int: "INT", float: "FLOAT", Path: "PATH"}.get(inner)

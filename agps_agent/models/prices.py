"""What a model's tokens cost: by the price list of the server that is asked (`prices.toml`), or as the user says."""

import math
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

MILLION = 1_000_000
GIVEN = ("--vlm-price-in", "--vlm-price-out")
"""Where a price comes from that the user gave: of prompts, of replies."""
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
"""What stands behind the name of a model for its state on a day, which costs the same."""


class Rate(BaseModel):
    """Dollars for a million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


class Price(Rate):
    """Dollars for a million tokens, and who says so."""

    source: str

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Return what tokens cost, [USD]."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / MILLION


class PriceList(BaseModel):
    """What one server charges."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    host: str
    source: str
    looked_up: date
    models: Mapping[str, Rate]


class _PriceLists(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    lists: tuple[PriceList, ...]


@cache
def price_lists() -> tuple[PriceList, ...]:
    """Return the price lists that ship."""
    text = files("agps_agent.models").joinpath("prices.toml").read_text("utf-8")
    return _PriceLists.model_validate(tomllib.loads(text)).lists


def listed_prices() -> tuple[tuple[str, Price], ...]:
    """Return the price of every model of the lists that ship, by the names of model and list."""
    found = []
    for prices in price_lists():
        for model in prices.models:
            price = price_of(f"https://{prices.host}/v1", model)
            assert price is not None  # it stands in the list
            found.append((f"{model} ({prices.name})", price))
    return tuple(found)


def price_of(url: str, model: str, *, given: tuple[float | None, float | None] = (None, None)) -> Price | None:
    """Return what a model costs; None where nobody knows, as for a server of one's own or a model in this process.

    Args:
        url: What is asked: the base URL of a server, or the name of a model in this process.
        model: Name of the model at that server.
        given: What the user says a million prompt tokens and a million reply tokens cost, [USD]; of one that is not
            given the list decides, and without a list it is 0.
    """
    listed = _listed(url, model)
    told = {name: price for name, price in zip(GIVEN, given, strict=True) if price is not None}
    if not told:
        return listed
    source = " and ".join(told)
    if listed is None or len(told) == len(GIVEN):
        return Price(prompt=given[0] or 0.0, completion=given[1] or 0.0, source=source)
    prompt, completion = given
    return Price(
        prompt=listed.prompt if prompt is None else prompt,
        completion=listed.completion if completion is None else completion,
        source=f"{source}; {listed.source}",
    )


def _listed(url: str, model: str) -> Price | None:
    """Return what the server's price list says; None where there is none."""
    name = _DATE.sub("", model.rpartition("/")[2])  # servers put `models/` or the vendor before it
    for prices in price_lists():
        if urlsplit(url).hostname == prices.host and name in prices.models:
            rate = prices.models[name]
            source = f"{prices.name}, {prices.source}, {prices.looked_up}"
            return Price(prompt=rate.prompt, completion=rate.completion, source=source)
    return None


def in_dollars(cost: float) -> str:
    """Return an amount for people: cents, and below a cent two digits that count, to a millionth of a dollar."""
    if cost == 0 or cost >= 0.00995:
        return f"${cost:,.2f}"
    digits = 1 - math.floor(math.log10(cost)) if cost >= 1e-6 else 0
    return f"${cost:.{digits}f}" if digits else "less than $0.000001"

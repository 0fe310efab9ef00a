"""How a URL is reached: directly or through a proxy, as the environment says; decided here for every client alike.

Client libraries open every proxy that the environment names when they are made, also those that no request would take,
and fail with whatever comes to hand. So they are told which one to take, and nothing else.
"""

import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from rl.errors import ConfigError

_PORTS = {"http": 80, "https": 443}
_SOCKS = ("socks5", "socks5h")
_NAME = re.compile(r"^(?:\w+://)?(\[[^\]]*\]|[^:/]+|[0-9a-fA-F:]+)(?::(\d+))?/?$")
"""An entry of `no_proxy`: a name or an address, with a port or without."""


def proxy_for(url: str, *, socks_package: str = "socksio") -> str | None:
    """Return the URL of the proxy that a URL is reached through; None: none.

    `http_proxy` or `https_proxy` is asked by the URL's scheme, then `all_proxy`; each in lower case first. This machine
    is reached directly, and so is what `no_proxy` lists: names with all below them, addresses, networks such as
    10.0.0.0/8, or `*`.

    Args:
        url: Where to.
        socks_package: What the client needs for a SOCKS proxy.

    Raises:
        ConfigError: If that is no URL, or, naming the variable, if the client cannot use the proxy.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)
    except ValueError as error:
        raise ConfigError(f"{url!r} is no URL ({error}); give e.g. http://127.0.0.1:8000/v1.") from error
    if _is_local(host) or _is_exempt(host.rstrip("."), port):
        return None
    variable, proxy = _setting(f"{parts.scheme}_proxy")
    if not proxy:
        variable, proxy = _setting("all_proxy")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    _check(proxy, variable, f"or list {host} in no_proxy", socks_package)
    return proxy


@contextmanager
def only_proxy(proxy: str | None) -> Iterator[None]:
    """Show one proxy, or none, to a client that reads the environment while it is made and cannot be told otherwise."""
    before = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    for name in before:
        del os.environ[name]
    if proxy is not None:
        os.environ["all_proxy"] = proxy
    try:
        yield
    finally:
        os.environ.pop("all_proxy", None)
        os.environ.update(before)


def _setting(name: str) -> tuple[str, str]:
    """Return which variable of a name holds, and its value; that in lower case holds even where it is empty."""
    variable = name if name in os.environ else name.upper()
    return variable, os.environ.get(variable, "").strip()


def _check(proxy: str, variable: str, otherwise: str, socks_package: str) -> None:
    """Refuse a proxy that the client cannot use; its URL may hold a password and is not shown."""
    try:
        parts = urlsplit(proxy)
        is_complete = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_complete, parts = False, SplitResult("", "", "", "", "")
    if not is_complete:
        raise ConfigError(f"{variable} is no URL of a proxy; give e.g. http://127.0.0.1:3128, {otherwise}.")
    if parts.scheme not in ("http", "https", *_SOCKS):
        raise ConfigError(
            f"{variable} names a {parts.scheme}:// proxy, which cannot be used; give http://, https:// or socks5://, "
            f"{otherwise}."
        )
    if parts.scheme in _SOCKS and importlib.util.find_spec(socks_package) is None:
        package = {"socks": "PySocks"}.get(socks_package, socks_package)
        raise ConfigError(
            f"{variable} names a SOCKS proxy, for which a package is missing; pip install {package}, {otherwise}."
        )


def _is_local(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        address = ip_address(host)
        return address.is_loopback or address.is_unspecified
    return False


def _is_exempt(host: str, port: int) -> bool:
    """Whether `no_proxy` lists a host."""
    return any(_covers(entry, host, port) for entry in re.split(r"[,\s]+", _setting("no_proxy")[1]) if entry)


def _covers(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    with suppress(ValueError):
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    match = _NAME.match(entry.lower())
    if match is None or (match[2] and int(match[2]) != port):
        return False
    name = match[1].strip("[]").lstrip("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))

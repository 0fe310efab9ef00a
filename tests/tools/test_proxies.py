import os

import pytest

from rl.errors import ConfigError
from tools.proxies import only_proxy, proxy_for

LAB = "http://gpu.lab.org:8000/v1"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


@pytest.mark.parametrize(
    ("url", "settings", "proxy"),
    [
        (LAB, {}, None),
        (LAB, {"http_proxy": "http://p:3128"}, "http://p:3128"),
        (LAB, {"HTTP_PROXY": "p:3128"}, "http://p:3128"),
        (LAB, {"https_proxy": "http://p:3128"}, None),
        ("https://gpu.lab.org/v1", {"https_proxy": "http://p:3128"}, "http://p:3128"),
        (LAB, {"ALL_PROXY": "http://all:1", "http_proxy": "http://p:2"}, "http://p:2"),
        (LAB, {"ALL_PROXY": "http://all:1"}, "http://all:1"),
        (LAB, {"http_proxy": "", "HTTP_PROXY": "http://p:3128"}, None),
    ],
)
def test_proxy_goes_by_the_scheme_then_all(
    url: str, settings: dict[str, str], proxy: str | None, setting: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        setting.setenv(name, value)
    assert proxy_for(url) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "is_direct"),
    [
        ("gpu.lab.org", True),
        ("lab.org", True),
        (".lab.org", True),
        ("*.lab.org", True),
        ("localhost, LAB.org", True),
        ("gpu.lab.org:8000", True),
        ("gpu.lab.org:8001", False),
        ("*", True),
        ("ab.org", False),
        ("other.lab.org", False),
        ("", False),
    ],
)
def test_no_proxy_covers_names_and_all_below_them(no_proxy: str, is_direct: bool, setting: pytest.MonkeyPatch) -> None:
    setting.setenv("ALL_PROXY", "http://p:1")
    setting.setenv("NO_PROXY", no_proxy)
    assert (proxy_for(LAB) is None) is is_direct


@pytest.mark.parametrize(
    ("host", "no_proxy", "is_direct"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:8000", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("[fd00::7]", "fd00::/8", True),
        ("[fd00::7]", "[fd00::7]:8000", True),
    ],
)
def test_no_proxy_covers_addresses_and_networks(
    host: str, no_proxy: str, is_direct: bool, setting: pytest.MonkeyPatch
) -> None:
    setting.setenv("ALL_PROXY", "http://p:1")
    setting.setenv("no_proxy", no_proxy)
    assert (proxy_for(f"http://{host}:8000/v1") is None) is is_direct


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "localhost", "model.localhost", "[::1]", "0.0.0.0"])
def test_this_machine_is_reached_directly_whatever_the_proxy_is(host: str, setting: pytest.MonkeyPatch) -> None:
    setting.setenv("ALL_PROXY", "nonsense://p:1")
    assert proxy_for(f"http://{host}:8000/v1") is None


@pytest.mark.parametrize(
    ("variable", "proxy", "words"),
    [
        ("all_proxy", "socks://p:1080/", "all_proxy names a socks:// proxy, which cannot be used"),
        ("HTTP_PROXY", "ftp://p", "HTTP_PROXY names a ftp:// proxy"),
        ("http_proxy", "http://user:secret@:3128", "http_proxy is no URL of a proxy"),
        ("http_proxy", "http://user:secret@p:notaport", "http_proxy is no URL of a proxy"),
        ("http_proxy", "http://[p", "http_proxy is no URL of a proxy"),
    ],
)
def test_proxy_that_cannot_be_used_is_one_sentence_with_its_variable(
    variable: str, proxy: str, words: str, setting: pytest.MonkeyPatch
) -> None:
    setting.setenv(variable, proxy)
    with pytest.raises(ConfigError, match=f"{words}.*or list gpu.lab.org in no_proxy") as error:
        proxy_for(LAB)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_socks_needs_its_package(setting: pytest.MonkeyPatch) -> None:
    setting.setenv("ALL_PROXY", "socks5://p:1080")
    assert proxy_for(LAB, socks_package="json") == "socks5://p:1080"
    with pytest.raises(ConfigError, match="ALL_PROXY names a SOCKS proxy.* pip install not_there"):
        proxy_for(LAB, socks_package="not_there")


@pytest.mark.parametrize("url", ["http://[gpu/v1", "http://gpu:port/v1"])
def test_what_is_no_url_is_said(url: str) -> None:
    with pytest.raises(ConfigError, match="is no URL"):
        proxy_for(url)


@pytest.mark.parametrize("proxy", [None, "http://p:1"])
def test_client_that_reads_the_environment_sees_one_proxy_or_none(
    proxy: str | None, setting: pytest.MonkeyPatch
) -> None:
    settings = {"ALL_PROXY": "socks5://x", "http_proxy": "http://y", "no_proxy": "z"}
    for name, value in settings.items():
        setting.setenv(name, value)
    with only_proxy(proxy):
        seen = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    assert seen == ({} if proxy is None else {"all_proxy": proxy})
    assert {name: os.environ.get(name) for name in [*settings, "all_proxy"]} == {**settings, "all_proxy": None}

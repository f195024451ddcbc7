"""web.config and applicationHost.config, read as XML: there is no IIS here to try them."""

import re
import xml.etree.ElementTree as ET

import pytest

from gatebridge.bind import parse_bind
from gatebridge.fronts import iis
from gatebridge.fronts.place import Place

ONE = (parse_bind("http://192.0.2.7:8000"),)
TWO = (*ONE, parse_bind("http://192.0.2.8:8000"))


def read(form: str, **more: object) -> ET.Element:
    made = Place(**{"binds": ONE, "name": "shop", **more})  # type: ignore[arg-type]
    root = ET.fromstring(iis.config(made, form))
    assert root.tag == "configuration"
    return root


def only(root: ET.Element, path: str) -> dict[str, str]:
    (found,) = root.findall(path)
    return found.attrib


def test_the_path_goes_on_as_it_was_written() -> None:
    root = read("proxy")
    rules = "system.webServer/rewrite/rules"
    assert only(root, rules)["useOriginalURLEncoding"] == "false"
    action = only(root, f"{rules}/rule/action")
    assert action["url"] == "http://192.0.2.7:8000{UNENCODED_URL}"
    assert action["appendQueryString"] == "false"


@pytest.mark.parametrize(
    ("mount", "path", "below"),
    [
        ("", "anything", True),
        ("", "", True),
        ("/app", "app", True),
        ("/app", "app/x", True),
        ("/app", "apple", False),
        ("/app", "x/app", False),
        ("/a.b", "axb", False),
    ],
)
def test_what_is_below_the_mount(mount: str, path: str, below: bool) -> None:
    """A rule sees the path without its first slash."""
    pattern = only(read("proxy", mount=mount), "system.webServer/rewrite/rules/rule/match")["url"]
    assert bool(re.search(pattern, path)) is below


def test_the_client_does_not_say_who_it_is() -> None:
    """Every variable that the rule sets must be allowed by the other file."""
    root = read("proxy")
    found = {each.get("name"): each.get("value") for each in root.iter("set")}
    assert found["HTTP_X_FORWARDED_FOR"] == "{REMOTE_ADDR}"
    assert found["HTTP_PROXY"] == ""
    maps = {each.attrib["key"]: each.attrib["value"] for each in root.iter("add")}
    assert maps["on"] == "https"
    allowed = read("proxy-host").findall("system.webServer/rewrite/allowedServerVariables/add")
    assert {each.attrib["name"] for each in allowed} == set(found)


@pytest.mark.parametrize("form", ["proxy", "cgi"])
@pytest.mark.parametrize(
    ("upload", "most"), [(65_536, 65_536), (0, 2**32 - 1), (1 << 40, 2**32 - 1)]
)
def test_the_largest_body(form: str, upload: int, most: int) -> None:
    root = read(form, upload=upload, shim=r"C:\shop\shop.cgi")
    limits = only(root, "system.webServer/security/requestFiltering/requestLimits")
    assert limits["maxAllowedContentLength"] == str(most)


@pytest.mark.parametrize("binds", [ONE, TWO])
@pytest.mark.parametrize("buffering", [True, False])
def test_the_proxy(binds: object, buffering: bool) -> None:
    root = read("proxy-host", binds=binds, buffering=buffering, timeout=3725.5)
    proxy = only(root, "system.webServer/proxy")
    assert proxy["enabled"] == "true"
    assert proxy["preserveHostHeader"] == "true"
    assert proxy["timeout"] == "01:02:06"
    assert ("responseBufferLimit" in proxy) is not buffering
    assert bool(root.findall("webFarms")) is (binds is TWO)


def test_several_back_ends_are_a_farm() -> None:
    root = read("proxy-host", binds=TWO, health="/ping")
    farm = "webFarms/webFarm"
    assert only(root, farm)["name"] == "shop"
    servers = [each.attrib["address"] for each in root.findall(f"{farm}/server")]
    assert servers == ["192.0.2.7", "192.0.2.8"]
    health = only(root, f"{farm}/applicationRequestRouting/healthCheck")
    assert health["url"] == "http://shop/ping"
    action = only(read("proxy", binds=TWO), "system.webServer/rewrite/rules/rule/action")
    assert action["url"] == "http://shop{UNENCODED_URL}"


def test_a_shim_is_allowed_by_the_words_that_start_it() -> None:
    shim = r"C:\inetpub\a & b\<é>.cgi"
    handler = only(read("cgi", shim=shim), "system.webServer/handlers/add")
    assert handler["scriptProcessor"] == rf'C:\Windows\py.exe "{shim}"'
    assert (handler["path"], handler["resourceType"]) == ("*", "Unspecified")
    allowed = only(read("cgi-host", shim=shim), "system.webServer/security/isapiCgiRestriction/add")
    assert allowed["path"] == handler["scriptProcessor"]
    assert allowed["allowed"] == "true"


def test_a_shim_asked_for_elsewhere() -> None:
    """gatebridge conf makes a path whole, where a drive's name is none."""
    handler = only(read("cgi", shim=r"/home/me/C:\x\app.cgi"), "system.webServer/handlers/add")
    assert handler["scriptProcessor"] == r'C:\Windows\py.exe "C:\x\app.cgi"'


def test_host_names() -> None:
    path = "system.webServer/rewrite/rules/rule/conditions/add"
    pattern = only(read("proxy", server_name="a.example *.b.example"), path)["pattern"]
    for host, there in (("a.example", 1), ("x.b.example:8080", 1), ("axexample", 0)):
        assert bool(re.search(pattern, host)) is bool(there)
    assert read("proxy", server_name="_").findall(path) == []

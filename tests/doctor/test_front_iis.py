"""IIS's files, from its documentation: no such server runs here, so texts alone are judged."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatebridge.bind import parse_bind
from gatebridge.doctor.iis_text import read_iis
from gatebridge.doctor.machine import Machine
from gatebridge.doctor.report import Report
from gatebridge.errors import ConfigError
from gatebridge.fronts import iis
from gatebridge.fronts.place import Place
from tests.doctor.front_stand import judged, serving
from tests.doctor.set_up import Fake, configured, doctor, first, ids
from tests.fronts.servers import free_port
from tests.serve.service import Service

Live = tuple[Service, str]


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with tempfile.TemporaryDirectory(prefix="gb-doctor-", dir="/var/tmp") as name:
        bind = f"http://127.0.0.1:{free_port()}"
        with serving(Path(name), "--bind", bind) as running:
            yield running, bind


def text(live: Live, **more: Any) -> str:
    """What conf writes for a daemon."""
    return iis.config(Place((parse_bind(live[1]),), server_name="www.example.org", **more))


def said(live: Live, config: str, **flags: Any) -> Report:
    service, bind = live
    return judged(service, config, bind=[bind], **flags)


PLATFORM = """<configuration><system.webServer>
<handlers><add name="a" path="*" verb="*" modules="httpPlatformHandler" /></handlers>
<httpPlatform processPath="C:\\Python\\python.exe" requestTimeout="00:10:00"
 arguments="-m gatebridge serve shop:app --bind http://127.0.0.1:%HTTP_PLATFORM_PORT%" />
<security><requestFiltering allowDoubleEscaping="true">
<requestLimits maxAllowedContentLength="1073741824" /></requestFiltering></security>
</system.webServer></configuration>"""
FASTCGI = """<configuration><system.webServer><handlers>
<add name="a" path="*" verb="*" modules="FastCgiModule" resourceType="Unspecified"
 scriptProcessor="C:\\Python\\python.exe|C:\\Python\\Lib\\site-packages\\wfastcgi.py" />
</handlers></system.webServer></configuration>"""
FARM = """<configuration><webFarms><webFarm name="shop"><server address="{host}">
<applicationRequestRouting httpPort="{port}" /></server></webFarm></webFarms></configuration>"""


@pytest.mark.parametrize("limit", [1 << 30, 200_000])
def test_what_conf_writes_is_sound(live: Live, limit: int) -> None:
    report = said(live, text(live, upload=limit), limit_body=limit)
    assert (ids(report), report.undecided) == ([], [])


def test_a_program_that_it_starts(live: Live) -> None:
    report = said(live, PLATFORM)
    assert (ids(report), report.undecided) == ([], [])
    fixed = PLATFORM.replace("%HTTP_PLATFORM_PORT%", "8000")
    assert first(said(live, fixed)) == "front.port"
    variable = '<environmentVariable name="PORT" value="%HTTP_PLATFORM_PORT%" />'
    inside = f"<environmentVariables>{variable}</environmentVariables></httpPlatform>"
    told = fixed.replace('8000" />', f'8000">{inside}')
    assert ids(said(live, told)) == []
    hasty = PLATFORM.replace(' requestTimeout="00:10:00"', "")
    assert ids(said(live, hasty, timeout=300.0)) == ["front.timeout"]
    assert ids(said(live, PLATFORM, timeout=300.0)) == []


@pytest.mark.parametrize(
    ("id", "old", "new"),
    [
        ("front.elsewhere", r"127\.0\.0\.1", "192.0.2.9"),
        ("front.slash", r"\{UNENCODED_URL\}", "{R:1}"),
        ("front.encoded", r"\{UNENCODED_URL\}", "/{R:1}"),
        ("front.encoded", ' allowDoubleEscaping="true"', ""),
        ("front.upload", r"<requestLimits [^>]*>", ""),
        ("front.scheme", 'name="HTTP_X_FORWARDED_PROTO"', 'name="HTTP_X_OTHER"'),
    ],
)
def test_a_rule_that_goes_wrong(live: Live, id: str, old: str, new: str) -> None:
    sound = text(live).replace(
        "<rewriteMaps>", '<rule name="tls"><match url=".*" /><action type="Redirect" '
        'url="https://{HTTP_HOST}{REQUEST_URI}" /></rule><rewriteMaps>', 1
    )  # fmt: skip
    assert ids(said(live, sound)) == []
    broken = re.sub(old, lambda match: new, sound)
    assert broken != sound
    assert ids(said(live, broken)) == [id]


def test_a_rule_that_is_off(live: Live) -> None:
    rule = f'<rule enabled="{{}}"><action type="Rewrite" url="{live[1]}{{{{R:1}}}}" /></rule>'
    sound = text(live)
    assert "<rule " in sound
    for said_off in ("false", "False"):
        off = sound.replace("<rule ", rule.format(said_off) + "<rule ", 1)
        assert ids(said(live, off)) == []
    on = sound.replace("<rule ", rule.format("true") + "<rule ", 1)
    assert first(said(live, on)) == "front.slash"


def test_a_farm_of_servers(live: Live) -> None:
    host, _, port = live[1].removeprefix("http://").rpartition(":")
    rule = re.sub(r"http://127[^{]*", "http://shop", text(live))
    farm = FARM.format(host=host, port=port)
    inside = farm.partition("<configuration>")[2]
    whole = rule.replace("</configuration>", "") + inside
    assert ids(said(live, whole)) == []
    assert first(said(live, whole.replace(f'"{port}"', '"9"'))) == "front.elsewhere"


def test_fastcgi_of_its_own(live: Live) -> None:
    report = said(live, FASTCGI)
    assert first(report) == "front.elsewhere"
    assert "wfastcgi.py; IIS speaks FastCGI over a pipe" in report.found[0].finding.evidence


def test_a_shim(live: Live) -> None:
    folder = live[0].folder
    script = folder / "C:\\inetpub\\shop.cgi"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    place = Place((), shim="C:\\inetpub\\shop.cgi")
    file = folder / "cgi.config"

    def judged_shim(config: str) -> list[str]:
        file.write_text(config)
        flags = {"bind": [live[1]], "chdir": str(folder), "control_socket": live[0].control}
        meant = configured("shop:application", **flags)
        return ids(
            doctor(Fake(folder), **meant, scripts=(str(script),), front_config=(f"iis:{file}",))
        )

    sound = iis.config(place, "cgi")
    assert judged_shim(sound) == []
    assert judged_shim(sound.replace("Unspecified", "File")) == ["front.try_files"]
    assert judged_shim(sound.replace("shop.cgi", "other.cgi"))[0] == "front.script"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]><configuration>&a;</configuration>', "a DOCTYPE has no"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><configuration/>', "a DOCTYPE has no place"),
        ("<configuration><system.webServer>", "it is no XML"),
        ("<a>" * 60, "in more than 50 others"),
        ("", "it is no XML"),
    ],
)
def test_xml_that_is_none(tmp_path: Path, config: str, why: str) -> None:
    file = tmp_path / "web.config"
    file.write_text(config)
    with pytest.raises(ConfigError, match=why):
        read_iis(Machine(), str(file))
    report = doctor(Fake(tmp_path), binds=("http://127.0.0.1:1",), front_config=(f"iis:{file}",))
    assert first(report) == "front.file"

"""Programs that Apache starts, read from its configuration or a .htaccess.

ScriptAlias, handlers cgi-script and fcgid-script, FcgidWrapper, and rules of mod_rewrite that lead
to a program.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.apache_tree import flags, is_on
from gatebridge.doctor.check import BROKEN, WARNING
from gatebridge.doctor.passing import Flaw, Passing, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.apache_tree import Line, Lines

_HANDLERS: Final = {"cgi-script": "cgi", "fcgid-script": "fcgid"}
_MODULES: Final = {"cgi": ("cgid_module", "cgi_module"), "fcgid": ("fcgid_module",)}
_SUFFIXES: Final = (".cgi", ".fcgi", ".fpl", ".pl", ".py", ".sh")
_LED: Final = re.compile(r"((?:[^$%?]*/)?[\w.-]+\.(?:cgi|fcgi|fpl|pl|py|sh))(?=[/$?]|$)")
_ENDLESS: Final = re.compile(r"[*+}]\)+[*+{]")  # repeated as a whole, and inside
_FCGID_BODY: Final = 131_072  # bytes: FcgidMaxRequestLen, if nobody says it
_FCGID_S: Final = 40.0  # FcgidIOTimeout
_TIMEOUT_S: Final = 60.0
_FOLDERS: Final = ("directory", "directorymatch")
_PLACES: Final = (*_FOLDERS, "files", "filesmatch", "location", "locationmatch")


def programs(lines: Lines, path: str) -> list[Passing]:
    """path: of the file; a .htaccess holds for its own folder."""
    folder = os.path.dirname(os.path.abspath(path)) if _is_htaccess(path) else ""
    aliased = [one for line in lines for one in _aliased(line)]
    found = [_Program(lines, line, "cgi", pattern, folder) for line, pattern in aliased]
    for line in lines:
        found += [
            _Program(lines, line, kind, pattern, folder, [alias for _, alias in aliased])
            for kind, pattern in _handled(lines, line, folder)
        ]
        if folder and (pattern := _rewritten(line, folder)):
            found.append(_Program(lines, line, "cgi", pattern, folder))
    return [one.passing() for one in found]


def _is_htaccess(path: str) -> bool:
    return os.path.basename(path).startswith(".ht")


def _aliased(line: Line) -> Iterator[tuple[Line, str]]:
    if line.name == "scriptaliasmatch" and len(line.words) > 1:
        yield line, glob.escape(line.words[1].partition("$")[0]) + "*"
    elif line.name == "scriptalias" and line.words:
        target = line.words[-1].rstrip("/")
        pattern = glob.escape(target)
        if target.endswith(_SUFFIXES):
            yield line, pattern
        else:
            yield line, f"{pattern}/*"


def _handled(lines: Lines, line: Line, folder: str) -> Iterator[tuple[str, str]]:
    """(cgi or fcgid, pattern) of a line that gives files to a handler."""
    words = line.words
    if line.name not in ("fcgidwrapper", "sethandler", "forcetype", "addhandler"):
        return
    place = _place(lines, line, folder)
    if line.name == "fcgidwrapper" and words:
        command = [word for word in words[0].split() if word.startswith("/")]
        yield "fcgid", glob.escape(command[-1]) if command else place + "*"
    elif line.name in ("sethandler", "forcetype") and words and words[0] in _HANDLERS:
        files = line.within("files")
        name = files[1][-1] if files is not None and files[1] else "*"
        if files is not None and files[1][:1] == ("~",):
            name = "*"
        yield _HANDLERS[words[0]], place + name
    elif line.name == "addhandler" and words and words[0] in _HANDLERS:
        for suffix in words[1:]:
            yield _HANDLERS[words[0]], f"{place}*.{suffix.lstrip('.')}"


def _place(lines: Lines, line: Line, folder: str) -> str:
    section = line.within("directory")
    if section is not None and section[1] and section[1][0] != "~":
        return section[1][-1].rstrip("/") + "/"
    location = line.within("location")
    if location is not None and location[1]:
        return _below_alias(lines, line, location[1][0].rstrip("/")) + "/"
    return f"{glob.escape(folder)}/" if folder else "*/"


def _below_alias(lines: Lines, line: Line, url: str) -> str:
    """A pattern of the folder that a URL leads to."""
    for one in lines.near(line):
        if one.name in ("alias", "scriptalias") and len(one.words) > 1:
            begin = one.words[0].rstrip("/")
            if f"{url}/".startswith(f"{begin}/"):
                return glob.escape(one.words[1].rstrip("/") + url.removeprefix(begin))
    return f"*{glob.escape(url)}"


def _rewritten(line: Line, folder: str) -> str:
    """The program that a rule of a .htaccess leads to; "" for none."""
    if line.name != "rewriterule" or len(line.words) < 2:
        return ""
    found = _LED.match(line.words[1])
    if not found:
        return ""
    name = found[1]
    return f"*{glob.escape(name)}" if name.startswith("/") else f"{glob.escape(folder)}/{name}"


def _execution(line: Line) -> bool | None:
    """Whether an Options line lets programs be started; None where it leaves that as it is."""
    if line.name != "options":
        return None
    names = {word.lower() for word in line.words}
    if names & {"execcgi", "+execcgi", "all"}:
        return True
    is_change = all(word[:1] in ("+", "-") for word in names)
    return None if is_change and "-execcgi" not in names else False


class _Program:
    """A line that leads to programs. aliased: patterns of ScriptAlias, which need no ExecCGI."""

    def __init__(
        self,
        lines: Lines,
        line: Line,
        kind: str,
        pattern: str,
        folder: str,
        aliased: list[str] | None = None,
    ) -> None:
        self._lines = lines
        self._line = line
        self._kind = kind
        self._pattern = pattern
        self._is_alias = line.name.startswith("scriptalias")
        self._aliased = aliased or []
        self._folder = folder
        self._near = lines.near(line)

    def passing(self) -> Passing:
        is_fcgid = self._kind == "fcgid"
        body = self._number("fcgidmaxrequestlen" if is_fcgid else "limitrequestbody")
        if is_fcgid and body is None and not self._folder:
            body = _FCGID_BODY
        wait = self._number("fcgidiotimeout") if is_fcgid else self._number("cgidscripttimeout")
        if wait is None and not is_fcgid:
            wait = self._number("timeout")
        usual = _FCGID_S if is_fcgid else _TIMEOUT_S
        return Passing(
            "apache",
            self._line.where,
            self._kind,
            upload=body,
            timeout=None if self._folder else float(wait or usual),
            words={
                "refusal": "500" if is_fcgid else "413",
                "upload": f"{'FcgidMaxRequestLen' if is_fcgid else 'LimitRequestBody'} {{0}}",
                "timeout": f"{'FcgidIOTimeout' if is_fcgid else 'CGIDScriptTimeout'} {{0}}",
            },
            flaws=tuple(self._flaws()),
            program=self._pattern,
            execution=tuple(self._execution()),
        )

    def _number(self, name: str) -> int | None:
        said = [one.words[0] for one in self._near if one.name == name and one.words]
        return whole(said[-1]) if said else None

    def _flaws(self) -> Iterator[Flaw]:
        where = self._line.where
        modules = _MODULES[self._kind]
        if self._lines.without(modules):
            name = modules[0].removesuffix("_module")
            why = f"Apache does not load mod_{name}, and sends the program as a file"
            yield Flaw("front.module", why,
                       f"{where}: no LoadModule {' or '.join(modules)}",
                       f"a2enmod {name} && systemctl restart apache2, or "
                       f"LoadModule {modules[0]} modules/mod_{name}.so", BROKEN)  # fmt: skip
        if self._line.name == "rewriterule":
            yield from self._rule_flaws(where)
        elif not (self._is_alias or self._is_aliased()):
            shown = f"{self._line.name} {' '.join(self._line.words)}"
            why, severity = "Apache answers 403: programs may not be started there", BROKEN
            if self._folder and not list(self._execution()):
                why += ", if its own configuration does not allow them"
                severity = WARNING
            yield Flaw("front.execute", why, f"{where}: {shown}, and no Options +ExecCGI",
                       "Options +ExecCGI beside it", severity)  # fmt: skip
        if not self._passes_authorization():
            why = "Apache keeps the Authorization header from programs"
            mend = 'CGIPassAuth On in the <Directory>, or SetEnvIf Authorization "(.*)" ' \
                "HTTP_AUTHORIZATION=$1"  # fmt: skip
            yield Flaw("front.authorization", why, f"{where}: no CGIPassAuth On for it", mend)

    def _is_aliased(self) -> bool:
        """Whether a ScriptAlias leads to the same files."""
        own = self._pattern.rstrip("*").rstrip("/")
        return any(own.startswith(one.rstrip("*").rstrip("/")) for one in self._aliased)

    def _execution(self) -> Iterator[tuple[str, bool]]:
        """What Options say, in the order in which Apache goes by them: deeper folders later.

        Which files are meant by URLs and patterns is not known: those that forbid are left out.
        """
        found: list[tuple[int, str, bool]] = []
        for one in self._near:
            may = _execution(one)
            section = next((each for each in reversed(one.sections) if each[0] in _PLACES), None)
            if may is None:
                continue
            if section is None:
                found.append((0, "*", may))
            elif section[0] == "directory" and section[1] and section[1][0] != "~":
                place = section[1][-1].rstrip("/")
                found.append((place.count("/"), f"{place}/*", may))
            elif may:
                found.append((sys.maxsize, "*", may))
        found.sort(key=itemgetter(0))
        for _, pattern, may in found:
            yield pattern, may

    def _covers(self, line: Line) -> bool:
        """Whether a line's own place holds the programs; all do that stand in no folder."""
        section = next((one for one in reversed(line.sections) if one[0] in _FOLDERS), None)
        if section is None or not section[1]:
            return not line.within("location") or not self._folder
        place = section[1][-1].rstrip("/")
        own = self._pattern.rstrip("*").rstrip("/")
        return section[0] == "directorymatch" or f"{own}/".startswith(f"{place}/")

    def _passes_authorization(self) -> bool:
        if any(one.name == "cgipassauth" and one.words[:1] and one.words[0].lower() == "on"
               and self._covers(one) for one in self._near):  # fmt: skip
            return True
        names = ("setenvif", "setenvifnocase", "rewriterule", "fcgidpassheader")
        words = [" ".join(one.words).upper() for one in self._near if one.name in names]
        return any("HTTP_AUTHORIZATION" in text or text == "AUTHORIZATION" for text in words)

    # -- rules of a .htaccess

    def _rule_flaws(self, where: str) -> Iterator[Flaw]:
        shown = f"{where}: RewriteRule {' '.join(self._line.words)}"
        if not is_on(self._near, "rewriteengine", self._line):
            yield Flaw("front.rewrite", "mod_rewrite is off here, so the rule is not read", shown,
                       "RewriteEngine On before it", BROKEN)  # fmt: skip
        elif self._comes_again():
            why = "the rule matches what it made itself, so Apache ends in 500 after ten rounds"
            name = re.sub(r"[/$?].*", "", self._line.words[1].lstrip("/")) or "FILE"
            yield Flaw("front.rewrite", why, shown,
                       f"RewriteRule ^{re.escape(name)} - [L] before it", BROKEN)  # fmt: skip

    def _comes_again(self) -> bool:
        """A .htaccess is read anew for what a rule leads to: something must end that."""
        rules = [one for one in self._near if one.name in ("rewriterule", "rewritecond")]
        at = rules.index(self._line)
        if (at and rules[at - 1].name == "rewritecond") or "end" in flags(self._line):
            return False
        made = re.sub(r"\$\d", "x", self._line.words[1].partition("?")[0]).lstrip("/")
        for one in rules[:at]:
            ends = {"l", "last", "end"} & flags(one).keys()
            if one.name == "rewriterule" and len(one.words) > 1 and one.words[1] == "-" and ends \
                    and _matches(one.words[0], made):  # fmt: skip
                return False
        return _matches(self._line.words[0], made)


def _matches(pattern: str, path: str) -> bool:
    """As PCRE would, for what both write alike. PCRE gives up where re would go on for ever."""
    if _ENDLESS.search(pattern):
        return False
    try:
        return bool(re.search(pattern.removeprefix("!"), path)) != pattern.startswith("!")
    except re.error:
        return False

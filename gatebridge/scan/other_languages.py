"""Programs in other languages: what they are, and what of them matters."""

from __future__ import annotations

import re

from gatebridge.scan.facts import Fact, some

MOST = 256 << 10  # bytes of a program that are looked at
_LANGUAGES = (  # the interpreter's name begins with
    ("python", "Python"), ("pypy", "Python"), ("perl", "Perl"), ("php", "PHP"), ("ruby", "Ruby"),
    ("node", "JavaScript"), ("nodejs", "JavaScript"), ("lua", "Lua"), ("tclsh", "Tcl"),
    ("bash", "shell"), ("dash", "shell"), ("ksh", "shell"), ("zsh", "shell"), ("csh", "shell"),
    ("tcsh", "shell"), ("busybox", "shell"), ("awk", "awk"), ("gawk", "awk"), ("mawk", "awk"),
    ("sed", "sed"), ("make", "make"),
)  # fmt: skip
ENDINGS = {
    ".py": "Python", ".wsgi": "Python", ".pl": "Perl", ".pm": "Perl", ".php": "PHP",
    ".rb": "Ruby", ".sh": "shell", ".js": "JavaScript", ".lua": "Lua", ".tcl": "Tcl",
}  # fmt: skip
_PATTERNS = {
    "Perl": (
        ("forks", re.compile(rb"(?<![\w$@%>:-])fork\b(?!\s*=>)")),
        ("shell", re.compile(rb"(?<![\w$@%>:-])(?:system\s*[(\"'$]|qx\b|exec\s*[(\"'$])|=\s*`")),
        ("writes_files", re.compile(rb"(?<![\w$@%>-])(?:unlink|rename|mkdir)\b|"
                                    rb"\bopen\b[^;\n]*['\"]\s*\+?>")),
        ("proxy", re.compile(rb"\bLWP::|\bHTTP::Tiny\b|\bWWW::Mechanize\b")),
        ("connects", re.compile(rb"\bIO::Socket\b|\bDBI->connect\b|\bNet::SMTP\b")),
        ("evaluates", re.compile(rb"(?<![\w$@%>-])eval\s*[\"$]")),
        ("chdir", re.compile(rb"(?<![\w$@%>-])chdir\b")),
        ("umask", re.compile(rb"(?<![\w$@%>-])umask\b")),
    ),
    "shell": (
        ("evaluates", re.compile(rb"(?<![\w$-])eval[ \t]")),
        ("writes_files", re.compile(rb"(?:^|[;&|(\s])(?:rm|mv|cp|mkdir|tee|install)[ \t]|"
                                    rb"[^<>&\d\n-]>>?[ \t]*[\"'$/\w.](?!dev/null)")),
        ("proxy", re.compile(rb"(?:^|[;&|(`\s])(?:wget|lynx)[ \t]")),
        ("connects", re.compile(rb"(?:^|[;&|(`\s])(?:curl|nc|ssh|mail|sendmail)[ \t]")),
    ),
    "PHP": (
        ("shell", re.compile(rb"\b(?:system|shell_exec|passthru|popen|proc_open|exec)\s*\(")),
        ("evaluates", re.compile(rb"\beval\s*\(|\bunserialize\s*\(")),
        ("writes_files", re.compile(rb"\b(?:file_put_contents|unlink|rename|mkdir|"
                                    rb"move_uploaded_file)\s*\(")),
        ("connects", re.compile(rb"\b(?:mysqli?_connect|pg_connect|fsockopen|new\s+PDO)\b")),
        ("proxy", re.compile(rb"\bcurl_exec\s*\(|\bGuzzleHttp\b")),
        ("forks", re.compile(rb"\bpcntl_fork\s*\(")),
    ),
    "Ruby": (
        ("forks", re.compile(rb"(?<![\w.:])(?:Process\.)?fork\b")),
        ("shell", re.compile(rb"(?<![\w.:])system[ (]|=\s*`|%x[({\[]")),
        ("proxy", re.compile(rb"\bNet::HTTP\b|\bopen-uri\b")),
        ("writes_files", re.compile(rb"\bFile\.(?:write|delete|rename|unlink)\b|"
                                    rb"\bFile\.open\b[^\n]*['\"][wa]")),
    ),
}  # fmt: skip


def language(kind: str, name: str) -> str:
    """Of an interpreter's name ("python2.7"), else of the file's ending; "" when unknown."""
    if kind == "sh":
        return "shell"
    for start, language in _LANGUAGES:
        if kind == start or re.fullmatch(rf"{start}[\d.-]*(?:-cgi)?(?:\.exe)?", kind):
            return language
    return ENDINGS.get(name[name.rfind(".") :] if "." in name else "", "")


def look(data: bytes, language: str, kind: str) -> tuple[Fact, ...]:
    """Facts by patterns, line by line; whole comment lines do not count.

    kind  the interpreter's name
    """
    facts = []
    if kind == "bash":
        facts.append(Fact("shellshock", 1, "bash"))
    patterns = _PATTERNS.get(language, ())
    pod = False
    for number, line in enumerate(data[:MOST].splitlines(), 1):
        if language == "Perl" and re.match(rb"=[a-z]", line):
            pod = not line.startswith(b"=cut")
        if language == "Perl" and line.strip() in (b"__END__", b"__DATA__"):
            break
        if pod or line.lstrip()[:1] == b"#" or line.lstrip()[:2] in (b"//", b"/*"):
            continue
        for code, pattern in patterns:
            match = pattern.search(line[:2000])
            if match:
                text = match[0].strip(b" \t\"'$(=;&|").decode("latin-1")
                facts.append(Fact(code, number, text or match[0].decode("latin-1")))
    return some(facts)

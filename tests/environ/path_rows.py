"""What servers send of a path, and how it is to be split, with nothing said of the mount.

After the row's name: front, variables, SCRIPT_NAME, PATH_INFO.
"""

HTACCESS = {"SCRIPT_FILENAME": "/srv/cgi-bin/app.cgi", "SCRIPT_NAME": "/cgi-bin/app.cgi"}
PASSED = {"SCRIPT_FILENAME": "proxy:fcgi://localhost/srv/www/app"}
HANDLED = {"SCRIPT_FILENAME": "proxy:fcgi://localhost//srv/www/app"}

PATHS: list[tuple[str, str, dict[str, str], str, str]] = [
    ("asterisk", "h2o", {"REQUEST_URI": "*", "SCRIPT_NAME": "", "PATH_INFO": "/*"}, "", "/*"),
    ("asterisk", "nginx", {"REQUEST_URI": "*"}, "", "/*"),
    ("asterisk", "unknown", {"REQUEST_URI": "*", "SCRIPT_NAME": "*"}, "", "/*"),
    (
        "newline-split",
        "nginx",
        {"REQUEST_URI": "/app/a%0ab", "SCRIPT_NAME": "/app/a\nb", "PATH_INFO": ""},
        "",
        "/app/a\nb",
    ),
    ("whole-path-script", "haproxy", {"REQUEST_URI": "/a/b", "SCRIPT_NAME": "/a/b"}, "", "/a/b"),
    ("whole-path-script", "nginx", {"REQUEST_URI": "/a//b", "SCRIPT_NAME": "/a/b"}, "", "/a/b"),
    (
        "whole-path-script",
        "apache",
        {"REQUEST_URI": "/app", "SCRIPT_NAME": "/app"} | PASSED,
        "",
        "/app",
    ),
    (
        "whole-path-script",
        "apache",
        {
            "REQUEST_URI": "/app/x",
            "SCRIPT_NAME": "/app/x",
            "SCRIPT_FILENAME": "proxy:unix:/run/x.sock|fcgi://localhost/x",
        },
        "",
        "/app/x",
    ),
    (
        "whole-path-script",
        "apache",
        {
            "REQUEST_URI": "/x/",
            "SCRIPT_NAME": "/x/",
            "SCRIPT_FILENAME": "proxy:balancer://pool/x/",
        },
        "",
        "/x/",
    ),
    ("path-missing", "nginx", {"REQUEST_URI": "/a//%41", "DOCUMENT_URI": "/a/A"}, "", "/a/A"),
    ("path-missing", "nginx", {"REQUEST_URI": "/a/./b//c?x"}, "", "/a/b/c"),
    ("path-missing", "unknown", {"REQUEST_URI": "/a/./b//c"}, "", "/a/./b//c"),
    ("path-missing", "unknown", {"DOCUMENT_URI": "/a"}, "", "/a"),
    (
        "script-twice",
        "iis",
        {"REQUEST_URI": "/a/b", "SCRIPT_NAME": "/a/b", "PATH_INFO": "/a/b"},
        "",
        "/a/b",
    ),
    (
        "script-repeated",
        "iis",
        {"REQUEST_URI": "/app.py/b", "SCRIPT_NAME": "/app.py", "PATH_INFO": "/app.py/b"},
        "/app.py",
        "/b",
    ),
    (
        "script-repeated",
        "iis",
        {"SCRIPT_NAME": "/app.py", "PATH_INFO": "/app.py/b"},
        "/app.py",
        "/b",
    ),
    (
        "script-repeated",
        "unknown",
        {"REQUEST_URI": "/app?x", "SCRIPT_NAME": "/app", "PATH_INFO": "/app"},
        "/app",
        "",
    ),
    (
        "script-hidden",
        "apache",
        {"REQUEST_URI": "/a%20b", "PATH_INFO": "/a b"} | HTACCESS,
        "",
        "/a b",
    ),
    (
        "script-hidden",
        "lighttpd",
        {"REQUEST_URI": "/x", "SCRIPT_NAME": "/app.fcgi", "PATH_INFO": "/x"},
        "",
        "/x",
    ),
    (
        "bare-mount-slash",
        "apache",
        {"REQUEST_URI": "/app", "SCRIPT_NAME": "/app", "PATH_INFO": "/"},
        "/app",
        "",
    ),
    (
        "document-uri",
        "nginx",
        {"REQUEST_URI": "/app/a%20b", "SCRIPT_NAME": "/app", "DOCUMENT_URI": "/app/a b"},
        "/app",
        "/a b",
    ),
    (
        "document-uri",
        "nginx",
        {"REQUEST_URI": "/a/b", "SCRIPT_NAME": "/x", "PATH_INFO": "/y", "DOCUMENT_URI": "/a/b"},
        "",
        "/a/b",
    ),
    (
        "still-encoded",
        "nginx",
        {"REQUEST_URI": "/app/a%20b", "SCRIPT_NAME": "/app", "PATH_INFO": "/a%20b"},
        "/app",
        "/a b",
    ),
    (
        "truncated",
        "nginx",
        {"REQUEST_URI": "/app/a%20b", "SCRIPT_NAME": "/app"},
        "/app",
        "/a b",
    ),
    (
        "front-controller",
        "caddy",
        {"REQUEST_URI": "/a%20b", "SCRIPT_NAME": "/index.php", "PATH_INFO": ""},
        "",
        "/a b",
    ),
    ("front-controller", "nginx", {"REQUEST_URI": "/a/", "SCRIPT_NAME": "/a/index.cgi"}, "", "/a/"),
    ("front-controller", "haproxy", {"REQUEST_URI": "/a/", "SCRIPT_NAME": "/a/app"}, "", "/a/"),
    ("front-controller", "apache", {"REQUEST_URI": "/a//b"} | HTACCESS, "", "/a/b"),
    (
        "rewritten-script",
        "apache",
        {"REQUEST_URI": "/old", "PATH_INFO": "/new"} | HTACCESS,
        "",
        "/new",
    ),
    ("rewritten-path", "nginx", {"REQUEST_URI": "/old", "SCRIPT_NAME": "/new"}, "", "/new"),
    ("rewritten-path", "haproxy", {"REQUEST_URI": "/old?x", "SCRIPT_NAME": "/new"}, "", "/new"),
]

# The same columns where the server's own split stands.
KEPT: list[tuple[str, dict[str, str], str, str]] = [
    ("nginx", {"REQUEST_URI": "/app/x", "SCRIPT_NAME": "/app", "PATH_INFO": "/x"}, "/app", "/x"),
    ("nginx", {"REQUEST_URI": "/app", "SCRIPT_NAME": "/app", "PATH_INFO": ""}, "/app", ""),
    ("nginx", {"REQUEST_URI": "/app", "SCRIPT_NAME": "/app", "SCGI": "1"}, "/app", ""),
    ("nginx", {"REQUEST_URI": "/x", "PATH_INFO": "/x"}, "", "/x"),
    ("nginx", {"REQUEST_URI": "/x", "PATH_INFO": "x"}, "", "/x"),
    ("nginx", {"REQUEST_URI": "/app/x", "SCRIPT_NAME": "app/", "PATH_INFO": "x"}, "/app", "/x"),
    ("nginx", {"REQUEST_URI": "/old", "SCRIPT_NAME": "/app", "PATH_INFO": "/new"}, "/app", "/new"),
    ("apache", {"REQUEST_URI": "/app", "SCRIPT_NAME": "/app"} | HANDLED, "/app", ""),
    ("apache", {"REQUEST_URI": "/app/x", "SCRIPT_NAME": "/app", "PATH_INFO": "/x"}, "/app", "/x"),
    ("lighttpd", {"REQUEST_URI": "/app", "SCRIPT_NAME": "/app"}, "/app", ""),
    ("lighttpd", {"REQUEST_URI": "/", "SCRIPT_NAME": "/"}, "", "/"),
    ("caddy", {"REQUEST_URI": "/app", "SCRIPT_NAME": "/app", "PATH_INFO": ""}, "/app", ""),
    ("iis", {"SCRIPT_NAME": "/a", "PATH_INFO": "/b"}, "/a", "/b"),
    ("unknown", {"SCRIPT_NAME": "/cgi-bin/x", "PATH_INFO": "/y"}, "/cgi-bin/x", "/y"),
    ("unknown", {"REQUEST_URI": "/cgi-bin/x", "SCRIPT_NAME": "/cgi-bin/x"}, "/cgi-bin/x", ""),
    ("unknown", {"REQUEST_URI": "h:443", "SCRIPT_NAME": "", "PATH_INFO": ""}, "", "/"),
]

"""A real Apache with a text of a test's own."""

from tests.fronts.apache import modules
from tests.fronts.servers import Server, free_port, program, start, unprivileged
from tests.serve.service import Service

NAMES = ("mpm_event", "authz_core", "unixd", "alias", "setenvif", "rewrite", "proxy", "proxy_fcgi",
         "proxy_scgi", "proxy_uwsgi", "proxy_http", "headers", "fcgid", "dir", "cgid", "mime",
         "env")  # fmt: skip


def loaded(without: str = "") -> str:
    """LoadModule lines. without: one that is left out"""
    lines = modules(NAMES).splitlines()
    return "\n".join([line for line in lines if f" {without}_module " not in line])


def run(live: Service, text: str, without: str = "") -> Server:
    """PORT in the text is where it listens."""
    folder = live.folder / "apache"
    own = {"fcgid": f'FcgidIPCDir "{folder}/fcgid"\nFcgidProcessTableFile "{folder}/fcgid_shm"\n',
           "cgid": f'ScriptSock "{folder}/sock"\n'}  # fmt: skip

    def make() -> Server:
        port = free_port()
        (folder / "apache.conf").write_text(
            f'ServerRoot "{folder}"\n{loaded(without)}\nPidFile "{folder}/pid"\n'
            f'ErrorLog "{folder}/error.log"\nMutex "file:{folder}" default\nServerName x\n'
            f"{''.join(own[name] for name in own if name != without)}TypesConfig /dev/null\n"
            f"Listen 127.0.0.1:{port}\n" + text.replace("PORT", str(port))
        )
        words = ("-d", str(folder), "-f", str(folder / "apache.conf"), "-DFOREGROUND")
        argv = [program("apache2", "httpd", package="apache2"), *words]
        return Server("apache", folder, unprivileged(argv), [port], [folder / "error.log"])

    return start(make)

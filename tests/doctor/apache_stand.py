"""A real Apache with a text of a test's own."""

from tests.fronts.apache import modules
from tests.fronts.servers import Server, free_port, program, start, unprivileged
from tests.serve.service import Service

NAMES = ("mpm_event", "authz_core", "unixd", "alias", "setenvif", "rewrite", "proxy", "proxy_fcgi",
         "proxy_scgi", "proxy_uwsgi", "proxy_http", "headers", "fcgid", "dir", "cgid", "mime",
         "env")  # fmt: skip


def run(live: Service, text: str) -> Server:
    """PORT in the text is where it listens."""
    folder = live.folder / "apache"

    def make() -> Server:
        port = free_port()
        (folder / "apache.conf").write_text(
            f'ServerRoot "{folder}"\n{modules(NAMES)}\nPidFile "{folder}/pid"\n'
            f'ErrorLog "{folder}/error.log"\nMutex "file:{folder}" default\nServerName x\n'
            f'FcgidIPCDir "{folder}/fcgid"\nFcgidProcessTableFile "{folder}/fcgid_shm"\n'
            f'ScriptSock "{folder}/sock"\nTypesConfig /dev/null\n'
            f"Listen 127.0.0.1:{port}\n" + text.replace("PORT", str(port))
        )
        words = ("-d", str(folder), "-f", str(folder / "apache.conf"), "-DFOREGROUND")
        argv = [program("apache2", "httpd", package="apache2"), *words]
        return Server("apache", folder, unprivileged(argv), [port], [folder / "error.log"])

    return start(make)

"""nginx: configuration text."""

# What FastCGI asks of a server, and what nginx knows; one line each. CONTENT_LENGTH and
# CONTENT_TYPE come empty without a body, and SCRIPT_NAME is empty because the application has the
# whole site.
_PARAMS = """\
fastcgi_param REQUEST_METHOD    $request_method;
fastcgi_param REQUEST_URI       $request_uri;
fastcgi_param SCRIPT_NAME       "";
fastcgi_param PATH_INFO         $document_uri;
fastcgi_param QUERY_STRING      $query_string;
fastcgi_param CONTENT_TYPE      $content_type;
fastcgi_param CONTENT_LENGTH    $content_length;
fastcgi_param SERVER_PROTOCOL   $server_protocol;
fastcgi_param SERVER_SOFTWARE   nginx/$nginx_version;
fastcgi_param SERVER_NAME       $server_name;
fastcgi_param SERVER_ADDR       $server_addr;
fastcgi_param SERVER_PORT       $server_port;
fastcgi_param REMOTE_ADDR       $remote_addr;
fastcgi_param REMOTE_PORT       $remote_port;
fastcgi_param REQUEST_SCHEME    $scheme;
fastcgi_param HTTPS             $https if_not_empty;
fastcgi_param GATEWAY_INTERFACE CGI/1.1;"""


def private(folder: str, port: int, socket: str) -> str:
    """A whole configuration for an nginx of one's own: one process, one site, no system files.

    folder  an existing one; everything nginx writes goes there
    port    on 127.0.0.1
    socket  path of the FastCGI daemon's Unix socket

    One process, because a master started by root would run its worker as a user who cannot open
    the socket.
    """
    temporary = "\n".join(
        f"    {name}_temp_path {quoted(f'{folder}/{name}')};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    params = "\n".join(f"            {line}" for line in _PARAMS.splitlines())
    return f"""\
daemon off;
master_process off;
pid {quoted(f"{folder}/nginx.pid")};
error_log {quoted(f"{folder}/nginx.log")};
events {{ worker_connections 256; }}
http {{
{temporary}
    access_log off;
    client_max_body_size 0;
    upstream gatebridge {{
        server {quoted(f"unix:{socket}")};
        keepalive 8;
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name localhost;
        location / {{
            fastcgi_pass gatebridge;
            fastcgi_keep_conn on;
{params}
        }}
    }}
}}
"""


def quoted(text: str) -> str:
    """A word of nginx's configuration, whatever characters it has."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

"""flup.server's AJP servers have no counterpart."""

raise ImportError(
    "AJP is not served here: let the web server speak FastCGI or SCGI instead (mod_proxy_fcgi, "
    "mod_proxy_scgi), and import flup.server.fcgi or flup.server.scgi; see docs/from-flup.md"
)

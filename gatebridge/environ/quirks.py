"""The lies of front servers: one row each, in the order in which they are made right.

Cold set. docs/environ.md holds the same rows, by test. Sources: "captures" are the requests in
tests/corpus, recorded byte for byte; everything else names a document or an advisory.
"""

from gatebridge.environ import border, repairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.environ.case import Case

NAME = 0  # about names and single values
SAME = 1  # about the path; SCRIPT_NAME + PATH_INFO is the URL's path
OTHER = 2  # about the path; SCRIPT_NAME + PATH_INFO is not


class Row:
    """One lie.

    name    the row's key, also in explain's output
    kind    NAME: every row that detects something is applied. SAME, OTHER: the first one is
    fronts  names from case.FRONTS that are known to do it, or "any"
    detect  does this request have it
    fix     make it right, in place
    reason  why the application must not see what the server sent
    source  where it was seen, since when
    test    in tests/environ/test_quirks.py, fails without the row
    """

    __slots__ = ("detect", "fix", "fronts", "kind", "name", "reason", "source", "test")

    def __init__(
        self,
        name: str,
        kind: int,
        fronts: str,
        detect: "Callable[[Case], bool]",
        fix: "Callable[[Case], None]",
        reason: str,
        source: str,
        test: str,
    ) -> None:
        self.name = name
        self.kind = kind
        self.fronts = fronts
        self.detect = detect
        self.fix = fix
        self.reason = reason
        self.source = source
        self.test = test

    def __repr__(self) -> str:
        return f"Row({self.name!r})"


ROWS = (
    Row(
        "dotted-name",
        NAME,
        "any",
        repairs.is_dotted,
        repairs.fix_dotted,
        "Names with a dot (wsgi.input, gatebridge.role) are made inside this process; no HTTP"
        " header and no CGI variable has one, so one from the wire is not believed.",
        "PEP 3333, environ variables; W014",
        "test_W014_dotted_names_dropped",
    ),
    Row(
        "repeated-header",
        NAME,
        "nginx haproxy h2o lighttpd",
        repairs.is_repeated,
        repairs.fix_repeated,
        "A header sent twice arrives as two variables of one name; they are joined, HTTP_COOKIE"
        ' by "; " and others by ", ". Any other repeated name keeps its last value: nginx sends'
        " SCRIPT_NAME again when a configuration overrides its stock file.",
        "captures *--hdr-duplicate; RFC 9110 section 5.3, RFC 6265 section 5.4",
        "test_C20_F034_repeated_names",
    ),
    Row(
        "http-proxy",
        NAME,
        "nginx h2o caddy",
        repairs.is_proxy,
        repairs.fix_proxy,
        "A client's Proxy header would become HTTP_PROXY, which HTTP libraries obey as the"
        " outgoing proxy.",
        "CVE-2016-5385 and its kin (httpoxy); captures *--hdr-proxy; RFC 3875 section 4.1.18",
        "test_C18_W013_T5_http_proxy_dropped",
    ),
    Row(
        "body-header-copy",
        NAME,
        "nginx lighttpd caddy h2o",
        repairs.is_shadow,
        repairs.fix_shadow,
        "HTTP_CONTENT_LENGTH and HTTP_CONTENT_TYPE come from HTTP/2 or from a client's"
        " Content_Length header; only CONTENT_LENGTH and CONTENT_TYPE speak for the body.",
        "captures *--hdr-underscore, *--h2-post; T9",
        "test_W017_body_header_copies_dropped",
    ),
    Row(
        "authorization-moved",
        NAME,
        "apache",
        repairs.is_recoverable,
        repairs.fix_recoverable,
        "After an internal redirect Apache renames what a RewriteRule saved in"
        " HTTP_AUTHORIZATION to REDIRECT_HTTP_AUTHORIZATION.",
        "Apache documentation, custom error responses: REDIRECT_ variables",
        "test_authorization_recovered",
    ),
    Row(
        "user-unchecked",
        NAME,
        "nginx haproxy",
        repairs.is_user_unchecked,
        repairs.fix_user_unchecked,
        "REMOTE_USER is copied from Basic credentials whether or not anybody checked the"
        " password, and an application that trusts it lets everybody in. It is dropped unless"
        " nginx also sends AUTH_TYPE (write fastcgi_param AUTH_TYPE Basic beside auth_basic) or"
        " the operator says that the server checks (checked_user). A name from elsewhere, such"
        " as a client certificate, stays.",
        "captures nginx-fcgi-*--auth-basic, haproxy-*--auth-basic; RFC 3875 section 4.1.11; W063",
        "test_W063_user_from_unchecked_credentials",
    ),
    Row(
        "content-type-empty",
        NAME,
        "nginx caddy",
        repairs.is_type_empty,
        repairs.fix_type_empty,
        "An empty CONTENT_TYPE stands for no Content-Type header; absent says so.",
        "captures nginx-*--get-encoded, caddy-*--get-encoded",
        "test_content_type_empty_is_absent",
    ),
    Row(
        "authorizer-length",
        NAME,
        "any",
        repairs.is_unasked_length,
        repairs.fix_unasked_length,
        "An Authorizer gets no body, so a length of one would make it wait.",
        "FastCGI 1.0 section 6.3",
        "test_authorizer_has_no_body",
    ),
    Row(
        "length-unknown",
        NAME,
        "nginx caddy",
        repairs.is_length_unknown,
        repairs.fix_length,
        "An empty CONTENT_LENGTH, and Caddy's -1, stand for a length nobody knows; the end of"
        " the stream tells it.",
        "captures nginx-*--get-encoded, caddy-*--post-chunked",
        "test_F046_F050_length_unknown",
    ),
    Row(
        "length-doubtful",
        NAME,
        "nginx",
        repairs.is_length_doubtful,
        repairs.fix_length,
        "nginx scgi with request_buffering off announces only what it has read of a body, 0 at"
        " times.",
        "capture nginx-scgi-app-nobuf--h2-post",
        "test_doubtful_length_is_unknown",
    ),
    Row(
        "length-counted",
        NAME,
        "any",
        repairs.is_length_missing,
        repairs.fix_length_missing,
        "A body that is here already is counted, so that the application gets its length.",
        "captures caddy-*--post-chunked",
        "test_F050_length_counted",
    ),
    Row(
        "coding-undone",
        NAME,
        "nginx",
        repairs.is_coded_known,
        repairs.fix_coded_known,
        "The server undid the chunked coding; an application that sees it beside a length may"
        " try again, or take the request for a smuggled one.",
        "captures nginx-*--post-chunked; T9",
        "test_T9_transfer_encoding_dropped",
    ),
    Row(
        "host-empty",
        NAME,
        "caddy",
        repairs.is_host_empty,
        repairs.fix_host_empty,
        "An HTTP/1.0 request without Host arrives with an empty one; absent sends frameworks to"
        " SERVER_NAME.",
        "capture caddy-fcgi-root--get-http10-nohost",
        "test_host_and_server_name",
    ),
    Row(
        "server-name",
        NAME,
        "haproxy caddy",
        repairs.is_name_wrong,
        repairs.fix_name_wrong,
        "HAProxy sends the port with the name, Caddy no name for HTTP/1.0; RFC 3875 wants a"
        " bare name, and WSGI one that is not empty.",
        "captures haproxy-*--get-host-port, caddy-*--get-http10-nohost; RFC 3875 4.1.14",
        "test_host_and_server_name",
    ),
    Row(
        "asterisk",
        SAME,
        "h2o",
        border.is_asterisk,
        border.fix_asterisk,
        "OPTIONS * asks about the server, not about a path. The application gets PATH_INFO /*,"
        " as h2o sends it, whatever the server made of it; REQUEST_URI stays *.",
        "capture h2o-fcgi-root--options-star; RFC 9110 section 9.3.7",
        "test_path_rows",
    ),
    Row(
        "newline-split",
        SAME,
        "nginx haproxy",
        border.is_newline_split,
        border.fix_whole_script,
        'The "." of the configuration\'s regular expression does not match %0a, so the split'
        " failed and SCRIPT_NAME swallowed the path.",
        "CVE-2019-11043; nginx documentation of fastcgi_split_path_info; T3",
        "test_T3_newline_in_the_path",
    ),
    Row(
        "whole-path-script",
        SAME,
        "nginx apache haproxy",
        border.is_whole_script,
        border.fix_whole_script,
        "Without PATH_INFO, SCRIPT_NAME holds the whole path. Apache tells ProxyPass, which"
        " does this, from SetHandler by SCRIPT_FILENAME. Where the application begins inside it"
        " only --mount can say.",
        "captures nginx-fcgi-root, apache-fcgi-pass-*, apache-scgi-*, haproxy-fcgi-root",
        "test_path_rows",
    ),
    Row(
        "raw-capture",
        SAME,
        "nginx",
        border.is_raw_capture,
        border.fix_document_right,
        "A PATH_INFO cut from $request_uri still has the slashes and dot segments that nginx had"
        " removed when its access rules looked; DOCUMENT_URI has what they saw.",
        "nginx 1.22 by experiment; C19",
        "test_path_rows",
    ),
    Row(
        "path-missing",
        OTHER,
        "nginx lighttpd",
        border.is_path_missing,
        border.fix_path_missing,
        "scgi_params has neither variable, an Authorizer is sent neither: the path is"
        " DOCUMENT_URI, else the decoded REQUEST_URI.",
        "captures nginx-scgi-root, lighttpd-fcgi-authorizer",
        "test_path_rows",
    ),
    Row(
        "script-twice",
        OTHER,
        "iis",
        border.is_script_twice,
        border.fix_script_twice,
        "With a handler for every path IIS puts the whole path into both variables.",
        "IIS documentation of allowPathInfoForScriptMappings; not captured",
        "test_path_rows",
    ),
    Row(
        "script-repeated",
        OTHER,
        "iis nginx",
        border.is_script_repeated,
        border.fix_script_repeated,
        "PATH_INFO begins with SCRIPT_NAME again: IIS by default, and uwsgi_params with"
        " SCRIPT_NAME added to it.",
        "capture nginx-uwsgi-app-nobuf; IIS documentation of allowPathInfoForScriptMappings",
        "test_C21_script_repeated",
    ),
    Row(
        "script-hidden",
        OTHER,
        "apache",
        border.is_script_hidden,
        border.fix_script_hidden,
        "A RewriteRule or an Action leads to a script that is not in the URL; URLs that the"
        " application builds from SCRIPT_NAME would name it.",
        "captures apache-cgid-htaccess-rewrite, apache-cgid-action",
        "test_path_rows",
    ),
    Row(
        "bare-mount-slash",
        OTHER,
        "apache",
        border.is_bare_mount_slash,
        border.fix_bare_mount_slash,
        "mod_proxy_uwsgi adds PATH_INFO / to a URL that ends at the mount.",
        "capture apache-uwsgi-app--get-mount-noslash",
        "test_path_rows",
    ),
    Row(
        "document-uri",
        OTHER,
        "nginx",
        border.is_document_right,
        border.fix_document_right,
        "SCRIPT_NAME is only the mount, or was cut, while DOCUMENT_URI has the whole path.",
        "capture nginx-scgi-app-nobuf",
        "test_path_rows",
    ),
    Row(
        "still-encoded",
        OTHER,
        "nginx",
        border.is_still_encoded,
        border.fix_still_encoded,
        "A capture taken by set inside an if arrives percent-encoded, one of $request_uri even"
        " twice; WSGI wants the path decoded once. What Apache's AllowEncodedSlashes NoDecode"
        " keeps as %2F stays.",
        "nginx 1.22 by experiment; C19",
        "test_C19_decoded_once",
    ),
    Row(
        "truncated",
        OTHER,
        "nginx",
        border.is_truncated,
        border.fix_truncated,
        "Hand-written parameters name the mount and no path, or a regular expression's $ left a"
        " final newline behind.",
        "T3; nginx documentation of fastcgi_split_path_info",
        "test_T3_newline_in_the_path",
    ),
    Row(
        "front-controller",
        OTHER,
        "caddy nginx apache haproxy",
        border.is_front_controller,
        border.fix_front_controller,
        "php_fastcgi, try_files, fastcgi_index or a RewriteRule sent the URL to one script and"
        " kept its path only in REQUEST_URI, which every rule before that one saw.",
        "capture caddy-php-fastcgi-root",
        "test_path_rows",
    ),
    Row(
        "rewritten-script",
        OTHER,
        "apache",
        border.is_rewritten_script,
        border.fix_script_hidden,
        "Apache rewrote both the script and the path behind it. That path is what its access"
        " rules saw, so it stays; the script is not in the URL, so it goes.",
        "Apache documentation of RewriteRule, per-directory rewrites",
        "test_path_rows",
    ),
    Row(
        "rewritten-path",
        OTHER,
        "nginx apache haproxy",
        border.is_whole_script,
        border.fix_whole_script,
        "As whole-path-script, after a rewrite: the server's new path is what counts.",
        "nginx documentation of rewrite",
        "test_path_rows",
    ),
)

"""Names of Python's library whose use means something: tables for python_facts."""

# Dotted name of what is called -> code of facts.EFFECTS
CALLS = {
    "os._exit": "os_exit", "os.abort": "os_exit",
    "os.fork": "forks", "os.forkpty": "forks", "pty.fork": "forks",
    "concurrent.futures.ProcessPoolExecutor": "forks",
    "threading.Thread": "threads", "threading.Timer": "threads",
    "thread.start_new_thread": "threads", "_thread.start_new_thread": "threads",
    "concurrent.futures.ThreadPoolExecutor": "threads", "multiprocessing.pool.ThreadPool":
    "threads", "multiprocessing.dummy.Pool": "threads", "asyncio.to_thread": "threads",
    "os.setuid": "identity", "os.setgid": "identity", "os.seteuid": "identity",
    "os.setegid": "identity", "os.setreuid": "identity", "os.setregid": "identity",
    "os.setresuid": "identity", "os.setresgid": "identity", "os.setgroups": "identity",
    "os.initgroups": "identity", "os.chroot": "identity", "os.setsid": "identity",
    "os.setpgrp": "identity", "os.setpgid": "identity", "os.unshare": "identity",
    "resource.setrlimit": "limits", "resource.prlimit": "limits", "os.nice": "limits",
    "os.setpriority": "limits", "os.sched_setaffinity": "limits",
    "sys.setrecursionlimit": "interpreter_state", "sys.setswitchinterval": "interpreter_state",
    "sys.setcheckinterval": "interpreter_state", "sys.setdefaultencoding": "interpreter_state",
    "socket.setdefaulttimeout": "interpreter_state", "gc.disable": "interpreter_state",
    "gc.set_threshold": "interpreter_state", "csv.field_size_limit": "interpreter_state",
    "time.tzset": "interpreter_state", "threading.stack_size": "interpreter_state",
    "random.seed": "interpreter_state", "faulthandler.enable": "interpreter_state",
    "urllib.request.install_opener": "interpreter_state",
    "urllib2.install_opener": "interpreter_state", "importlib.reload": "interpreter_state",
    "imp.reload": "interpreter_state", "reload": "interpreter_state",
    "gettext.install": "interpreter_state", "codecs.register": "interpreter_state",
    "sys.exit": "sys_exit", "exit": "sys_exit", "quit": "sys_exit",
    "os.putenv": "environ", "os.unsetenv": "environ", "os.environ.update": "environ",
    "os.environ.pop": "environ", "os.environ.setdefault": "environ", "os.environ.clear": "environ",
    "os.chdir": "chdir", "os.fchdir": "chdir", "os.umask": "umask",
    "signal.signal": "signals", "signal.alarm": "signals", "signal.setitimer": "signals",
    "signal.set_wakeup_fd": "signals", "signal.pthread_sigmask": "signals",
    "signal.siginterrupt": "signals",
    "atexit.register": "atexit", "locale.setlocale": "locale",
    "warnings.filterwarnings": "warnings", "warnings.simplefilter": "warnings",
    "warnings.resetwarnings": "warnings",
    "os.dup2": "descriptors", "os.fdopen": "descriptors", "sys.stdin.fileno": "descriptors",
    "sys.stdout.fileno": "descriptors", "sys.stderr.fileno": "descriptors",
    "sys.stdin.detach": "descriptors", "sys.stdout.detach": "descriptors",
    "os.closerange": "descriptors",
    "sys.path.insert": "import_path", "sys.path.append": "import_path",
    "sys.path.extend": "import_path", "sys.path.remove": "import_path",
    "site.addsitedir": "import_path",
    "sys.settrace": "hooks", "sys.setprofile": "hooks", "cgitb.enable": "hooks",
    "os.remove": "writes_files", "os.unlink": "writes_files", "os.rename": "writes_files",
    "os.replace": "writes_files", "os.renames": "writes_files", "os.mkdir": "writes_files",
    "os.makedirs": "writes_files", "os.rmdir": "writes_files", "os.removedirs": "writes_files",
    "os.symlink": "writes_files", "os.link": "writes_files", "os.chmod": "writes_files",
    "os.chown": "writes_files", "os.truncate": "writes_files", "os.utime": "writes_files",
    "os.mkfifo": "writes_files", "shelve.open": "writes_files", "dbm.open": "writes_files",
    "anydbm.open": "writes_files", "gdbm.open": "writes_files", "bsddb.hashopen": "writes_files",
    "sqlite3.connect": "writes_files", "logging.FileHandler": "writes_files",
    "logging.handlers.RotatingFileHandler": "writes_files",
    "os.system": "shell", "os.popen": "shell", "os.popen2": "shell", "os.popen3": "shell",
    "commands.getoutput": "shell", "commands.getstatusoutput": "shell",
    "subprocess.getoutput": "shell", "subprocess.getstatusoutput": "shell",
    "popen2.popen2": "shell", "popen2.popen3": "shell", "popen2.Popen3": "shell",
    "eval": "evaluates", "exec": "evaluates", "execfile": "evaluates",
    "pickle.load": "evaluates", "pickle.loads": "evaluates", "cPickle.load": "evaluates",
    "cPickle.loads": "evaluates", "marshal.loads": "evaluates", "yaml.load": "evaluates",
    "socket.socket": "connects", "socket.create_connection": "connects",
    "socket.create_server": "connects", "ssl.wrap_socket": "connects",
    "smtplib.SMTP": "connects", "smtplib.SMTP_SSL": "connects", "ftplib.FTP": "connects",
    "imaplib.IMAP4": "connects", "imaplib.IMAP4_SSL": "connects", "poplib.POP3": "connects",
    "nntplib.NNTP": "connects", "telnetlib.Telnet": "connects", "ldap.initialize": "connects",
    "xmlrpclib.ServerProxy": "connects", "xmlrpc.client.ServerProxy": "connects",
    "http.client.HTTPConnection": "connects", "http.client.HTTPSConnection": "connects",
    "httplib.HTTPConnection": "connects", "httplib.HTTPSConnection": "connects",
    "MySQLdb.connect": "connects", "pymysql.connect": "connects", "psycopg2.connect": "connects",
    "psycopg.connect": "connects", "pg.connect": "connects", "pgdb.connect": "connects",
    "cx_Oracle.connect": "connects", "oracledb.connect": "connects", "pyodbc.connect": "connects",
    "mysql.connector.connect": "connects", "pymongo.MongoClient": "connects",
    "redis.Redis": "connects", "redis.StrictRedis": "connects", "memcache.Client": "connects",
    "paramiko.SSHClient": "connects", "sqlalchemy.create_engine": "connects",
    "urllib.request.urlopen": "proxy", "urllib.request.urlretrieve": "proxy",
    "urllib.request.build_opener": "proxy", "urllib2.urlopen": "proxy",
    "urllib2.build_opener": "proxy", "urllib.urlopen": "proxy", "urllib.urlretrieve": "proxy",
    "urllib.request.getproxies": "proxy", "urllib.getproxies": "proxy",
    "httplib2.Http": "proxy", "httpx.Client": "proxy", "urllib3.ProxyManager": "proxy",
    "requests.Session": "proxy", "requests.session": "proxy", "requests.request": "proxy",
}  # fmt: skip

# Beginning of a dotted name -> code
FAMILIES = (
    ("multiprocessing.", "forks"),
    ("os.exec", "replaces"),
    ("os.spawn", "starts_programs"),
    ("os.posix_spawn", "starts_programs"),
    ("subprocess.", "starts_programs"),
    ("shutil.", "writes_files"),
    ("tempfile.", "writes_files"),
)
QUIET = frozenset({
    "shutil.which", "shutil.disk_usage", "shutil.get_terminal_size", "tempfile.gettempdir",
    "subprocess.list2cmdline", "multiprocessing.cpu_count", "multiprocessing.current_process",
})  # fmt: skip
OPENERS = frozenset({"open", "io.open", "codecs.open", "file", "gzip.open", "bz2.open", "os.open"})
WEB_VERBS = frozenset({"get", "post", "put", "delete", "head", "patch", "options", "stream"})
METHODS = {"write_text": "writes_files", "write_bytes": "writes_files"}  # of whatever object

# What is assigned to or deleted -> code; anything below a key counts, too
TARGETS = {
    "os.environ": "environ", "sys.path": "import_path", "sys.stdin": "streams",
    "sys.stdout": "streams", "sys.stderr": "streams", "sys.excepthook": "hooks",
    "tempfile.tempdir": "environ", "sys.argv": "streams", "sys.dont_write_bytecode":
    "interpreter_state",
}  # fmt: skip

SERVERS = (  # what runs a WSGI application from within its own file
    "wsgiref.handlers.CGIHandler().run", "CGIHandler().run", "wsgiref.simple_server.make_server",
    "flup.server.fcgi.WSGIServer", "flup.server.fcgi.WSGIServer().run",
    "flup.server.cgi.WSGIServer().run", "flup.server.scgi.WSGIServer().run", "bottle.run",
    "paste.httpserver.serve", "waitress.serve", "flipflop.WSGIServer", "flipflop.WSGIServer().run",
    *(f"flup.server.{name}.WSGIServer{end}" for end in ("", "().run") for name in
      ("fcgi_fork", "fcgi_single", "scgi_fork")),
)  # fmt: skip
REDIRECTED = frozenset({  # modules that gatebridge.compat has, below the same names
    "flipflop", "flup.client.fcgi_app", "flup.client.scgi_app", "flup.server.cgi",
    "flup.server.fcgi", "flup.server.fcgi_base", "flup.server.fcgi_fork", "flup.server.fcgi_single",
    "flup.server.scgi", "flup.server.scgi_fork", "wsgiref.handlers",
})  # fmt: skip
NO_WSGI = frozenset({"web.application"})  # its wsgifunc() is what can be served
ASGI = frozenset({"FastAPI", "Starlette", "Quart", "Sanic", "Litestar", "get_asgi_application"})

# Python 2 has it and Python 3 has not
OLD_NAMES = frozenset({
    "apply", "basestring", "buffer", "cmp", "coerce", "execfile", "file", "intern", "long",
    "raw_input", "reduce", "reload", "unichr", "unicode", "xrange",
})  # fmt: skip
OLD_METHODS = frozenset({"has_key", "iteritems", "iterkeys", "itervalues"})

"""What a worker may and who it is (T11). Rows that need root refuse where we are not root."""

import grp
import json
import os
import pwd
import resource
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from gatebridge.errors import ConfigError
from gatebridge.serve.privileges import Privileges, plan_privileges, start_folder

# Another test may have left a thread, and Python 3.12 and later say so.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")

ROOT = os.geteuid() == 0
_USERS = [pwd.getpwnam(name) for name in ("nobody", "daemon")]
OTHER = next(entry for entry in _USERS if entry.pw_uid != os.geteuid())
SELF = pwd.getpwuid(os.geteuid())
NOTHING = {"user": "", "group": "", "umask": "", "chdir": "", "env": (), "env_file": "",
           "rlimit": (), "nice": 0}  # fmt: skip


def plan(**given: object) -> Privileges:
    return plan_privileges(**{**NOTHING, **given})


def refusal(**given: object) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        plan(**given)
    return raised.value


def in_child(told: Callable[[], object]) -> object:
    """What a forked child says, through JSON; an error of its as ["error", code or text]."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            try:
                said = told()
            except ConfigError as error:
                said = ["error", error.code, error.detail]
            except BaseException:
                said = ["error", traceback.format_exc()]
            os.write(write, json.dumps(said).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    return json.loads(data)


def ids() -> list[object]:
    return [os.getresuid(), os.getresgid(), sorted(os.getgroups())]


def become(more: Callable[[], object] = ids, **given: object) -> object:
    """What ``more`` finds in a child that became what was asked for."""

    def told() -> object:
        plan(**given).apply()
        return more()

    return in_child(told)


def as_root_only(said: Callable[[], object], wanted: object, **given: object) -> None:
    """Root sees ``wanted``; who is not root is refused in the plan already."""
    if ROOT:
        assert said() == wanted
    else:
        error = refusal(**given)
        assert error.code == "user.not_root"
        assert "start it as root" in error.detail


# -- T11: the drop, its order, and no way back


def test_T11_a_user_brings_its_primary_group_and_its_groups() -> None:
    uid, gid = OTHER.pw_uid, OTHER.pw_gid
    groups = sorted(os.getgrouplist(OTHER.pw_name, gid))
    given = {"user": OTHER.pw_name}
    as_root_only(lambda: become(**given), [[uid] * 3, [gid] * 3, groups], **given)


def test_T11_a_number_is_a_user_too() -> None:
    uid, gid = OTHER.pw_uid, OTHER.pw_gid
    given = {"user": str(uid)}
    groups = sorted(os.getgrouplist(OTHER.pw_name, gid))
    as_root_only(lambda: become(**given), [[uid] * 3, [gid] * 3, groups], **given)


def test_T11_a_group_of_its_own_choice() -> None:
    uid = OTHER.pw_uid
    given = {"user": OTHER.pw_name, "group": "daemon"}
    gid = grp.getgrnam("daemon").gr_gid
    groups = sorted(os.getgrouplist(OTHER.pw_name, gid))
    as_root_only(lambda: become(**given), [[uid] * 3, [gid] * 3, groups], **given)


def test_T11_a_number_without_an_entry_takes_the_group_it_was_given() -> None:
    given = {"user": "54321", "group": "54322"}
    wanted = [[54321] * 3, [54322] * 3, [54322]]
    as_root_only(lambda: become(**given), wanted, **given)


def test_T11_a_group_alone_leaves_the_user_and_drops_the_other_groups() -> None:
    given = {"group": "54322"}
    wanted = [[os.geteuid()] * 3, [54322] * 3, [54322]]
    as_root_only(lambda: become(**given), wanted, **given)


def test_T11_the_supplementary_groups_of_root_do_not_stay() -> None:
    """mod_wsgi CVE-2014-8583."""

    def told() -> object:
        os.setgroups([0, 4, 6])
        plan(user=OTHER.pw_name).apply()
        return sorted(set(os.getgroups()) & {0, 4, 6})

    as_root_only(lambda: in_child(told), [], user=OTHER.pw_name)


def test_T11_nothing_leads_back_to_root() -> None:
    def back() -> object:
        ways = {
            "setuid": lambda: os.setuid(0),
            "seteuid": lambda: os.seteuid(0),
            "setresuid": lambda: os.setresuid(-1, 0, -1),
            "setgid": lambda: os.setgid(0),
            "setegid": lambda: os.setegid(0),
            "setgroups": lambda: os.setgroups([0]),
            "rlimit": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 1 << 40)),
            "nice": lambda: os.nice(-1),
        }
        return sorted(name for name, way in ways.items() if worked(way))

    def worked(way: Callable[[], object]) -> bool:
        try:
            way()
        except (PermissionError, ValueError):
            return False
        return True

    given = {"user": OTHER.pw_name, "rlimit": ("core=0",)}
    as_root_only(lambda: become(back, **given), [], **given)


FAILING = [
    ("setgroups", "user.failed"),
    ("setresgid", "user.failed"),
    ("setresuid", "user.failed"),
    ("silent setgroups", "user.kept"),
    ("silent setresgid", "user.kept"),
    ("silent setresuid", "user.kept"),
]


@pytest.mark.parametrize(("call", "code"), FAILING, ids=[row[0] for row in FAILING])
def test_T11_a_step_that_fails_or_does_nothing_is_noticed(call: str, code: str) -> None:
    """mod_wsgi CVE-2014-0240: nobody looked at what setuid() returned."""

    def told() -> object:
        def refuse(*given: object) -> None:
            if not call.startswith("silent"):
                raise PermissionError(1, "Operation not permitted")

        os.setgroups([4])
        ready = plan(user=OTHER.pw_name)
        setattr(os, call.rpartition(" ")[2], refuse)
        ready.apply()
        return ids()

    as_root_only(lambda: in_child(told)[:2], ["error", code], user=OTHER.pw_name)


def test_T11_a_user_who_could_return_is_noticed() -> None:
    """A saved user id of root is a way back."""

    def told() -> object:
        ready = plan(user=OTHER.pw_name)
        os.setresuid = lambda *to: os.seteuid(to[0])
        ready.apply()
        return ids()

    as_root_only(lambda: in_child(told)[:2], ["error", "user.kept"], user=OTHER.pw_name)


def test_T11_a_capability_that_stays_is_a_way_back_and_noticed() -> None:
    """SECBIT_NO_SETUID_FIXUP: the kernel then keeps a capability over the change of the user."""

    def told() -> object:
        import ctypes

        prctl = ctypes.CDLL(None, use_errno=True).prctl
        if prctl(28, 4, 0, 0, 0):  # PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP
            raise OSError(ctypes.get_errno(), "prctl")
        plan(user=OTHER.pw_name).apply()
        return ids()

    as_root_only(lambda: in_child(told)[:2], ["error", "user.kept"], user=OTHER.pw_name)


def test_limits_and_nice_come_before_the_drop_and_hold_after_it() -> None:
    """Root may go below 0 and beyond a soft limit; the user it becomes may not."""
    given = {"user": OTHER.pw_name, "nice": -3, "rlimit": ("nofile=300:400",)}

    def told() -> object:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        plan(**given).apply()
        after = os.getpriority(os.PRIO_PROCESS, 0)
        return [after - before, resource.getrlimit(resource.RLIMIT_NOFILE), os.getresuid()[0]]

    if ROOT and isinstance(in_child(lambda: os.nice(-3)), list):  # without CAP_SYS_NICE
        assert in_child(told)[:2] == ["error", "nice.failed"]
        return
    as_root_only(lambda: in_child(told), [-3, [300, 400], OTHER.pw_uid], **given)


def test_the_folder_is_entered_as_the_user(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    given = {"user": OTHER.pw_name, "chdir": str(tmp_path / "closed")}

    def told() -> object:
        return become(**given)[:2]

    as_root_only(told, ["error", "chdir.failed"], **given)


def test_a_user_gets_its_home_and_names() -> None:
    def told() -> object:
        return [os.environ[name] for name in ("HOME", "USER", "LOGNAME")]

    given = {"user": OTHER.pw_name}
    as_root_only(
        lambda: become(told, **given), [OTHER.pw_dir, OTHER.pw_name, OTHER.pw_name], **given
    )


# -- without becoming another


def test_nothing_asked_changes_nothing() -> None:
    def told() -> object:
        def state() -> list[object]:
            mask = os.umask(0)
            os.umask(mask)
            limits = [resource.getrlimit(number) for number in range(10)]
            return [ids(), mask, limits, os.getcwd(), dict(os.environ), os.nice(0)]

        before = state()
        plan().apply()
        return state() == before

    assert in_child(told) is True


def test_oneself_needs_no_root() -> None:
    found = become(user=SELF.pw_name)
    assert found[0] == [os.geteuid()] * 3
    assert become(user=str(os.geteuid()), group=str(os.getegid()))[0] == [os.geteuid()] * 3


@pytest.mark.parametrize("umask", ["027", "0077", "0", "22"])
def test_umask(umask: str) -> None:
    assert become(lambda: os.umask(0), umask=umask) == int(umask, 8)


def test_a_limit_is_both_or_two() -> None:
    def told() -> object:
        return [resource.getrlimit(resource.RLIMIT_NOFILE),
                resource.getrlimit(resource.RLIMIT_CORE),
                resource.getrlimit(resource.RLIMIT_CPU),
                resource.getrlimit(resource.RLIMIT_FSIZE)]  # fmt: skip

    limits = ("nofile=200", "core=0:0", "CPU=5m", "fsize=1GiB")
    wanted = [[200, 200], [0, 0], [300, 300], [1 << 30, 1 << 30]]
    assert become(told, rlimit=limits) == wanted


def test_an_endless_limit_is_minus_one() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY:
        found = become(lambda: resource.getrlimit(resource.RLIMIT_CPU), rlimit=("cpu=unlimited",))
        assert found == [resource.RLIM_INFINITY] * 2
    else:
        assert refusal(rlimit=("cpu=unlimited",)).code == "rlimit.above_hard"


def test_a_limit_works(tmp_path: Path) -> None:
    def told() -> object:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        (tmp_path / "f").write_bytes(bytes(2000))
        return "written"

    assert "File too large" in become(told, rlimit=("fsize=1000",))[1]


def test_a_limit_above_the_hard_one_is_refused_without_raising_anything() -> None:
    """Also in the child, when the hard one sank in between."""

    def lowered() -> object:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        # not even root may pass fs.nr_open
        try:
            plan(rlimit=("nofile=9000000000",))
        except ConfigError as error:
            return [error.code, "LimitNOFILE" in error.detail,
                    resource.getrlimit(resource.RLIMIT_NOFILE)]  # fmt: skip

    assert in_child(lowered) == ["rlimit.above_hard", True, [100, 100]]


def test_a_limit_that_cannot_be_set_is_told_in_the_child_too() -> None:
    def told() -> object:
        ready = plan(rlimit=("nofile=100",))

        def refuse(*given: object) -> None:
            raise ValueError("not allowed to raise maximum limit")

        resource.setrlimit = refuse
        ready.apply()

    assert in_child(told)[:2] == ["error", "rlimit.above_hard"]


def test_nice_is_added_and_ends_at_19() -> None:
    def told() -> object:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        plan(nice=2).apply()
        second = os.getpriority(os.PRIO_PROCESS, 0)
        plan(nice=40).apply()
        return [second - before, os.getpriority(os.PRIO_PROCESS, 0)]

    assert in_child(told) == [2, 19]


def test_env_wins_over_its_file_and_over_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=file\nB=file\n")

    def told() -> object:
        os.environ.update(A="old", B="old", C="old", D="old")
        plan(env=("A=given", "C=given"), env_file=str(tmp_path / "env")).apply()
        return [os.environ[name] for name in "ABCD"]

    assert in_child(told) == ["given", "file", "given", "old"]


def test_env_wins_over_the_users_home() -> None:
    home = become(lambda: os.environ["HOME"], user=SELF.pw_name, env=("HOME=/elsewhere",))
    assert home == "/elsewhere"


def test_env_reaches_programs_that_the_application_starts() -> None:
    def told() -> object:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(write, 1)
            os.execv("/bin/sh", ["sh", "-c", 'printf %s "$GB_TEST"'])
        os.close(write)
        os.waitpid(child, 0)
        return os.read(read, 99).decode()

    assert become(told, env=("GB_TEST=seen",)) == "seen"


# -- the folder


def test_chdir(tmp_path: Path) -> None:
    assert become(os.getcwd, chdir=str(tmp_path)) == str(tmp_path.resolve())


def test_a_relative_chdir_begins_where_the_daemon_did(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    found = become(os.getcwd, chdir="sub", start_folder=str(tmp_path))
    assert found == str((tmp_path / "sub").resolve())


def test_a_relative_env_file_too(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1")
    assert plan(env_file="env", start_folder=str(tmp_path)).environment == (("A", "1"),)


def test_PWD_follows(tmp_path: Path) -> None:
    assert become(lambda: os.environ["PWD"], chdir=str(tmp_path)) == str(tmp_path)


def test_a_release_switched_by_its_link_is_entered_anew(tmp_path: Path) -> None:
    """Each worker follows the link by name: a daemon started in it does not stay in the old one."""
    for name in ("r1", "r2"):
        (tmp_path / name).mkdir()
    link = tmp_path / "current"
    link.symlink_to("r1")

    def told() -> object:
        os.chdir(link)
        os.environ["PWD"] = str(link)
        started = start_folder()
        link.unlink()
        link.symlink_to("r2")
        plan(start_folder=started).apply()
        return [started, os.getcwd()]

    assert in_child(told) == [str(link), str((tmp_path / "r2").resolve())]


def test_a_PWD_that_lies_is_not_believed(tmp_path: Path) -> None:
    def told() -> object:
        os.chdir(tmp_path)
        found = []
        for value in ("/", "/absent/folder", "relative", ""):
            os.environ["PWD"] = value
            found.append(start_folder())
        return found

    assert in_child(told) == [str(tmp_path.resolve())] * 4


def test_the_start_folder_is_no_condition(tmp_path: Path) -> None:
    """Nobody asked for it: a user who may not enter root's home stays there all the same."""

    def told() -> object:
        os.chdir("/")
        plan(start_folder=str(tmp_path / "gone")).apply()
        return os.getcwd()

    assert in_child(told) == "/"


FOLDERS = [("absent", "create it first"), ("file", "name a folder")]


@pytest.mark.parametrize(("name", "word"), FOLDERS)
def test_a_folder_that_cannot_be_entered_says_why(tmp_path: Path, name: str, word: str) -> None:
    (tmp_path / "file").touch()
    code, detail = become(chdir=str(tmp_path / name))[1:]
    assert code == "chdir.failed"
    assert word in detail


# -- what is refused at the start, each with a word on what to do


REFUSED = [
    ("an unknown user", {"user": "no-such-user-of-tests"}, "user.unknown", "useradd"),
    ("an unknown group", {"group": "no-such-group-of-tests"}, "group.unknown", "groupadd"),
    ("a number without a group", {"user": "54321"}, "user.no_group", "--group"),
    ("the number that means none", {"user": str(2**32 - 1)}, "user.unknown", ""),
    ("the group that means none", {"group": str(2**32 - 1)}, "group.unknown", ""),
    ("a number below 0", {"user": "-1"}, "user.unknown", ""),
    ("an unknown limit", {"rlimit": ("files=3",)}, "rlimit.malformed", "nofile"),
    ("a limit without a value", {"rlimit": ("nofile",)}, "rlimit.malformed", "NAME=VALUE"),
    ("a limit that is no number", {"rlimit": ("nofile=many",)}, "rlimit.malformed", "no number"),
    ("a limit that is no size", {"rlimit": ("as=1 quux",)}, "rlimit.malformed", "no size"),
    ("a limit below 0", {"rlimit": ("as=-5",)}, "rlimit.malformed", "range"),
    ("a limit beyond all", {"rlimit": (f"fsize={2**63}",)}, "rlimit.malformed", "range"),
    ("soft above hard", {"rlimit": ("nofile=200:100",)}, "rlimit.malformed", "above"),
    ("endless above hard", {"rlimit": ("core=unlimited:0",)}, "rlimit.malformed", "above"),
    ("a umask that is none", {"umask": "rw"}, "umask.malformed", "octal"),
    ("a umask with an 8", {"umask": "08"}, "umask.malformed", "octal"),
    ("a umask beyond", {"umask": "1777"}, "umask.malformed", "octal"),
    ("an env without =", {"env": ("A",)}, "env.malformed", "NAME=VALUE"),
    ("an absent env file", {"env_file": "/absent/env"}, "env_file.unreadable", "/absent/env"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "code", "word"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refused(name: str, given: dict[str, object], code: str, word: str) -> None:
    error = refusal(**given)
    assert error.code == code
    assert word in error.detail


def unprivileged(given: dict[str, object]) -> object:
    """What the plan of somebody who is not root says: that of nobody, where we are root."""

    def told() -> object:
        if ROOT:
            os.setgroups([])
            os.setresgid(54321, 54321, 54321)
            os.setresuid(54321, 54321, 54321)
        plan(**given)
        return "planned"

    return in_child(told)


NOT_ROOT = [
    ("another user", {"user": "root"}, "user.not_root", "start it as root"),
    ("another group", {"group": "0"}, "user.not_root", "start it as root"),
    ("a nicer place", {"nice": -1}, "nice.not_root", "root"),
]


@pytest.mark.parametrize(("name", "given", "code", "word"), NOT_ROOT, ids=[r[0] for r in NOT_ROOT])
def test_who_is_not_root_is_told(name: str, given: dict[str, object], code: str, word: str) -> None:
    if not ROOT and given.get("group") == str(os.getegid()):
        given = {"group": "54321"}
    error, found, detail = unprivileged(given)
    assert (error, found) == ("error", code)
    assert word in detail


def test_a_plan_changes_nothing_in_the_supervisor(tmp_path: Path) -> None:
    def told() -> object:
        def state() -> list[object]:
            limits = [resource.getrlimit(number) for number in range(10)]
            return [ids(), limits, os.getcwd(), dict(os.environ), os.nice(0)]

        before = state()
        given = {"user": OTHER.pw_name} if ROOT else {}
        plan(**given, umask="0", chdir=str(tmp_path), env=("A=1",), nice=3, rlimit=("core=0",))
        return state() == before

    assert in_child(told) is True


def test_the_plan_holds_for_every_worker() -> None:
    """It is made once and applied in each child."""
    ready = plan(umask="027", env=("GB_TEST=1",))

    def told() -> object:
        ready.apply()
        return [os.umask(0), os.environ["GB_TEST"]]

    assert [in_child(told), in_child(told)] == [[0o027, "1"]] * 2
    assert "GB_TEST" not in os.environ

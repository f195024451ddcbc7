/* Hand one CGI request to a daemon behind a Unix socket, over FastCGI 1.0; start it if there is
 * none. relay.py is the same in Python, and both pass the rows of tests/relays.py.
 * No memory is taken for lengths that the daemon names: three blocks of fixed size hold what is
 * under way. Arguments are never looked at: a query may stand there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef RELAY_BAKED
#define RELAY_BAKED {"gatebridge relay", 0, 0, 0, 0, {0}}
#endif

enum { BLOCK = 65536, HEADER = 8, CONTENT = BLOCK - 2 * HEADER, MOST_ARGV = 64, MOST_KEPT = 32 };
enum { BEGIN_REQUEST = 1, ABORT_REQUEST, END_REQUEST, PARAMS, STDIN, STDOUT, STDERR };

/* Written by relay_build.py. The text holds strings: base, name, and the arguments of both
 * programs. Not static and not const: a compiler that knew the bytes could spread them over the
 * code, and they are replaced in a relay that is already built. */
struct { char magic[20]; int wait_s, fresh_s, start, oneshot; char text[8156]; } relay_baked =
    RELAY_BAKED;

static char *start_argv[MOST_ARGV + 1], *oneshot_argv[MOST_ARGV + 1], *name, folder[128];
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static int sock = -1;
static unsigned char up[BLOCK]; /* records for the daemon, from up_at to up_end */
static size_t up_at, up_end, pair_at; /* pair_at: bytes of a pair that earlier records have */
static char **pair, *own_pair[] = {"GATEBRIDGE_RELAY=1", NULL}; /* which goes next; NULL: none */
static long long body_left; /* of standard input; LLONG_MAX: to its end */
static int deaf, over;      /* the daemon takes no more; nothing more comes from it either */
static int begun, at_border; /* a byte went; the last record went whole, so an abort may follow */
static unsigned char down[BLOCK], head[HEADER], ending[8]; /* as they come from the daemon */
static size_t down_at, down_end, head_size, content, padding, held_size;
static unsigned char held[BLOCK]; /* of the answer, while the server still sends its body */
static int kind, written, ended, broken; /* kind: of the record being taken; 0: not ours */
extern char **environ;
static void turn(void);
#define say(a, at, why) dprintf(2, "gatebridge: relay.%s: %s%s%s\n", a, at, *(at) ? ": " : "", why)

static void configure(void) {
    char *at = relay_baked.text, *base = at;
    at += strlen(at) + 1;
    name = at;
    for (int i = 0; i < relay_baked.start; i++) start_argv[i] = at += strlen(at) + 1;
    for (int i = 0; i < relay_baked.oneshot; i++) oneshot_argv[i] = at += strlen(at) + 1;
    size_t most = sizeof address.sun_path, uid = geteuid();
    if ((size_t)snprintf(folder, sizeof folder, "%s/gatebridge-%zu", base, uid) >= most ||
        (size_t)snprintf(address.sun_path, most, "%s/%s.sock", folder, name) >= most)
        address.sun_path[0] = 0;
}

/* The end where there is no whole answer: a line for the log, and a page that names its incident.
 * Who leaves a socket with bytes of a body in it resets it, and the answer with it. */
static _Noreturn void fail(const char *status, const char *code, const char *at, const char *why,
                           const char *next) {
    const char *text = "Status: %s\r\n%sContent-Type: text/plain\r\n\r\n%s\n\n"
        "The request was not answered. The server's log tells more under incident %08x.\n";
    const char *retry = status[2] == '3' ? "Retry-After: 1\r\n" : "";
    unsigned id = (unsigned)time(NULL);
    if (getentropy(&id, sizeof id)) id ^= (unsigned)getpid() << 16;
    dprintf(2, "gatebridge: relay.%s incident %08x: %s: %s; next: %s\n", code, id, at, why, next);
    if (!strcmp(getenv("REQUEST_METHOD"), "HEAD")) text = "Status: %s\r\n%s\r\n";
    if (!written && dprintf(1, text, status, retry, status + 4, id) < 0) _exit(1);
    for (deaf = over = 1; body_left;) turn();
    _exit(1);
}
#define overloaded(why) fail("503 Service Unavailable", "overloaded", address.sun_path, why, \
    "see what is slow: gatebridge top; or --serve-option=--threads=N in shim new")

/* Answer without the daemon. what: NULL where an earlier request has said why. */
static _Noreturn void one_shot(const char *what, const char *why) {
    if (what) say(what, *what == 'f' ? folder : "", why);
    signal(SIGPIPE, SIG_DFL);
    execve(oneshot_argv[0], oneshot_argv, environ);
    fail("500 Internal Server Error", "oneshot", relay_baked.start ? oneshot_argv[0] : "no values",
         strerror(errno), "write the shim anew: gatebridge shim new --force");
}

/* 0: there is none yet. Somebody else's folder may hold anything. */
static int private_folder(void) {
    struct stat found = {0};
    if (!address.sun_path[0]) one_shot("folder", "the socket's path is too long");
    if (lstat(folder, &found) && errno == ENOENT) return 0;
    if (!S_ISDIR(found.st_mode) || found.st_uid != geteuid() || (found.st_mode & 0777) != 0700)
        one_shot("folder", "it is not a folder of this user's own with mode 0700");
    return 1;
}

/* 1: connected, 0: nobody listens. */
static int dial(void) {
    struct timeval wait = {relay_baked.wait_s, 0}; /* for a daemon that accepts nobody */
    if (sock >= 0) close(sock);
    if ((sock = socket(AF_UNIX, SOCK_STREAM, 0)) < 0) one_shot("folder", strerror(errno));
    fcntl(sock, F_SETFD, FD_CLOEXEC);
    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    while (connect(sock, (struct sockaddr *)&address, sizeof address)) {
        if (errno == ENOENT || errno == ECONNREFUSED) return 0;
        if (errno == EAGAIN) overloaded("the daemon accepts no connection");
        if (errno != EINTR) one_shot("folder", strerror(errno));
    }
#ifdef SO_PEERCRED
    struct ucred peer = {.uid = (uid_t)-1};
    getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){sizeof peer});
#else
    struct { uid_t uid; gid_t gid; } peer = {(uid_t)-1, (gid_t)-1};
    getpeereid(sock, &peer.uid, &peer.gid);
#endif
    if (peer.uid == geteuid() || peer.uid == 0) return 1;
    dprintf(2, "gatebridge: relay.stranger: user %ld listens in %s\n", (long)peer.uid, folder);
    one_shot(NULL, NULL);
}

static int open_state(const char *suffix, int flags) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s.%s", folder, name, suffix);
    return open(path, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static void write_failed(const char *why, const char *more) {
    int fd = open_state("failed", O_WRONLY | O_CREAT | O_TRUNC);
    if (fd < 0 || dprintf(fd, "%s%s\n", why, more) < 0 || close(fd)) return;
}

/* The first line of NAME.failed while it is fresh, else NULL. */
static const char *failed(void) {
    static char text[512];
    struct stat found;
    ssize_t size = -1;
    int fd = open_state("failed", O_RDONLY | O_NONBLOCK);
    if (fd < 0) return NULL;
    if (!fstat(fd, &found) && S_ISREG(found.st_mode) &&
        llabs((long long)time(NULL) - found.st_mtime) < relay_baked.fresh_s)
        size = read(fd, text, sizeof text - 1);
    close(fd);
    text[strcspn(text, "\n")] = 0;
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = ' '; /* no escape sequences in a log */
    return size < 0 ? NULL : text;
}

/* 0 and 1: /dev/null, 2: the log, 3: the lock, and nothing of the request. */
static _Noreturn void become_daemon(int lock) {
    static const char *const kept[] = {"PATH=", "LANG=", "LC_", "HOME=", "TZ=", NULL};
    char *clean[MOST_KEPT + 1] = {NULL};
    size_t count = 0;
    static const sigset_t none;
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDWR), log = open_state("log", O_WRONLY | O_APPEND | O_CREAT);
    if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log < 0 ? null : log, 2) < 0) _exit(1);
    if ((lock == 3 ? fcntl(3, F_SETFD, 0) : dup2(lock, 3)) < 0 || chdir("/")) _exit(1);
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 4U, ~0U, 0U))
#endif
        for (int fd = 4; fd < BLOCK; fd++) close(fd);
    for (char **each = environ; *each && count < MOST_KEPT; each++)
        for (int i = 0; kept[i]; i++)
            if (!strncmp(*each, kept[i], strlen(kept[i])) && count < MOST_KEPT)
                clean[count++] = *each;
    execve(start_argv[0], start_argv, clean);
    write_failed("the daemon's starter cannot be executed: ", strerror(errno));
    _exit(1);
}

/* Two forks and a session: whoever waits for this request's processes does not wait for it. */
static int start(int lock) {
    int status = 0;
    pid_t child = fork();
    if (!child) {
        setsid();
        if (!(child = fork())) become_daemon(lock);
        _exit(child < 0);
    }
    return child > 0 && (waitpid(child, &status, 0), !status);
}

/* With the lock held, and nobody listening. started: a daemon of ours has ended again. */
static void win(int lock, int *started) {
    char unsaid[256];
    const char *why = failed(); /* said by the request that started it */
    if (why) one_shot(*started ? "start" : NULL, why);
    if (!*started && (*started = start(lock))) return;
    snprintf(unsaid, sizeof unsaid, *started ? "the daemon ended without a word; see %s/%s.log" :
             "no process can be forked for the daemon of %s/%s", folder, name);
    write_failed(unsaid, "");
    one_shot("start", unsaid);
}

/* Returns when connected. */
static void await_daemon(void) {
    int started = 0, connected, lock, taken, pause_ms = 2, waited_ms = 0;
    if ((mkdir(folder, 0700) && errno != EEXIST) || !private_folder())
        one_shot("folder", strerror(errno));
    do {
        if ((lock = open_state("lock", O_RDWR | O_CREAT)) < 0) one_shot("folder", strerror(errno));
        taken = !flock(lock, LOCK_EX | LOCK_NB);
        if (!taken && errno != EWOULDBLOCK) one_shot("folder", strerror(errno));
        if (!(connected = dial()) && taken) win(lock, &started);
        close(lock); /* a daemon that starts has a copy, and holds it until it serves */
        if (connected) return;
        poll(NULL, 0, pause_ms);
        waited_ms += pause_ms;
        pause_ms = pause_ms < 50 ? pause_ms * 2 : 100;
    } while (waited_ms < relay_baked.wait_s * 1000);
    one_shot("start", "no daemon serves in time");
}

static _Noreturn void client_gone(void) {
    static const unsigned char abort_request[HEADER] = {1, ABORT_REQUEST, 0, 1};
    if (at_border) send(sock, abort_request, HEADER, MSG_DONTWAIT);
    _exit(1);
}

/* Add a record's header, for `size` bytes of content behind it. */
static void add_header(unsigned char type, size_t size) {
    unsigned char made[HEADER] = {1, type, 0, 1, (unsigned char)(size >> 8), (unsigned char)size};
    memcpy(up + up_end, made, HEADER);
    up_end += HEADER + size;
}

static size_t encode_length(unsigned char *to, size_t size) {
    if (size < 128) return to[0] = (unsigned char)size, 1;
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)((size | 1U << 31) >> (24 - 8 * i));
    return 4;
}

/* Encode what fits of a pair, less what earlier records have; pair_at is 0 again at its end. */
static size_t add_pair(const char *variable, unsigned char *to, size_t room) {
    const char *equals = strchr(variable, '=');
    unsigned char lengths[8];
    if (!equals || equals == variable || !strncmp(variable, "HTTP_PROXY=", 11)) return 0;
    size_t name_size = (size_t)(equals - variable), value_size = strlen(equals + 1), before = 0;
    size_t size = encode_length(lengths, name_size), done = 0;
    size += encode_length(lengths + size, value_size);
    const void *parts[] = {lengths, variable, equals + 1};
    size_t sizes[] = {size, name_size, value_size};
    for (int i = 0; i < 3; before += sizes[i++]) {
        size_t skip = pair_at > before ? pair_at - before : 0;
        if (skip >= sizes[i]) continue;
        size_t count = sizes[i] - skip < room - done ? sizes[i] - skip : room - done;
        memcpy(to + done, (const char *)parts[i] + skip, count);
        done += count;
        pair_at += count;
    }
    if (pair_at == before) pair_at = 0;
    return done;
}

/* One record of PARAMS. Behind the last one the empty ones, as far as there is no body. */
static void fill_params(void) {
    size_t size = 0, room = BLOCK - up_end - 3 * HEADER;
    while (pair && size < room) {
        size += add_pair(*pair, up + up_end + HEADER + size, room - size);
        if (pair_at) break;
        if (!*++pair) pair = pair == own_pair + 1 ? NULL : own_pair;
    }
    if (size) add_header(PARAMS, size);
    if (pair) return;
    add_header(PARAMS, 0);
    if (!body_left) add_header(STDIN, 0);
}

/* What standard input has, and its end: a client that left too early is the daemon's to judge. */
static void fill_body(void) {
    ssize_t size = read(0, up + HEADER, body_left < CONTENT ? body_left : CONTENT);
    if (size < 0 && errno == EAGAIN) return;
    body_left = size > 0 ? body_left - size : 0;
    if (size > 0 && !deaf) add_header(STDIN, (size_t)size);
    if (!body_left && !deaf) add_header(STDIN, 0);
}

/* Send what the socket takes; 0: it is closed, and not one byte has gone. */
static int send_up(void) {
    while (up_at < up_end) {
        ssize_t size = send(sock, up + up_at, up_end - up_at, MSG_DONTWAIT);
        if (size < 0 && errno == EAGAIN) return 1;
        if (size < 0 && !begun) return 0;
        if (size < 0) return up_at = up_end = 0, pair = NULL, deaf = 1; /* an answer may be there */
        begun = 1;
        at_border = (up_at += (size_t)size) == up_end;
    }
    return up_at = up_end = 0, 1;
}

/* Write to the server; returns how much it took, 0 if it takes none at present. A write may wait
 * when the body is over; before that, a server that sends all of it first would wait for us while
 * we wait for it. What is writable takes PIPE_BUF without waiting. */
static size_t put(int fd, const unsigned char *data, size_t size) {
    if (body_left && !poll(&(struct pollfd){fd, POLLOUT, 0}, 1, 0)) return 0;
    ssize_t done = write(fd, data, !body_left || size < PIPE_BUF ? size : PIPE_BUF);
    if (done < 0 && errno == EAGAIN) return 0;
    if (done < 0 && fd == 1) client_gone();
    if (fd == 1) written = 1;
    return done < 0 ? size : (size_t)done; /* a server that closed our stderr: none is wanted */
}

/* Write a part of the answer, or hold what fits: an end behind it may free the server's hands. */
static size_t put_or_hold(const unsigned char *data, size_t size) {
    size_t done = held_size ? 0 : put(1, data, size);
    if (done) return done;
    if (size > BLOCK - held_size) size = BLOCK - held_size;
    memcpy(held + held_size, data, size);
    held_size += size;
    return size;
}

/* Go through what has come, until its end or until its reader takes no more. */
static void take(void) {
    while (down_at < down_end && !over) {
        unsigned char *data = down + down_at;
        size_t size = down_end - down_at, most = content ? content : padding;
        if (head_size < HEADER) {
            head[head_size++] = down[down_at++];
            if (head_size < HEADER) continue;
            content = (size_t)head[4] << 8 | head[5];
            padding = head[6];
            kind = !head[2] && head[3] == 1 ? head[1] : 0;
            over = broken = head[0] != 1 || (kind == END_REQUEST && content != sizeof ending);
        } else {
            if (size > most) size = most;
            if (content && kind == STDOUT) size = put_or_hold(data, size);
            if (content && kind == STDERR) size = put(2, data, size);
            if (content && kind == END_REQUEST) memcpy(ending + 8 - content, data, size);
            if (!size) return;
            down_at += size;
            *(content ? &content : &padding) -= size;
        }
        if (content || padding) continue;
        head_size = 0;
        if (kind == END_REQUEST && !broken) ended = over = 1;
    }
}

/* Wait, then move what can be moved. */
static void turn(void) {
    int full = down_at < down_end && !over, wants_body = !pair && !up_end && body_left;
    short events = (short)((full || over ? 0 : POLLIN) | (up_end ? POLLOUT : 0));
    struct pollfd all[] = {{events ? sock : -1, events, 0}, {wants_body ? 0 : -1, POLLIN, 0},
                           {1, held_size ? POLLOUT : 0, 0}, /* and whether its reader is there */
                           {full && kind == STDERR ? 2 : -1, POLLOUT, 0}};
    if (pair && !up_end) fill_params();
    else if (poll(all, 4, -1) < 0) return;
    if (all[2].revents & (POLLERR | POLLHUP)) client_gone();
    if (all[1].revents) fill_body();
    if (held_size && all[2].revents) {
        size_t done = put(1, held, held_size);
        memmove(held, held + done, held_size -= done);
    }
    send_up();
    if (all[0].revents & (POLLIN | POLLHUP | POLLERR) && !full) {
        ssize_t size = recv(sock, down, BLOCK, 0);
        over = size <= 0, down_at = 0, down_end = over ? 0 : (size_t)size;
    }
    take();
    if (over) deaf = 1, up_end = 0, pair = NULL;
    if (over && body_left > 16 << 20) body_left = 0; /* more than it is worth */
}

int main(void) {
    const char *length = getenv("CONTENT_LENGTH"), *coding = getenv("HTTP_TRANSFER_ENCODING");
    if (!getenv("REQUEST_METHOD"))
        return dprintf(2, "This file answers CGI requests and is started by a web server.\n"
                       "Put it into its cgi-bin and open its URL in a browser.\n"), 2;
    for (int fd = 0; fd >= 0 && fd < 3;) fd = open("/dev/null", O_RDWR | O_CLOEXEC); /* fill them */
    if (!relay_baked.start) one_shot(NULL, NULL); /* it was never configured */
    configure();
    int none = !length || !*length || !strcmp(length, "0"); /* a 0 beside a coding is a lie */
    if (none) body_left = coding && strcasestr(coding, "chunked") ? LLONG_MAX : 0;
    else if (strlen(length) <= 18 && !length[strspn(length, "0123456789")])
        body_left = atoll(length); /* the daemon refuses one that is no number */
    if (!private_folder() || !dial()) await_daemon();
    signal(SIGPIPE, SIG_IGN);
    add_header(BEGIN_REQUEST, 8), up[HEADER + 1] = 1; /* responder */
    pair = environ, fill_params();
    while (!send_up()) await_daemon();
    while (!over || held_size || body_left) turn();
    if (broken) fail("502 Bad Gateway", "garbage", address.sun_path, "it speaks no FastCGI",
                     "see who listens there: gatebridge shim check FILE");
    if (!ended) fail("502 Bad Gateway", "cut", address.sun_path, "closed before its answer's end",
                     "read the daemon's log, NAME.log beside its socket");
    if (ending[4]) overloaded("the daemon takes no more requests");
    _exit(ending[0] || ending[1] || ending[2] ? 255 : ending[3]);
}

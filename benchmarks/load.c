/* load: puts load on a Gearman job server over loopback, and measures the server with --pid.
 *
 * One thread on one epoll plays all clients and all workers, so that it costs less than the server. The workers return
 * the workload, and ask for the next job in the same write. Prints one JSON object; see usage() for the modes.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <signal.h>
#include <sys/resource.h>

#include "link.h"
#include "measure.h"

enum {
    CAN_DO = 1, PRE_SLEEP = 4, NOOP = 6, SUBMIT_JOB = 7, JOB_CREATED = 8, GRAB_JOB = 9, NO_JOB = 10, JOB_ASSIGN = 11,
    WORK_COMPLETE = 13, ECHO_REQ = 16, ECHO_RES = 17, SUBMIT_JOB_BG = 18, ERROR = 19, ALL_YOURS = 24,
};
enum { HEADER = 12 };

typedef struct {
    Link link;
    bool worker, registered;
    int in_flight;
    int64_t *stamps; /* when the requests without an answer were sent, oldest first; a ring */
    unsigned oldest, newest;
} Peer;

typedef struct {
    const char *name;
    int request;    /* what clients send; 0: no clients */
    int finish;     /* the packet to a client that ends a request */
    bool workers;   /* workers take part */
    bool by_worker; /* a job counts as done where the worker finished it */
    const char *help;
} Mode;

static const Mode MODES[] = {
    {"fg", SUBMIT_JOB, WORK_COMPLETE, true, false, "round trips: submit, run, result"},
    {"bg", SUBMIT_JOB_BG, JOB_CREATED, false, false, "background submissions without workers: fills the queue"},
    {"drain", 0, 0, true, true, "workers empty a queue that holds --jobs jobs"},
    {"round", SUBMIT_JOB_BG, JOB_CREATED, true, true, "background jobs, run meanwhile; done when all have run"},
    {"steady", SUBMIT_JOB_BG, JOB_CREATED, true, true, "as many submitted as run, over a queue of --queued jobs"},
    {"echo", ECHO_REQ, ECHO_RES, false, false, "ECHO_REQ and its answer"},
    {"work", 0, 0, true, true, "workers only, for other clients, until SIGTERM"},
};

enum { FG, BG, DRAIN, ROUND, STEADY, ECHO, WORK }; /* in the order of MODES */
static const Mode *mode = MODES;
static bool in_mode(int which) { return mode == MODES + which; }

static int port, clients = 1, workers = 1, window = 1, functions = 1, total_window;
static long jobs = 10000, warmup, queued;
static size_t size = 64;
static bool all_yours, unique, tls;
static Watched servers; /* --pid */

static Peer *peers;
static int peer_count;
static char *workload, **heads; /* heads[f]: function NUL, before the unique */
static size_t *head_sizes;
static int64_t *created; /* by the number in the handle: when that job was submitted */
static unsigned long created_mask;
static unsigned stamp_mask;
static long goal, submitted, done, ran, sequence; /* of the phase at hand; sequence: of the whole run */
static int in_flight, unregistered;
static bool filling;   /* steady: the queue is being filled, and clients do not wait for workers */
static bool measuring; /* latencies are kept */
static int64_t now;
static Latencies latencies;
static volatile sig_atomic_t stopped;

static void usage(void) {
    fprintf(stderr, "usage: load --port N --mode M [--pid N] [--jobs N] [--warmup N] [--clients N] [--window N]\n"
                    "            [--total-window N] [--workers N] [--functions N] [--size BYTES] [--queued N]\n"
                    "            [--all-yours] [--unique] [--tls]\n");
    for (size_t i = 0; i < sizeof MODES / sizeof *MODES; i++)
        fprintf(stderr, "  %-7s %s\n", MODES[i].name, MODES[i].help);
    exit(1);
}

static void packet(Peer *p, uint32_t command, size_t body) {
    uint32_t header[3] = {htonl(0x00524551), htonl(command), htonl((uint32_t)body)};
    make_room(&p->link.out, HEADER + body);
    append(&p->link.out, header, HEADER);
}

static void submit_one(Peer *p) {
    char key[24];
    size_t f = (size_t)(sequence++ % functions), key_size = 1;
    if (unique) key_size = (size_t)sprintf(key, "u%ld", sequence) + 1;
    else key[0] = 0;
    if (mode->request == ECHO_REQ) packet(p, ECHO_REQ, size);
    else {
        packet(p, (uint32_t)mode->request, head_sizes[f] + key_size + size);
        append(&p->link.out, heads[f], head_sizes[f]);
        append(&p->link.out, key, key_size);
    }
    append(&p->link.out, workload, size);
    p->stamps[p->newest++ & stamp_mask] = now;
    p->in_flight++;
    in_flight++;
    submitted++;
}

static bool may_submit(const Peer *p) {
    if (submitted >= goal || p->in_flight >= window) return false;
    if (total_window && in_flight >= total_window) return false;
    return !in_mode(STEADY) || filling || submitted < ran + clients * window;
}

static void answered(Peer *p, int64_t sent) {
    if (measuring) latency(&latencies, now - sent);
    p->in_flight--;
    in_flight--;
    if (!mode->by_worker || filling) done++;
}

/* The number at the end of a handle "H:name:123". */
static unsigned long handle_number(const char *handle, size_t n) {
    unsigned long number = 0, unit = 1;
    while (n && !handle[n - 1]) n--;
    for (; n && handle[n - 1] >= '0' && handle[n - 1] <= '9'; n--, unit *= 10)
        number += (unsigned long)(handle[n - 1] - '0') * unit;
    return number;
}

static void unexpected(uint32_t command, const char *body, size_t n) {
    fprintf(stderr, "unexpected packet %u: %.*s\n", command, (int)(n < 200 ? n : 200), body);
    exit(3);
}

static void to_client(Peer *p, uint32_t command, const char *body, size_t n) {
    if (command == JOB_CREATED) {
        int64_t sent = p->stamps[p->oldest++ & stamp_mask];
        if (mode->finish == JOB_CREATED) answered(p, sent);
        else created[handle_number(body, n) & created_mask] = sent;
    } else if (command == ECHO_RES && mode->finish == ECHO_RES) {
        answered(p, p->stamps[p->oldest++ & stamp_mask]);
    } else if (command == WORK_COMPLETE && mode->finish == WORK_COMPLETE) {
        size_t handle = strnlen(body, n);
        int64_t *sent = &created[handle_number(body, handle) & created_mask];
        if (!*sent || n - handle - 1 != size) unexpected(command, body, n);
        answered(p, *sent);
        *sent = 0;
    } else unexpected(command, body, n);
}

static void to_worker(Peer *p, uint32_t command, const char *body, size_t n) {
    if (command == JOB_ASSIGN) {
        size_t handle = strnlen(body, n) + 1, function = strnlen(body + handle, n - handle) + 1;
        packet(p, WORK_COMPLETE, n - function);
        append(&p->link.out, body, handle);
        append(&p->link.out, body + handle + function, n - handle - function);
        packet(p, all_yours ? PRE_SLEEP : GRAB_JOB, 0);
        ran++;
        if (mode->by_worker) done++;
    } else if (command == NO_JOB) packet(p, PRE_SLEEP, 0);
    else if (command == NOOP) packet(p, GRAB_JOB, 0);
    else if (command == ECHO_RES && !p->registered) {
        p->registered = true;
        unregistered--;
    } else unexpected(command, body, n);
}

static void readable(Peer *p) {
    Buffer *in = &p->link.in;
    if (!fill_link(&p->link, 65536)) {
        fprintf(stderr, "the server closed a connection\n");
        exit(4);
    }
    now = now_ns();
    while (in->end - in->start >= HEADER) {
        uint32_t header[3];
        memcpy(header, in->bytes + in->start, HEADER);
        size_t body = ntohl(header[2]);
        if (in->end - in->start - HEADER < body) {
            make_room(in, HEADER + body);
            break;
        }
        (p->worker ? to_worker : to_client)(p, ntohl(header[1]), in->bytes + in->start + HEADER, body);
        in->start += HEADER + body;
    }
    if (in->start == in->end) in->start = in->end = 0;
}

static void feed(Peer *p) {
    while (may_submit(p)) submit_one(p);
    flush_link(&p->link, p);
}

/* Under --total-window, or in steady mode, another peer's answer may be what lets a client go on. */
static void feed_others(void) {
    static int turn;
    int first = peer_count - clients;
    for (int i = 0; i < clients && submitted < goal; i++) {
        if (total_window && in_flight >= total_window) return;
        if (in_mode(STEADY) && !filling && submitted >= ran + clients * window) return;
        turn = (turn + 1) % clients;
        if (may_submit(peers + first + turn)) feed(peers + first + turn);
    }
}

static void turn_of_the_loop(void) {
    static struct epoll_event events[512];
    int n = epoll_wait(poller, events, 512, in_mode(WORK) ? -1 : 60000);
    if (n == 0) {
        fprintf(stderr, "nothing came for a minute: %ld of %ld jobs done\n", done, goal);
        exit(5);
    }
    for (int i = 0; i < n; i++) {
        Peer *p = events[i].data.ptr;
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(p);
        if (p->worker) flush_link(&p->link, p);
        else feed(p);
    }
    if (mode->request && (total_window || in_mode(STEADY))) feed_others();
}

static void run(long count) {
    goal = count;
    submitted = done = ran = 0;
    now = now_ns();
    for (int i = 0; i < peer_count; i++)
        if (!peers[i].worker) feed(peers + i);
    while (done < goal && !stopped) turn_of_the_loop();
}

/* Registration ends with an echo: once it is answered, the server has done all that came before. */
static void register_workers(void) {
    unregistered = workers;
    for (int i = 0; i < workers; i++) {
        Peer *p = peers + i;
        for (int f = 0; f < functions; f++) {
            packet(p, CAN_DO, head_sizes[f] - 1);
            append(&p->link.out, heads[f], head_sizes[f] - 1);
        }
        packet(p, ECHO_REQ, 0);
        flush_link(&p->link, p);
    }
    while (unregistered) turn_of_the_loop();
}

static void start_workers(void) {
    for (int i = 0; i < workers; i++) {
        if (all_yours) packet(peers + i, ALL_YOURS, 0);
        packet(peers + i, GRAB_JOB, 0);
        flush_link(&peers[i].link, peers + i);
    }
}

static void prepare(void) {
    workload = malloc(size + 1);
    memset(workload, 'x', size + 1);
    heads = calloc((size_t)functions, sizeof *heads);
    head_sizes = calloc((size_t)functions, sizeof *head_sizes);
    for (int f = 0; f < functions; f++) head_sizes[f] = (size_t)asprintf(&heads[f], "bench%d", f) + 1;
    for (created_mask = 1; (long)created_mask < 2 * (jobs + warmup + queued) + 2;) created_mask *= 2;
    if (mode->finish == WORK_COMPLETE) created = calloc(created_mask, sizeof *created);
    created_mask--;
    for (stamp_mask = 1; (int)stamp_mask < window + 1;) stamp_mask *= 2;
    latencies.room = mode->request ? jobs : 0;
    latencies.ns = calloc((size_t)latencies.room + 1, sizeof *latencies.ns);
    peer_count = clients + workers;
    peers = calloc((size_t)peer_count, sizeof *peers);
    for (int i = 0; i < peer_count; i++) peers[i].stamps = calloc(stamp_mask, sizeof *peers[i].stamps);
    stamp_mask--;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (tls) open_tls();
}

static void arguments(int count, char **values) {
    static const struct option OPTIONS[] = {
        {"port", 1, 0, 'p'}, {"mode", 1, 0, 'm'}, {"pid", 1, 0, 'P'}, {"jobs", 1, 0, 'j'}, {"warmup", 1, 0, 'W'},
        {"clients", 1, 0, 'c'}, {"window", 1, 0, 'w'}, {"total-window", 1, 0, 't'}, {"workers", 1, 0, 'k'},
        {"functions", 1, 0, 'f'}, {"size", 1, 0, 's'}, {"queued", 1, 0, 'q'}, {"all-yours", 0, 0, 'a'},
        {"unique", 0, 0, 'u'}, {"tls", 0, 0, 'T'}, {0, 0, 0, 0},
    };
    for (int c; (c = getopt_long(count, values, "", OPTIONS, 0)) != -1;) switch (c) {
        case 'p': port = atoi(optarg); break;
        case 'P': watch(&servers, atoi(optarg)); break;
        case 'j': jobs = atol(optarg); break;
        case 'W': warmup = atol(optarg); break;
        case 'c': clients = atoi(optarg); break;
        case 'w': window = atoi(optarg); break;
        case 't': total_window = atoi(optarg); break;
        case 'k': workers = atoi(optarg); break;
        case 'f': functions = atoi(optarg); break;
        case 's': size = (size_t)atol(optarg); break;
        case 'q': queued = atol(optarg); break;
        case 'a': all_yours = true; break;
        case 'u': unique = true; break;
        case 'T': tls = true; break;
        case 'm':
            for (mode = MODES; strcmp(mode->name, optarg);)
                if (++mode == MODES + sizeof MODES / sizeof *MODES) usage();
            break;
        default: usage();
        }
    if (!port || functions < 1 || window < 1) usage();
    if (!mode->request) clients = 0;
    if (!mode->workers) workers = 0;
}

static void stop(int signal_number) {
    (void)signal_number;
    stopped = 1;
}

int main(int count, char **values) {
    arguments(count, values);
    prepare();
    const Watched *watched = &servers;
    long rss_before = memory_kib(watched, "VmRSS");
    Usage before_connect = usage_of(watched);
    for (int i = 0; i < peer_count; i++) {
        peers[i].worker = i < workers;
        connect_link(&peers[i].link, port, peers + i);
        /* gearmand's backlog is 32: one more that waits to be accepted would be tried again after a second */
        if (i % 30 == 29) rest(watched, 1000);
    }
    settle(watched);
    Usage connected = usage_of(watched);
    long rss_connected = memory_kib(watched, "VmRSS");

    int64_t started = now_ns();
    register_workers();
    int64_t register_ns = now_ns() - started;
    settle(watched);
    Usage registered = usage_of(watched);

    if (in_mode(WORK)) {
        signal(SIGTERM, stop);
        start_workers();
        printf("ready\n");
        fflush(stdout);
        jobs = INT32_MAX;
    } else if (queued) {
        filling = true;
        run(queued);
        filling = false;
    }
    if (mode->workers && !in_mode(DRAIN) && !in_mode(WORK)) start_workers();
    if (warmup) run(warmup);
    settle(watched);

    measuring = true;
    Usage before = usage_of(watched);
    int64_t start = now_ns();
    if (in_mode(DRAIN)) start_workers();
    run(jobs);
    int64_t elapsed = now_ns() - start;
    settle(watched);
    Usage after = usage_of(watched);

    printf("{");
    print_common(done, elapsed, before, after, &latencies, watched);
    printf(", \"connect_us\": %.3f, \"register_seconds\": %.6f, \"register_cpu_us\": %.1f",
           peer_count ? (double)(connected.cpu_ns - before_connect.cpu_ns) / 1e3 / peer_count : 0,
           (double)register_ns / 1e9, (double)(registered.cpu_ns - connected.cpu_ns) / 1e3);
    printf(", \"rss_before_kib\": %ld, \"rss_connected_kib\": %ld}\n", rss_before, rss_connected);
    return 0;
}

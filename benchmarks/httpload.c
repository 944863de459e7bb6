/* httpload: requests to the HTTP gateway over loopback, each client waiting for its answer before the next.
 *
 * Keeps a connection where the server keeps it, and connects anew where the server closes, as browsers do. Measures
 * the server with --pid and prints one JSON object. usage: httpload --port N [--pid N] [--jobs N] [--warmup N]
 * [--clients N] [--size BYTES] [--path /function]
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <strings.h>

#include "link.h"
#include "measure.h"

typedef struct {
    Link link;
    bool waiting;
    int64_t sent;
} Client;

static int port, client_count = 50;
static long jobs = 10000, warmup, goal, sent, done;
static long statuses_other;
static size_t size = 64;
static const char *path = "/bench0";
static char *message, *number; /* number: the ten digits of the unique in the message */
static size_t message_size;
static long sequence;
static bool measuring;
static Latencies latencies;

static void ask(Client *c) {
    if (c->waiting || sent >= goal) return;
    c->waiting = true;
    c->sent = now_ns();
    sent++;
    char digits[24];
    snprintf(digits, sizeof digits, "%010ld", ++sequence);
    memcpy(number, digits, 10);
    append(&c->link.out, message, message_size);
    flush_link(&c->link, c);
}

static void reconnect(Client *c) {
    close(c->link.fd);
    c->link.in.start = c->link.in.end = c->link.out.start = c->link.out.end = 0;
    connect_link(&c->link, port, c);
}

/* The value of a header in the NUL-terminated head of an answer, or NULL. */
static const char *header(const char *head, const char *name) {
    size_t n = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, name, n) && line[n] == ':') return line + n + 1 + strspn(line + n + 1, " ");
    }
    return NULL;
}

static void finish(Client *c, bool close_it) {
    c->waiting = false;
    done++;
    if (measuring) latency(&latencies, now_ns() - c->sent);
    if (close_it) reconnect(c);
    ask(c);
}

static void readable(Client *c) {
    bool open = fill_link(&c->link, 16384);
    Buffer *in = &c->link.in;
    append(in, "", 1);
    in->end--;
    char *head = in->bytes + in->start, *end = strstr(head, "\r\n\r\n");
    if (end) {
        *end = 0;
        const char *length = header(head, "content-length"), *connection = header(head, "connection");
        size_t body = length ? (size_t)atol(length) : 0;
        bool kept = strncmp(head, "HTTP/1.0", 8) && !(connection && !strncasecmp(connection, "close", 5));
        bool good = strlen(head) > 12 && !strncmp(head + 9, "200", 3) && body == size;
        *end = '\r';
        if (in->end - in->start >= (size_t)(end + 4 - head) + body) {
            statuses_other += !good;
            in->start += (size_t)(end + 4 - head) + body;
            if (in->start == in->end) in->start = in->end = 0;
            finish(c, !kept || !open);
            return;
        }
    }
    if (open) return;
    if (c->waiting) {
        fprintf(stderr, "the server closed a connection before its answer was whole\n");
        exit(4);
    }
    reconnect(c);
}

static void run(long count, Client *clients) {
    goal = count;
    sent = done = 0;
    for (int i = 0; i < client_count; i++) ask(clients + i);
    while (done < goal) {
        static struct epoll_event events[512];
        int n = epoll_wait(poller, events, 512, 60000);
        if (n == 0) {
            fprintf(stderr, "nothing came for a minute: %ld of %ld requests done\n", done, goal);
            exit(5);
        }
        for (int i = 0; i < n; i++) {
            Client *c = events[i].data.ptr;
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
            else flush_link(&c->link, c);
        }
    }
}

int main(int count, char **values) {
    static const struct option OPTIONS[] = {{"port", 1, 0, 'p'},    {"pid", 1, 0, 'P'},  {"jobs", 1, 0, 'j'},
                                            {"warmup", 1, 0, 'W'},  {"size", 1, 0, 's'}, {"path", 1, 0, 'u'},
                                            {"clients", 1, 0, 'c'}, {0, 0, 0, 0}};
    Watched servers = {0}, *watched = &servers;
    for (int c; (c = getopt_long(count, values, "", OPTIONS, 0)) != -1;) switch (c) {
        case 'p': port = atoi(optarg); break;
        case 'P': watch(watched, atoi(optarg)); break;
        case 'j': jobs = atol(optarg); break;
        case 'W': warmup = atol(optarg); break;
        case 'c': client_count = atoi(optarg); break;
        case 's': size = (size_t)atol(optarg); break;
        case 'u': path = optarg; break;
        default: return 1;
        }
    /* Without a unique of their own, requests with the same body would be one job. */
    int head = asprintf(&message,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Gearman-Unique: 0000000000\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        path, port, size);
    message = realloc(message, (size_t)head + size);
    memset(message + head, 'x', size);
    message_size = (size_t)head + size;
    number = memmem(message, message_size, "0000000000", 10);
    latencies.room = jobs;
    latencies.ns = calloc((size_t)jobs + 1, sizeof *latencies.ns);
    Client *clients = calloc((size_t)client_count, sizeof *clients);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < client_count; i++) connect_link(&clients[i].link, port, clients + i);

    if (warmup) run(warmup, clients);
    settle(watched);
    measuring = true;
    Usage before = usage_of(watched);
    int64_t start = now_ns();
    run(jobs, clients);
    int64_t elapsed = now_ns() - start;
    settle(watched);
    Usage after = usage_of(watched);
    printf("{");
    print_common(done, elapsed, before, after, &latencies, watched);
    printf(", \"other_answers\": %ld}\n", statuses_other);
    return 0;
}

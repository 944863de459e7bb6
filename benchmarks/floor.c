/* floor: the least that a Gearman job server in C on epoll can cost. A yardstick, not a server to use.
 *
 * One thread; one recv per readable connection and one send per connection and turn of the loop; no checks, no
 * priorities, no coalescing, no limits. Knows what the load driver sends: CAN_DO, ALL_YOURS, PRE_SLEEP, GRAB_JOB,
 * SUBMIT_JOB, SUBMIT_JOB_BG, WORK_COMPLETE and ECHO_REQ. usage: floor PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 12, READ_SIZE = 256 * 1024, BUCKETS = 1 << 17, HANDLE_ROOM = 24 };
#define PREFIX "H:floor:"
enum { PREFIX_SIZE = sizeof PREFIX - 1 };

typedef struct Function Function;
typedef struct Peer Peer;

typedef struct Job {
    struct Job *next; /* in its function's queue, later in its bucket of the running */
    Function *function;
    Peer *client; /* NULL: background, or the client has left */
    uint64_t number;
    uint32_t handle_size, size;
    char handle[HANDLE_ROOM];
    char workload[];
} Job;

typedef struct Ability { /* a worker's place at one function; sleepers form a list */
    Peer *peer;
    Function *function;
    struct Ability *previous, *next;
    bool listed;
} Ability;

struct Function {
    Function *next;
    Job *first, **last;
    Ability *sleepers;
    uint32_t name_size;
    char name[];
};

typedef struct {
    char *bytes;
    uint32_t start, end, room;
} Buffer;

struct Peer {
    int fd;
    bool dirty, wants_write, gone, all_yours;
    Buffer in, out;
    Ability **abilities;
    int count, room;
    uint32_t open_jobs; /* jobs that point here: the memory stays until they are done */
};

static Function *functions[4096];
static Job *running[BUCKETS];
static uint64_t last_number;
static Peer **dirty;
static int dirty_count, dirty_room, poller;
static char read_buffer[READ_SIZE];

static inline uint32_t number_at(const char *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return ntohl(v);
}

static void mark(Peer *p) {
    if (p->dirty) return;
    p->dirty = true;
    if (dirty_count == dirty_room) dirty = realloc(dirty, sizeof *dirty * (size_t)(dirty_room = dirty_room * 2 + 64));
    dirty[dirty_count++] = p;
}

/* Room for n bytes at the end of a buffer; the caller fills it. */
static inline char *extend(Buffer *b, uint32_t n) {
    if (b->end + n > b->room) {
        memmove(b->bytes, b->bytes + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
        if (!b->room) b->room = 1024;
        while (b->room < b->end + n) b->room *= 2;
        b->bytes = realloc(b->bytes, b->room);
    }
    b->end += n;
    return b->bytes + b->end - n;
}

/* Begins a packet to a peer; returns where its body goes. */
static inline char *answer(Peer *p, uint32_t command, uint32_t size) {
    uint32_t header[3] = {htonl(0x00524553), htonl(command), htonl(size)};
    mark(p);
    char *at = extend(&p->out, HEADER + size);
    memcpy(at, header, HEADER);
    return at + HEADER;
}

static Function *function_named(const char *name, uint32_t size) {
    uint32_t hash = 5381;
    for (uint32_t i = 0; i < size; i++) hash = hash * 33 + (uint8_t)name[i];
    Function **bucket = &functions[hash & 4095], *f;
    for (f = *bucket; f; f = f->next)
        if (f->name_size == size && !memcmp(f->name, name, size)) return f;
    f = calloc(1, sizeof *f + size + 1);
    memcpy(f->name, name, size);
    f->name_size = size;
    f->last = &f->first;
    f->next = *bucket;
    return *bucket = f;
}

static void wake(Peer *p) {
    for (int i = 0; i < p->count; i++) {
        Ability *a = p->abilities[i];
        if (!a->listed) continue;
        *(a->previous ? &a->previous->next : &a->function->sleepers) = a->next;
        if (a->next) a->next->previous = a->previous;
        a->listed = false;
    }
}

static bool assign(Peer *p) {
    for (int i = 0; i < p->count; i++) {
        Function *f = p->abilities[i]->function;
        Job *j = f->first;
        if (!j) continue;
        if (!(f->first = j->next)) f->last = &f->first;
        Job **bucket = &running[j->number % BUCKETS];
        j->next = *bucket;
        *bucket = j;
        char *at = answer(p, 11, j->handle_size + f->name_size + 2 + j->size);
        memcpy(at, j->handle, j->handle_size + 1);
        at += j->handle_size + 1;
        memcpy(at, f->name, f->name_size + 1);
        memcpy(at + f->name_size + 1, j->workload, j->size);
        return true;
    }
    return false;
}

static void fall_asleep(Peer *p) {
    if (p->all_yours && assign(p)) return;
    for (int i = 0; i < p->count; i++)
        if (p->abilities[i]->function->first) {
            answer(p, 6, 0);
            wake(p);
            return;
        }
    for (int i = 0; i < p->count; i++) {
        Ability *a = p->abilities[i];
        if (a->listed) continue;
        a->listed = true;
        a->previous = NULL;
        a->next = a->function->sleepers;
        if (a->next) a->next->previous = a;
        a->function->sleepers = a;
    }
}

static void submit(Peer *p, const char *body, uint32_t size, bool background) {
    const char *unique = memchr(body, 0, size) + 1;
    const char *workload = (const char *)memchr(unique, 0, (size_t)(body + size - unique)) + 1;
    Function *f = function_named(body, (uint32_t)(unique - 1 - body));
    uint32_t length = (uint32_t)(body + size - workload);
    Job *j = malloc(sizeof *j + length);
    *j = (Job){.function = f, .client = background ? NULL : p, .number = ++last_number, .size = length};
    memcpy(j->workload, workload, length);
    char digits[20], *at = j->handle + PREFIX_SIZE;
    int n = 0;
    for (uint64_t v = j->number; v; v /= 10) digits[n++] = (char)('0' + v % 10);
    memcpy(j->handle, PREFIX, PREFIX_SIZE);
    while (n) *at++ = digits[--n];
    *at = 0;
    j->handle_size = (uint32_t)(at - j->handle);
    p->open_jobs += !background;
    *f->last = j;
    f->last = &j->next;
    memcpy(answer(p, 8, j->handle_size), j->handle, j->handle_size);
    if (f->sleepers) { /* one job, one worker */
        Peer *worker = f->sleepers->peer;
        wake(worker);
        if (worker->all_yours) assign(worker);
        else answer(worker, 6, 0);
    }
}

static void release(Peer *p) {
    if (p->open_jobs || !p->gone) return;
    for (int i = 0; i < p->count; i++) free(p->abilities[i]);
    free(p->abilities);
    free(p->in.bytes);
    free(p->out.bytes);
    free(p);
}

static void complete(const char *body, uint32_t size) {
    uint64_t number = 0;
    for (const char *p = body + PREFIX_SIZE; *p; p++) number = number * 10 + (uint64_t)(*p - '0');
    Job **at = &running[number % BUCKETS];
    while (*at && (*at)->number != number) at = &(*at)->next;
    Job *j = *at;
    if (!j) return;
    *at = j->next;
    if (j->client) {
        j->client->open_jobs--;
        if (j->client->gone) release(j->client);
        else memcpy(answer(j->client, 13, size), body, size);
    }
    free(j);
}

static void can_do(Peer *p, const char *name, uint32_t size) {
    Ability *a = calloc(1, sizeof *a);
    a->peer = p;
    a->function = function_named(name, size);
    if (p->count == p->room)
        p->abilities = realloc(p->abilities, sizeof *p->abilities * (size_t)(p->room = p->room * 2 + 4));
    p->abilities[p->count++] = a;
}

/* Does what whole packets there are in n bytes; returns how many bytes they had. */
static uint32_t serve(Peer *p, const char *bytes, uint32_t n) {
    uint32_t done = 0;
    while (n - done >= HEADER) {
        const char *body = bytes + done + HEADER;
        uint32_t command = number_at(body - 8), size = number_at(body - 4);
        if (n - done - HEADER < size) break;
        switch (command) {
        case 1: can_do(p, body, size); break;
        case 4: fall_asleep(p); break;
        case 7: submit(p, body, size, false); break;
        case 9:
            if (!assign(p)) answer(p, 10, 0);
            break;
        case 13: complete(body, size); break;
        case 16: memcpy(answer(p, 17, size), body, size); break;
        case 18: submit(p, body, size, true); break;
        case 24: p->all_yours = true; break;
        }
        done += HEADER + size;
    }
    return done;
}

static void hang_up(Peer *p) {
    wake(p);
    close(p->fd);
    p->gone = true;
    mark(p); /* released at the end of the turn, when no event can point to it any more */
}

/* Reads into the shared buffer and serves from there; only the rest of a packet is kept with its peer. */
static void readable(Peer *p) {
    Buffer *in = &p->in;
    if (!in->end) {
        ssize_t n = recv(p->fd, read_buffer, READ_SIZE, 0);
        if (n <= 0) {
            if (n == 0 || errno != EAGAIN) hang_up(p);
            return;
        }
        uint32_t done = serve(p, read_buffer, (uint32_t)n), rest = (uint32_t)n - done;
        if (rest) memcpy(extend(in, rest), read_buffer + done, rest);
        return;
    }
    uint32_t want = in->end >= HEADER ? HEADER + number_at(in->bytes + 8) : HEADER;
    uint32_t chunk = want > in->end + 65536 ? want - in->end : 65536;
    char *at = extend(in, chunk);
    in->end -= chunk;
    ssize_t n = recv(p->fd, at, chunk, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) hang_up(p);
        return;
    }
    in->end += (uint32_t)n;
    uint32_t done = in->end < want ? 0 : serve(p, in->bytes, in->end);
    memmove(in->bytes, in->bytes + done, in->end - done);
    in->end -= done;
}

static void flush(Peer *p) {
    p->dirty = false;
    if (p->gone) {
        release(p);
        return;
    }
    Buffer *out = &p->out;
    if (out->start == out->end) return;
    ssize_t n = send(p->fd, out->bytes + out->start, out->end - out->start, MSG_NOSIGNAL);
    if (n > 0) out->start += (uint32_t)n;
    bool all = out->start == out->end;
    if (all) out->start = out->end = 0;
    if (all != p->wants_write) return;
    struct epoll_event e = {.events = EPOLLIN | (all ? 0 : EPOLLOUT), .data.ptr = p};
    epoll_ctl(poller, EPOLL_CTL_MOD, p->fd, &e);
    p->wants_write = !all;
}

static void accept_all(int listener) {
    int one = 1;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Peer *p = calloc(1, sizeof *p);
        p->fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(int count, char **values) {
    if (count != 2) {
        fprintf(stderr, "usage: floor PORT\n");
        return 1;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(values[1])),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1024)) {
        perror("floor: cannot listen");
        return 1;
    }
    poller = epoll_create1(0);
    static struct epoll_event events[1024];
    struct epoll_event e = {.events = EPOLLIN};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(poller, events, 1024, -1);
        for (int i = 0; i < n; i++) {
            Peer *p = events[i].data.ptr;
            if (!p) accept_all(listener);
            else if (!p->gone) {
                if (events[i].events & EPOLLOUT) mark(p);
                if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(p);
            }
        }
        for (int i = 0; i < dirty_count; i++) flush(dirty[i]);
        dirty_count = 0;
    }
}

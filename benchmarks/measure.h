/* measure.h: clocks, the server's CPU and memory, percentiles. Knows no protocol and no sockets.
 *
 * The server's CPU time is read from its process clock (clock_getcpuclockid): nanoseconds, all threads, the ended ones
 * too. The kernel splits it into user and system only by ticks of 10 ms, so that split comes from /proc/PID/stat. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t)) {
        perror("clock_gettime");
        exit(2);
    }
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static inline int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

enum { MOST_WATCHED = 2 };

typedef struct {
    int count; /* 0: no server to watch; 2: a server and what stands before it */
    pid_t pids[MOST_WATCHED];
    clockid_t clocks[MOST_WATCHED];
} Watched;

typedef struct {
    int64_t cpu_ns, user_ticks, system_ticks, driver_ns;
} Usage;

static inline void watch(Watched *w, pid_t pid) {
    if (w->count == MOST_WATCHED || clock_getcpuclockid(pid, &w->clocks[w->count])) {
        fprintf(stderr, "cannot watch process %d\n", pid);
        exit(2);
    }
    w->pids[w->count++] = pid;
}

static inline int64_t cpu_of(const Watched *w) {
    int64_t sum = 0;
    for (int i = 0; i < w->count; i++) sum += clock_ns(w->clocks[i]);
    return sum;
}

static inline void add_ticks(pid_t pid, Usage *u) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(line, 1, sizeof line - 1, f) : 0;
    line[n] = 0;
    if (f) fclose(f);
    char *p = strrchr(line, ')'); /* the name before it may hold anything */
    unsigned long user = 0, system = 0;
    if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) {
        fprintf(stderr, "the server (process %d) is gone\n", pid);
        exit(4);
    }
    u->user_ticks += (int64_t)user;
    u->system_ticks += (int64_t)system;
}

static inline Usage usage_of(const Watched *w) {
    Usage u = {.driver_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID), .cpu_ns = cpu_of(w)};
    for (int i = 0; i < w->count; i++) add_ticks(w->pids[i], &u);
    return u;
}

/* Waits until the server's CPU clock stands still for two steps (at most a minute). */
static inline void rest(const Watched *w, int step_us) {
    if (!w->count) return;
    int64_t before = cpu_of(w), deadline = now_ns() + 60 * INT64_C(1000000000);
    for (int quiet = 0; quiet < 2 && now_ns() < deadline;) {
        usleep((useconds_t)step_us);
        int64_t after = cpu_of(w);
        quiet = after - before < step_us * INT64_C(10) ? quiet + 1 : 0; /* less than 1 % of a core */
        before = after;
    }
}

/* Waits until the server has nothing left to do. */
static inline void settle(const Watched *w) { rest(w, 20000); }

/* A line of /proc/PID/status in KiB: VmRSS, VmHWM. Of all watched processes together. */
static inline long memory_kib(const Watched *w, const char *name) {
    long kib = 0;
    for (int i = 0; i < w->count; i++) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/%d/status", w->pids[i]);
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof line, f))
            if (!strncmp(line, name, strlen(name))) kib += atol(line + strlen(name) + 1);
        if (f) fclose(f);
    }
    return kib;
}

typedef struct {
    int64_t *ns;
    long count, room;
} Latencies;

static inline void latency(Latencies *l, int64_t ns) {
    if (l->count < l->room) l->ns[l->count++] = ns;
}

static inline int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static inline double percentile_us(const Latencies *sorted, double share) {
    if (!sorted->count) return 0;
    long i = (long)((double)sorted->count * share);
    return (double)sorted->ns[i < sorted->count ? i : sorted->count - 1] / 1e3;
}

/* Prints the members of a JSON object that every driver reports; the caller adds its own and the braces. */
static inline void print_common(long jobs, int64_t elapsed_ns, Usage a, Usage b, Latencies *l, const Watched *w) {
    qsort(l->ns, (size_t)l->count, sizeof *l->ns, by_size);
    double n = jobs ? (double)jobs : 1, cpu = (double)(b.cpu_ns - a.cpu_ns) / 1e3;
    double user = (double)(b.user_ticks - a.user_ticks), system = (double)(b.system_ticks - a.system_ticks);
    double share = user + system > 0 ? user / (user + system) : 0;
    printf("\"jobs\": %ld, \"seconds\": %.6f, \"jobs_per_second\": %.1f", jobs, (double)elapsed_ns / 1e9,
           n / ((double)elapsed_ns / 1e9));
    printf(", \"cpu_us\": %.4f, \"user_us\": %.4f, \"system_us\": %.4f", cpu / n, cpu / n * share,
           cpu / n * (1 - share));
    printf(", \"p50_us\": %.1f, \"p99_us\": %.1f", percentile_us(l, .5), percentile_us(l, .99));
    printf(", \"driver_us\": %.4f", (double)(b.driver_ns - a.driver_ns) / 1e3 / n);
    printf(", \"rss_kib\": %ld, \"peak_kib\": %ld", memory_kib(w, "VmRSS"), memory_kib(w, "VmHWM"));
}

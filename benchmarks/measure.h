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

typedef struct {
    pid_t pid; /* 0: no server to watch */
    clockid_t clock;
} Watched;

typedef struct {
    int64_t cpu_ns, user_ticks, system_ticks, driver_ns;
} Usage;

static inline Watched watch(pid_t pid) {
    Watched w = {.pid = pid};
    if (pid && clock_getcpuclockid(pid, &w.clock)) {
        fprintf(stderr, "there is no process %d to watch\n", pid);
        exit(2);
    }
    return w;
}

static inline Usage usage_of(Watched w) {
    Usage u = {.driver_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
    if (!w.pid) return u;
    u.cpu_ns = clock_ns(w.clock);
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", w.pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(line, 1, sizeof line - 1, f) : 0;
    line[n] = 0;
    if (f) fclose(f);
    char *p = strrchr(line, ')'); /* the name before it may hold anything */
    unsigned long user = 0, system = 0;
    if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) {
        fprintf(stderr, "the server (process %d) is gone\n", w.pid);
        exit(4);
    }
    u.user_ticks = (int64_t)user;
    u.system_ticks = (int64_t)system;
    return u;
}

/* Waits until the server has nothing left to do: its CPU clock stands still for 40 ms (at most a minute). */
static inline void settle(Watched w) {
    if (!w.pid) return;
    int64_t before = clock_ns(w.clock), deadline = now_ns() + 60 * INT64_C(1000000000);
    for (int quiet = 0; quiet < 2 && now_ns() < deadline;) {
        usleep(20000);
        int64_t after = clock_ns(w.clock);
        quiet = after - before < 200000 ? quiet + 1 : 0;
        before = after;
    }
}

/* A line of /proc/PID/status in KiB: VmRSS, VmHWM. */
static inline long memory_kib(Watched w, const char *name) {
    if (!w.pid) return 0;
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", w.pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, name, strlen(name))) kib = atol(line + strlen(name) + 1);
    if (f) fclose(f);
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
static inline void print_common(long jobs, int64_t elapsed_ns, Usage a, Usage b, Latencies *l, Watched w) {
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

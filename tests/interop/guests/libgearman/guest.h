/* What the guest programs in C share: their includes, and how they print what they saw. */
#define _GNU_SOURCE
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libgearman/gearman.h>

static const char *const RETURN_NAMES[GEARMAN_MAX_RETURN] = {
    [GEARMAN_SUCCESS] = "SUCCESS",
    [GEARMAN_IO_WAIT] = "IO_WAIT",
    [GEARMAN_ERRNO] = "ERRNO",
    [GEARMAN_NO_ACTIVE_FDS] = "NO_ACTIVE_FDS",
    [GEARMAN_GETADDRINFO] = "GETADDRINFO",
    [GEARMAN_NO_SERVERS] = "NO_SERVERS",
    [GEARMAN_LOST_CONNECTION] = "LOST_CONNECTION",
    [GEARMAN_JOB_EXISTS] = "JOB_EXISTS",
    [GEARMAN_JOB_QUEUE_FULL] = "JOB_QUEUE_FULL",
    [GEARMAN_SERVER_ERROR] = "SERVER_ERROR",
    [GEARMAN_WORK_ERROR] = "WORK_ERROR",
    [GEARMAN_WORK_DATA] = "WORK_DATA",
    [GEARMAN_WORK_WARNING] = "WORK_WARNING",
    [GEARMAN_WORK_STATUS] = "WORK_STATUS",
    [GEARMAN_WORK_EXCEPTION] = "WORK_EXCEPTION",
    [GEARMAN_WORK_FAIL] = "WORK_FAIL",
    [GEARMAN_NOT_CONNECTED] = "NOT_CONNECTED",
    [GEARMAN_COULD_NOT_CONNECT] = "COULD_NOT_CONNECT",
    [GEARMAN_NO_REGISTERED_FUNCTIONS] = "NO_REGISTERED_FUNCTIONS",
    [GEARMAN_NO_JOBS] = "NO_JOBS",
    [GEARMAN_UNKNOWN_STATE] = "UNKNOWN_STATE",
    [GEARMAN_QUEUE_ERROR] = "QUEUE_ERROR",
    [GEARMAN_TIMEOUT] = "TIMEOUT",
    [GEARMAN_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [GEARMAN_IN_PROGRESS] = "IN_PROGRESS",
    [GEARMAN_INVALID_SERVER_OPTION] = "INVALID_SERVER_OPTION",
    [GEARMAN_JOB_NOT_FOUND] = "JOB_NOT_FOUND",
};

static inline const char *name_of(gearman_return_t ret) {
  static char number[16];
  if (ret < GEARMAN_MAX_RETURN && RETURN_NAMES[ret])
    return RETURN_NAMES[ret];
  snprintf(number, sizeof number, "#%d", ret);
  return number;
}

/* Ends the program, saying what failed, when a call of the library did not succeed. */
static inline void must(gearman_return_t ret, const char *what, const char *error) {
  if (ret == GEARMAN_SUCCESS)
    return;
  fprintf(stderr, "%s: %s: %s\n", what, name_of(ret), error ? error : "");
  exit(2);
}

static inline double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* TLS with the files that the environment names, as Debian's tools take them. */
static inline bool wants_tls(void) {
  return getenv("GEARMAND_CA_CERTIFICATE") != NULL;
}

static inline gearman_client_st *client_of(const char *servers) {
  gearman_client_st *client = gearman_client_create(NULL);
  if (!client)
    exit(2);
  must(gearman_client_add_servers(client, servers), "gearman_client_add_servers", gearman_client_error(client));
  if (wants_tls())
    gearman_client_add_options(client, GEARMAN_CLIENT_SSL);
  return client;
}

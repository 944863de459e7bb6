/* worker [-n] [-r] [-a] [-c COUNT] [-t MS] [-i ID] [-N NAMESPACE] SERVERS FUNCTION[:ABILITY[:TIMEOUT]]...
 *
 * Serves functions with one of the abilities below (by default the one that is called like the function).
 *   -n non-blocking mode   -c leave after so many jobs   -t leave when nothing came for so many milliseconds
 *   -r go on when a connection is lost   -a grab with GRAB_JOB_ALL, so that reducers are seen
 */
#include "guest.h"

static gearman_return_t reverse(gearman_job_st *job, void *context) {
  const char *workload = gearman_job_workload(job);
  size_t size = gearman_job_workload_size(job);
  char *result = malloc(size + 1);
  (void)context;
  for (size_t at = 0; at < size; at++)
    result[at] = workload[size - 1 - at];
  gearman_return_t ret = gearman_job_send_data(job, result, size);
  free(result);
  return ret;
}

/* The first interface of the library: the result is returned. */
static void *old_reverse(gearman_job_st *job, void *context, size_t *size, gearman_return_t *ret) {
  const char *workload = gearman_job_workload(job);
  (void)context;
  *size = gearman_job_workload_size(job);
  char *result = malloc(*size + 1);
  for (size_t at = 0; at < *size; at++)
    result[at] = workload[*size - 1 - at];
  *ret = GEARMAN_SUCCESS;
  return result;
}

static void *old_fail(gearman_job_st *job, void *context, size_t *size, gearman_return_t *ret) {
  (void)job, (void)context;
  *size = 0;
  *ret = GEARMAN_WORK_FAIL;
  return NULL;
}

/* Everything that a job may send, then its result. */
static void *story(gearman_job_st *job, void *context, size_t *size, gearman_return_t *ret) {
  (void)context;
  gearman_job_send_data(job, "one", 3);
  gearman_job_send_warning(job, "careful", 7);
  gearman_job_send_status(job, 1, 2);
  gearman_job_send_data(job, "two", 3);
  gearman_job_send_status(job, 2, 2);
  *size = 5;
  *ret = GEARMAN_SUCCESS;
  return strdup("three");
}

static gearman_return_t fail(gearman_job_st *job, void *context) {
  (void)job, (void)context;
  return GEARMAN_FATAL;
}

static gearman_return_t exception(gearman_job_st *job, void *context) {
  (void)context;
  gearman_job_send_exception(job, "it broke", 8);
  return GEARMAN_SUCCESS;
}

/* Who am I: handle, function, unique. */
static gearman_return_t describe(gearman_job_st *job, void *context) {
  char text[512];
  (void)context;
  int size = snprintf(text, sizeof text, "%s %s %s", gearman_job_handle(job), gearman_job_function_name(job),
                      gearman_job_unique(job));
  return gearman_job_send_data(job, text, (size_t)size);
}

/* Reports 1 of 4, then waits at the named pipe in the workload, and answers with what comes through it. */
static gearman_return_t gate(gearman_job_st *job, void *context) {
  char path[512], text[512];
  (void)context;
  snprintf(path, sizeof path, "%.*s", (int)gearman_job_workload_size(job), (const char *)gearman_job_workload(job));
  gearman_job_send_status(job, 1, 4);
  FILE *pipe = fopen(path, "r");
  if (!pipe)
    return GEARMAN_FATAL;
  size_t size = fread(text, 1, sizeof text, pipe);
  fclose(pipe);
  return gearman_job_send_data(job, text, size);
}

/* The first to run it (by the file that the workload names) never ends; the next one answers. */
static gearman_return_t stuck_once(gearman_job_st *job, void *context) {
  char path[512];
  (void)context;
  snprintf(path, sizeof path, "%.*s", (int)gearman_job_workload_size(job), (const char *)gearman_job_workload(job));
  if (open(path, O_CREAT | O_EXCL | O_WRONLY, 0600) >= 0)
    for (;;)
      pause();
  return gearman_job_send_data(job, "second try", 10);
}

/* Prints its workload, so that a test sees the order of the jobs. */
static gearman_return_t note(gearman_job_st *job, void *context) {
  (void)context;
  printf("%.*s\n", (int)gearman_job_workload_size(job), (const char *)gearman_job_workload(job));
  fflush(stdout);
  return GEARMAN_SUCCESS;
}

/* Splits its workload at blanks and hands each word to the reducer that the client chose, if it chose one. */
static gearman_return_t split(gearman_job_st *job, void *context) {
  (void)context;
  char *words = strndup(gearman_job_workload(job), gearman_job_workload_size(job));
  for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
    gearman_job_send_data(job, word, strlen(word));
  free(words);
  return GEARMAN_SUCCESS;
}

/* Joins the results of the reducer with a plus sign. */
static gearman_return_t join(gearman_aggregator_st *aggregator, gearman_task_st *task, gearman_result_st *result) {
  char text[1024] = "";
  (void)aggregator;
  for (gearman_task_st *next = task; next; next = gearman_next(next)) {
    gearman_result_st *one = gearman_task_result(next);
    if (!one)
      return GEARMAN_WORK_FAIL;
    size_t used = strlen(text);
    snprintf(text + used, sizeof text - used, "%s%.*s", used ? "+" : "", (int)gearman_result_size(one),
             gearman_result_value(one));
  }
  return gearman_result_store_value(result, text, strlen(text));
}

static gearman_function_t ability(const char *name) {
  static const struct {
    const char *name;
    gearman_function_fn *function;
  } table[] = {{"reverse", reverse}, {"fail", fail}, {"exception", exception},
               {"describe", describe}, {"gate", gate}, {"note", note},
               {"stuck_once", stuck_once}};
  static const struct {
    const char *name;
    gearman_worker_fn *function;
  } old[] = {{"old_reverse", old_reverse}, {"old_fail", old_fail}, {"story", story}};

  for (size_t at = 0; at < sizeof table / sizeof *table; at++)
    if (!strcmp(table[at].name, name))
      return gearman_function_create(table[at].function);
  for (size_t at = 0; at < sizeof old / sizeof *old; at++)
    if (!strcmp(old[at].name, name))
      return gearman_function_create_v1(old[at].function);
  if (!strcmp(name, "split"))
    return gearman_function_create_partition(split, join);
  fprintf(stderr, "no ability %s\n", name);
  exit(2);
}

int main(int argc, char **argv) {
  gearman_worker_st *worker = gearman_worker_create(NULL);
  bool nonblocking = false, patient = false;
  gearman_worker_options_t grab = GEARMAN_WORKER_GRAB_UNIQ;
  const char *id = NULL;
  long jobs = -1;
  int option;

  while ((option = getopt(argc, argv, "+nrac:t:i:N:")) != -1) {
    switch (option) {
    case 'n': nonblocking = true; break;
    case 'a': grab = GEARMAN_WORKER_GRAB_ALL; break;
    case 'r': patient = true; break;
    case 'c': jobs = atol(optarg); break;
    case 't': gearman_worker_set_timeout(worker, atoi(optarg)); break;
    case 'i': id = optarg; break;
    case 'N': gearman_worker_set_namespace(worker, optarg, strlen(optarg)); break;
    default: return 2;
    }
  }
  if (argc - optind < 2)
    return 2;
  must(gearman_worker_add_servers(worker, argv[optind]), "servers", gearman_worker_error(worker));
  if (id)
    must(gearman_worker_set_identifier(worker, id, strlen(id)), id, gearman_worker_error(worker));
  if (wants_tls())
    gearman_worker_add_options(worker, GEARMAN_WORKER_SSL);
  if (nonblocking)
    gearman_worker_add_options(worker, GEARMAN_WORKER_NON_BLOCKING);
  gearman_worker_add_options(worker, grab);

  for (int at = optind + 1; at < argc; at++) {
    char *name = strsep(&argv[at], ":");
    char *kind = argv[at] ? strsep(&argv[at], ":") : name;
    uint32_t timeout = argv[at] ? (uint32_t)atoi(argv[at]) : 0;
    must(gearman_worker_define_function(worker, name, strlen(name), ability(kind), timeout, NULL), name,
         gearman_worker_error(worker));
  }

  unsigned long waits = 0;
  while (jobs) {
    gearman_return_t ret = gearman_worker_work(worker);
    if (nonblocking && (ret == GEARMAN_IO_WAIT || ret == GEARMAN_NO_JOBS)) {
      waits++;
      ret = gearman_worker_wait(worker);
      if (ret == GEARMAN_SUCCESS || ret == GEARMAN_NO_ACTIVE_FDS)
        continue;
    }
    if (ret == GEARMAN_TIMEOUT) {
      puts("TIMEOUT");
      break;
    }
    if (ret == GEARMAN_SUCCESS || ret == GEARMAN_WORK_FAIL || ret == GEARMAN_WORK_ERROR || ret == GEARMAN_WORK_EXCEPTION) {
      if (jobs > 0)
        jobs--;
      continue;
    }
    if (patient) {
      usleep(20000);
      continue;
    }
    fprintf(stderr, "gearman_worker_work: %s: %s\n", name_of(ret), gearman_worker_error(worker));
    return 1;
  }
  if (nonblocking)
    printf("waited %s\n", waits ? "yes" : "no");
  gearman_worker_free(worker);
  return 0;
}

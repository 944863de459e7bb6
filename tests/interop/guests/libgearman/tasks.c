/* tasks [-n] [-t MS] [-x] [-k normal|high|low|background|high_background|low_background] SERVERS FUNCTION=WORKLOAD...
 *
 * Many tasks at once, with every callback. Prints each event: its name, the workload's place, and what came.
 *   -n non-blocking mode   -x asks for exceptions   a FUNCTION of status: or unique: asks for a job's status
 */
#include "guest.h"

static gearman_return_t event(gearman_task_st *task, const char *name) {
  printf("%s %ld %.*s\n", name, (long)(intptr_t)gearman_task_context(task), (int)gearman_task_data_size(task),
         gearman_task_data(task) ? (const char *)gearman_task_data(task) : "");
  return GEARMAN_SUCCESS;
}

static gearman_return_t on_created(gearman_task_st *task) {
  printf("created %ld %s\n", (long)(intptr_t)gearman_task_context(task),
         *gearman_task_job_handle(task) ? "handle" : "nothing");
  return GEARMAN_SUCCESS;
}

static gearman_return_t on_data(gearman_task_st *task) { return event(task, "data"); }
static gearman_return_t on_warning(gearman_task_st *task) { return event(task, "warning"); }
static gearman_return_t on_complete(gearman_task_st *task) { return event(task, "complete"); }
static gearman_return_t on_exception(gearman_task_st *task) { return event(task, "exception"); }
static gearman_return_t on_fail(gearman_task_st *task) { return event(task, "fail"); }

static gearman_return_t on_status(gearman_task_st *task) {
  printf("status %ld %" PRIu32 "/%" PRIu32 " known=%d running=%d\n", (long)(intptr_t)gearman_task_context(task),
         gearman_task_numerator(task), gearman_task_denominator(task), gearman_task_is_known(task),
         gearman_task_is_running(task));
  return GEARMAN_SUCCESS;
}

typedef gearman_task_st *(add_fn)(gearman_client_st *, gearman_task_st *, void *, const char *, const char *,
                                  const void *, size_t, gearman_return_t *);

static add_fn *adder(const char *priority) {
  static const struct {
    const char *name;
    add_fn *function;
  } table[] = {{"normal", gearman_client_add_task},
               {"high", gearman_client_add_task_high},
               {"low", gearman_client_add_task_low},
               {"background", gearman_client_add_task_background},
               {"high_background", gearman_client_add_task_high_background},
               {"low_background", gearman_client_add_task_low_background}};
  for (size_t at = 0; at < sizeof table / sizeof *table; at++)
    if (!strcmp(table[at].name, priority))
      return table[at].function;
  exit(2);
}

int main(int argc, char **argv) {
  bool nonblocking = false, exceptions = false;
  const char *priority = "normal";
  int timeout = -1, option;

  while ((option = getopt(argc, argv, "+nxt:k:")) != -1) {
    switch (option) {
    case 'n': nonblocking = true; break;
    case 'x': exceptions = true; break;
    case 't': timeout = atoi(optarg); break;
    case 'k': priority = optarg; break;
    default: return 2;
    }
  }
  if (argc - optind < 2)
    return 2;
  gearman_client_st *client = client_of(argv[optind]);
  gearman_client_set_timeout(client, timeout);
  if (nonblocking)
    gearman_client_add_options(client, GEARMAN_CLIENT_NON_BLOCKING);
  if (exceptions)
    gearman_client_add_options(client, GEARMAN_CLIENT_EXCEPTION);
  gearman_client_set_created_fn(client, on_created);
  gearman_client_set_data_fn(client, on_data);
  gearman_client_set_warning_fn(client, on_warning);
  gearman_client_set_status_fn(client, on_status);
  gearman_client_set_complete_fn(client, on_complete);
  gearman_client_set_exception_fn(client, on_exception);
  gearman_client_set_fail_fn(client, on_fail);

  for (int at = optind + 1; at < argc; at++) {
    void *place = (void *)(intptr_t)(at - optind);
    char *function = strsep(&argv[at], "=");
    /* The library takes an empty workload only as NULL. */
    const char *workload = argv[at] && *argv[at] ? argv[at] : NULL;
    gearman_return_t ret;
    if (!strcmp(function, "status:"))
      gearman_client_add_task_status(client, NULL, place, workload, &ret);
    else if (!strcmp(function, "unique:"))
      gearman_client_add_task_status_by_unique(client, NULL, workload, &ret);
    else
      adder(priority)(client, NULL, place, function, NULL, workload, workload ? strlen(workload) : 0, &ret);
    must(ret, function, gearman_client_error(client));
  }

  unsigned long waits = 0;
  gearman_return_t ret;
  while ((ret = gearman_client_run_tasks(client)) == GEARMAN_IO_WAIT && nonblocking) {
    waits++;
    ret = gearman_client_wait(client);
    if (ret != GEARMAN_SUCCESS)
      break;
  }
  printf("%s%s\n", name_of(ret), waits ? " waited" : "");
  gearman_client_free(client);
  return 0;
}

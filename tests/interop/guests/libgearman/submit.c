/* submit [-k normal|high|low|epoch:SECONDS] [-u UNIQUE] SERVERS FUNCTION WORKLOAD...
 *
 * Background jobs, one for each workload. Prints their handles. epoch:2 runs two seconds from now.
 */
#include "guest.h"

typedef gearman_return_t(submit_fn)(gearman_client_st *, const char *, const char *, const void *, size_t,
                                    gearman_job_handle_t);

static void submit_at(gearman_client_st *client, const char *function, const char *unique, const char *workload,
                      time_t when) {
  gearman_task_attr_t at = gearman_task_attr_init_epoch(when, GEARMAN_JOB_PRIORITY_NORMAL);
  gearman_argument_t value = gearman_argument_make(NULL, 0, workload, strlen(workload));
  gearman_task_st *task = gearman_execute(client, function, strlen(function), unique, unique ? strlen(unique) : 0,
                                          &at, &value, NULL);
  must(task ? gearman_task_return(task) : GEARMAN_ERRNO, "gearman_execute", gearman_client_error(client));
  puts(gearman_task_job_handle(task));
  gearman_task_free(task);
}

int main(int argc, char **argv) {
  const char *unique = NULL, *priority = "normal";
  int option;

  while ((option = getopt(argc, argv, "+k:u:")) != -1) {
    switch (option) {
    case 'k': priority = optarg; break;
    case 'u': unique = optarg; break;
    default: return 2;
    }
  }
  if (argc - optind < 3)
    return 2;
  gearman_client_st *client = client_of(argv[optind]);
  const char *function = argv[optind + 1];
  submit_fn *submit = !strcmp(priority, "high") ? gearman_client_do_high_background
                    : !strcmp(priority, "low")  ? gearman_client_do_low_background
                                                : gearman_client_do_background;
  for (int at = optind + 2; at < argc; at++) {
    if (!strncmp(priority, "epoch:", 6)) {
      submit_at(client, function, unique, argv[at], time(NULL) + atoi(priority + 6));
      continue;
    }
    gearman_job_handle_t handle;
    must(submit(client, function, unique, argv[at], strlen(argv[at]), handle), function, gearman_client_error(client));
    puts(handle);
  }
  gearman_client_free(client);
  return 0;
}

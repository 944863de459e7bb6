/* reduce [-b] SERVERS PARTITION REDUCER WORKLOAD
 *
 * A job whose worker hands its pieces to another function and aggregates (SUBMIT_REDUCE_JOB, GRAB_JOB_ALL).
 *   -b in the background
 */
#include "guest.h"

int main(int argc, char **argv) {
  bool background = argc > 1 && !strcmp(argv[1], "-b");
  char **rest = argv + 2 + background;
  if (argc - 2 - background != 3)
    return 2;
  gearman_client_st *client = client_of(rest[-1]);
  gearman_task_attr_t kind = background ? gearman_task_attr_init_background(GEARMAN_JOB_PRIORITY_NORMAL)
                                        : gearman_task_attr_init(GEARMAN_JOB_PRIORITY_NORMAL);
  gearman_argument_t value = gearman_argument_make(NULL, 0, rest[2], strlen(rest[2]));
  gearman_task_st *task = gearman_execute_by_partition(client, rest[0], strlen(rest[0]), rest[1], strlen(rest[1]),
                                                       NULL, 0, &kind, &value, NULL);
  if (!task) {
    printf("%s %s\n", name_of(gearman_client_error_code(client)), gearman_client_error(client));
    return 1;
  }
  gearman_return_t ret = gearman_task_return(task);
  gearman_result_st *result = gearman_task_result(task);
  if (background)
    printf("%s %s\n", name_of(ret), *gearman_task_job_handle(task) ? "handle" : "nothing");
  else
    printf("%s %.*s\n", name_of(ret), result ? (int)gearman_result_size(result) : 0,
           result ? gearman_result_value(result) : "");
  gearman_task_free(task);
  gearman_client_free(client);
  return 0;
}

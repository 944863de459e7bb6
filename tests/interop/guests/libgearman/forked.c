/* forked SERVERS COUNT FUNCTION
 *
 * Forks so many workers from one that was already made, as prefork daemons do. Each serves the function, that
 * answers with its process id, until SIGTERM ends the parent and, with it, the children.
 */
#include "guest.h"

#include <signal.h>

static void *whoami(gearman_job_st *job, void *context, size_t *size, gearman_return_t *ret) {
  char *text = NULL;
  (void)job, (void)context;
  *size = (size_t)asprintf(&text, "%d", getpid());
  *ret = GEARMAN_SUCCESS;
  return text;
}

int main(int argc, char **argv) {
  if (argc != 4)
    return 2;
  int count = atoi(argv[2]);
  gearman_worker_st *master = gearman_worker_create(NULL);
  must(gearman_worker_add_servers(master, argv[1]), "servers", gearman_worker_error(master));

  for (int at = 0; at < count; at++) {
    if (fork())
      continue;
    gearman_worker_st *worker = gearman_worker_clone(NULL, master);
    must(gearman_worker_add_function(worker, argv[3], 0, whoami, NULL), argv[3], gearman_worker_error(worker));
    while (gearman_worker_work(worker) == GEARMAN_SUCCESS)
      ;
    _exit(1);
  }
  while (wait(NULL) > 0)
    ;
  return 1;
}

/* call [-k normal|high|low] [-u UNIQUE] [-t MS] [-N NAMESPACE] [-x] [-e TEXT] SERVERS FUNCTION WORKLOAD
 *
 * One foreground job with the blocking gearman_client_do family; a workload of @N is N bytes of 'x'.
 *   -x asks the server for exceptions   -e sends an echo first
 * Prints the return code and the result.
 */
#include "guest.h"

typedef void *(do_fn)(gearman_client_st *, const char *, const char *, const void *, size_t, size_t *,
                      gearman_return_t *);

int main(int argc, char **argv) {
  const char *unique = NULL, *namespace = NULL, *echo = NULL, *priority = "normal";
  bool exceptions = false;
  int timeout = -1, option;

  while ((option = getopt(argc, argv, "+k:u:t:N:xe:")) != -1) {
    switch (option) {
    case 'k': priority = optarg; break;
    case 'u': unique = optarg; break;
    case 't': timeout = atoi(optarg); break;
    case 'N': namespace = optarg; break;
    case 'x': exceptions = true; break;
    case 'e': echo = optarg; break;
    default: return 2;
    }
  }
  if (argc - optind != 3)
    return 2;
  gearman_client_st *client = client_of(argv[optind]);
  const char *function = argv[optind + 1];
  char *workload = argv[optind + 2];
  size_t size = strlen(workload);
  if (*workload == '@') {
    size = (size_t)atol(workload + 1);
    workload = malloc(size);
    memset(workload, 'x', size);
  }
  if (!size)
    workload = NULL; /* the library takes an empty workload only so */

  gearman_client_set_timeout(client, timeout);
  if (namespace)
    gearman_client_set_namespace(client, namespace, strlen(namespace));
  if (exceptions)
    gearman_client_add_options(client, GEARMAN_CLIENT_EXCEPTION);
  if (echo)
    must(gearman_client_echo(client, echo, strlen(echo)), "echo", gearman_client_error(client));

  do_fn *call = !strcmp(priority, "high") ? gearman_client_do_high
              : !strcmp(priority, "low")  ? gearman_client_do_low
                                          : gearman_client_do;
  for (;;) {
    size_t result_size = 0;
    gearman_return_t ret;
    double begun = seconds();
    char *result = call(client, function, unique, workload, size, &result_size, &ret);
    if (ret == GEARMAN_WORK_STATUS) {
      uint32_t numerator, denominator;
      gearman_client_do_status(client, &numerator, &denominator);
      printf("WORK_STATUS %" PRIu32 "/%" PRIu32 "\n", numerator, denominator);
    } else {
      printf("%s %.*s\n", name_of(ret), (int)result_size, result ? result : "");
    }
    free(result);
    if (ret == GEARMAN_TIMEOUT)
      fprintf(stderr, "%.3f\n", seconds() - begun);
    if (ret != GEARMAN_WORK_DATA && ret != GEARMAN_WORK_STATUS && ret != GEARMAN_WORK_WARNING)
      break;
  }
  gearman_client_free(client);
  return 0;
}

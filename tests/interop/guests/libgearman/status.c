/* status SERVERS handle|unique KEY
 *
 * Asks for a job's status by its handle or its unique. Prints: known running numerator/denominator
 * (and by handle the code of gearman_client_job_status without outputs, that tells the same in one word).
 */
#include "guest.h"

int main(int argc, char **argv) {
  if (argc != 4)
    return 2;
  gearman_client_st *client = client_of(argv[1]);
  if (!strcmp(argv[2], "unique")) {
    gearman_status_t status = gearman_client_unique_status(client, argv[3], strlen(argv[3]));
    must(gearman_status_return(status), "gearman_client_unique_status", gearman_client_error(client));
    printf("known=%d running=%d %" PRIu32 "/%" PRIu32 "\n", gearman_status_is_known(status),
           gearman_status_is_running(status), gearman_status_numerator(status), gearman_status_denominator(status));
  } else {
    bool known, running;
    uint32_t numerator, denominator;
    must(gearman_client_job_status(client, argv[3], &known, &running, &numerator, &denominator),
         "gearman_client_job_status", gearman_client_error(client));
    printf("known=%d running=%d %" PRIu32 "/%" PRIu32 " %s\n", known, running, numerator, denominator,
           name_of(gearman_client_job_status(client, argv[3], NULL, NULL, NULL, NULL)));
  }
  gearman_client_free(client);
  return 0;
}

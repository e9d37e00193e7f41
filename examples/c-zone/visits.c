/* Tells whoever connects how often he was here; five times a second at most.
 *
 * All workers share what they count, and so do those that come after them:
 * both dicts lie in the zone "visits", which reeve keeps (reeve.yaml beside
 * this file).  Kill whichever you like; `reeve dict visits keys` looks in. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <reeve/dict.h>
#include <reeve/limiter.h>
#include <reeve/loop.h>
#include <reeve/zone.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTENER = 3 }; /* The first descriptor that reeve passes. */

struct service {
    struct rv_dict *visits, *limits;
};

static void
answer(struct service *service, int fd, const char *address)
{
    const struct rv_rate_limit limit = {.per_second = 5, .burst = 10};
    struct rv_dict_value one = rv_dict_integer(1), none = rv_dict_integer(0);
    struct rv_dict_value sum = none;
    size_t n = strlen(address);
    int rc = rv_limiter_request(service->limits, address, n, &limit, NULL);
    if (!rc) {
        rc = rv_dict_incr(service->visits, address, n, &one, &none, 0, &sum);
    }
    if (rc < 0) {
        dprintf(fd, "%s: %s\n", address,
                rc == -EBUSY ? "not so fast" : strerror(-rc));
    } else {
        dprintf(fd, "%s: visit %" PRId64 ", served by %d\n", address,
                sum.integer, (int)getpid());
    }
}

static void
on_connection(struct rv_io *io, uint32_t events RV_UNUSED)
{
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    char address[INET_ADDRSTRLEN];
    int fd = accept4(io->fd, (struct sockaddr *)&from, &length,
                     SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) { /* No: another worker was faster. */
        inet_ntop(AF_INET, &from.sin_addr, address, sizeof address);
        answer(io->context, fd, address);
        close(fd);
    }
}

int
main(void)
{
    struct service service = {NULL, NULL};
    struct rv_zone *zone = NULL;
    struct rv_error error = {0, "cannot listen"};
    struct rv_loop loop;
    struct rv_io listener;
    rv_loop_hold_signals();
    rv_io_init(&listener, on_connection, &service);
    fcntl(LISTENER, F_SETFL, O_NONBLOCK);
    if (rv_zone_attach_by_name("visits", NULL, &zone, &error)
        || rv_dict_open(zone, "visits", NULL, &service.visits, &error)
        || rv_dict_open(zone, "limits", NULL, &service.limits, &error)
        || rv_loop_init(&loop)
        || rv_io_start(&loop, &listener, LISTENER, EPOLLIN)) {
        fprintf(stderr, "visits: %s\n", error.text);
        return 1;
    }
    int rc = rv_loop_run_until_signal_block(&loop);
    rv_io_stop(&listener);
    rv_loop_deinit(&loop);
    rv_dict_close(&service.limits);
    rv_dict_close(&service.visits);
    rv_zone_detach(&zone);
    return rc < 0;
}

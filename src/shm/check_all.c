/* Checking whatever is known in a zone. */
#include <errno.h>
#include <string.h>

#include "reeve/slab.h"
#include "shm/dict.h"
#include "shm/metric.h"
#include "shm/queue.h"

static int
check_dict(struct rv_zone *zone, const char *name, struct rv_error *error)
{
    struct rv_dict dict;
    int rc = rv__dict_find(zone, name, &dict);
    return rc ? rv_error_set(error, rc, "its root is damaged")
              : rv_dict_check(&dict, error);
}

static int
check_queue(struct rv_zone *zone, const char *name, struct rv_error *error)
{
    struct rv_queue *queue = NULL;
    int rc = rv_queue_open(zone, name, NULL, &queue, error);
    if (!rc) {
        rc = rv_queue_check(queue, error);
        rv_queue_close(&queue);
    }
    return rc;
}

static int
check_metrics(struct rv_zone *zone, const char *name, struct rv_error *error)
{
    struct rv_metrics *metrics = NULL;
    int rc = rv_metrics_open(zone, name, &metrics, error);
    if (!rc) {
        rc = rv_metrics_check(metrics, error);
        rv_metrics_close(&metrics);
    }
    return rc;
}

/* Checks what the root says that it is, if that is known. */
static int
check_structure(struct rv_zone *zone, const struct rv__root *root,
                struct rv_error *error)
{
    static const struct {
        uint64_t type;
        const char *what;
        int (*check)(struct rv_zone *zone, const char *name,
                     struct rv_error *error);
    } kinds[] = {
        {RV__DICT_TYPE, "dict", check_dict},
        {RV__QUEUE_TYPE, "queue", check_queue},
        {RV__METRICS_TYPE, "metrics", check_metrics},
    };
    char name[RV_ZONE_ROOT_NAME_BYTES];
    struct rv_error why = {.code = 0};
    memcpy(name, root->name, sizeof name);
    if (memchr(name, 0, sizeof name) == NULL
        || __atomic_load_n(&root->offset, __ATOMIC_RELAXED) == 0) {
        return 0; /* rv_zone_check says what is wrong with it. */
    }
    uint64_t type = __atomic_load_n(&root->type, __ATOMIC_RELAXED);
    for (size_t i = 0; i < RV_ARRAY_SIZE(kinds); i++) {
        int rc = type == kinds[i].type ? kinds[i].check(zone, name, &why) : 0;
        if (rc) {
            return rv_error_set(error, rc, "%s \"%s\": %s", kinds[i].what,
                                name, why.text);
        }
    }
    return 0;
}

int
rv_zone_check_all(struct rv_zone *zone, struct rv_error *error)
{
    int rc = rv_zone_check(zone, error);
    rc = rc ? rc : rv_slab_check(zone, error);
    for (size_t i = 0; i < RV_ZONE_ROOTS && !rc; i++) {
        rc = check_structure(zone, &rv__header_of(zone)->roots[i], error);
    }
    return rc;
}

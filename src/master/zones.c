/* Zones: made here, kept by the keeper, used by workers.
 *
 * The master never maps one and never waits for a lock in one: it makes the
 * file, changes its size, and passes its descriptor on.  What it knows of it
 * stands here and not in the zone, where any worker can write; only a restart
 * has to read that again.
 *
 * A configuration has one zone of a name.  While workers come and go there
 * may be several: a fresh one that a reload made (`noreuse`), and those that
 * only draining workers still have.  A number tells them apart in the store,
 * and the stored state says which one counts. */
#include "master/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "os/fd.h"
#include "reeve/log.h"

#define RV_LOG_THIS RV_LOG_MASTER

/* Only the user of reeve may open a zone by itself; workers of other users
 * get theirs open. */
enum { MODE = 0600 };

static const char *
tag_of(const struct rv_conf_zone *wanted)
{
    return wanted->tag ? wanted->tag : "";
}

static uint64_t
whole_pages(int64_t bytes)
{
    uint64_t page = RV_ZONE_PAGE_BYTES;
    return ((uint64_t)bytes + page - 1) / page * page;
}

void
rv__zone_entry_name(const struct rv__zone *zone, char name[RV_KEEPER_NAME])
{
    char number[16] = "";
    if (zone->number) {
        snprintf(number, sizeof number, "#%" PRIu32, zone->number);
    }
    snprintf(name, RV_KEEPER_NAME, "zone/%s%s", zone->info.name, number);
}

void
rv__zone_made_name(const struct rv__zone *zone, char name[RV_KEEPER_NAME])
{
    char entry[RV_KEEPER_NAME];
    rv__zone_entry_name(zone, entry);
    snprintf(name, RV_KEEPER_NAME, "made%s", entry + strlen("zone"));
}

/* Finding. */

typedef bool zone_predicate(const struct rv__zone *);

static bool
is_current(const struct rv__zone *zone)
{
    return zone->is_current;
}

static bool
is_next(const struct rv__zone *zone)
{
    return zone->is_next;
}

static bool
is_any(const struct rv__zone *zone)
{
    (void)zone;
    return true;
}

/* The newest zone of that name for which 'predicate' holds, or NULL. */
static struct rv__zone *
find(const struct rv__master *master, const char *name,
     zone_predicate *predicate)
{
    struct rv__zone *found = NULL;
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &master->zones) {
        struct rv__zone *zone = RV_CONTAINER_OF(node, struct rv__zone, node);
        if (!strcmp(zone->info.name, name) && predicate(zone)
            && (!found || zone->number > found->number)) {
            found = zone;
        }
    }
    return found;
}

struct rv__zone *
rv__zone_find(const struct rv__master *master, const char *name)
{
    return find(master, name, is_current);
}

/* Making. */

static struct rv_zone_settings
settings_of(const struct rv_conf_zone *wanted)
{
    return (struct rv_zone_settings){
        .name = wanted->name,
        .tag = tag_of(wanted),
        .size_bytes = (uint64_t)wanted->size_bytes,
        .max_size_bytes = (uint64_t)wanted->max_size_bytes,
        .n_members = (uint32_t)wanted->members,
    };
}

static int
create_memory(const struct rv_conf_zone *wanted, int *fdp,
              struct rv_error *error)
{
    struct rv_zone_settings settings = settings_of(wanted);
    int rc = rv_zone_create(&settings, fdp, error);
    if (!rc && fchmod(*fdp, MODE)) {
        rc = rv_error_errno(error, -errno, "mode");
        rv_fd_close(fdp);
    }
    return rc;
}

/* Beside its place, and then moved there, so that whoever is killed here
 * leaves no half of a zone. */
static int
create_file(const struct rv_conf_zone *wanted, struct rv_error *error)
{
    struct rv_zone_settings settings = settings_of(wanted);
    char *path = NULL;
    if (asprintf(&path, "%s.new", wanted->file) < 0) {
        return rv_error_errno(error, -ENOMEM, "%s", wanted->file);
    }
    unlink(path);
    int fd =
        open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, MODE);
    int rc = fd < 0 ? rv_error_errno(error, -errno, "%s", path)
                    : rv_zone_format(fd, &settings, error);
    if (!rc && rename(path, wanted->file)) {
        rc = rv_error_errno(error, -errno, "%s", wanted->file);
    }
    if (rc && fd >= 0) {
        unlink(path);
    }
    rv_fd_close(&fd);
    free(path);
    return rc;
}

/* The lock lasts as long as the descriptor: while any worker has it. */
static int
lock_file(int fd, struct rv_error *error)
{
    struct stat status;
    if (fstat(fd, &status)) {
        return rv_error_errno(error, -errno, "fstat");
    }
    if (!S_ISREG(status.st_mode)) {
        return rv_error_set(error, -EINVAL, "it is not a regular file");
    }
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        return rv_error_set(error, -EBUSY,
                            "another reeve, or a worker that is still there, "
                            "has it");
    }
    return 0;
}

/* Takes away what create_file made, unless something else is there by now. */
static bool
remove_file(int fd, const char *path)
{
    struct stat ours, found;
    return !fstat(fd, &ours) && !stat(path, &found)
           && ours.st_dev == found.st_dev && ours.st_ino == found.st_ino
           && !unlink(path);
}

static int
open_file(const struct rv_conf_zone *wanted, int *fdp, bool *is_madep,
          struct rv_error *error)
{
    struct rv_zone_settings settings = settings_of(wanted);
    struct stat status;
    int rc = 0;
    bool is_made = stat(wanted->file, &status) && errno == ENOENT;
    if (is_made) {
        rc = create_file(wanted, error);
    }
    if (rc) {
        return rc;
    }
    int fd = open(wanted->file, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    rc = fd < 0 ? rv_error_errno(error, -errno, "%s", "cannot open it")
                : lock_file(fd, error);
    if (!rc && !fstat(fd, &status) && !status.st_size) {
        rc = rv_zone_format(fd, &settings, error);
    }
    if (rc) {
        rv_error_wrap(error, "%s", wanted->file);
        rv_fd_close(&fd);
        return rc;
    }
    *fdp = fd;
    *is_madep = is_made;
    return 0;
}

/* What must be the same for a zone that is there to be the one that is
 * configured. */
static int
check_same(const struct rv_zone_info *info, const struct rv_conf_zone *wanted,
           struct rv_error *error)
{
    static const char remedy[] = "use another name, or stop and start reeve";
    char has[RV_STR_SIZE], wants[RV_STR_SIZE];
    if (strcmp(info->tag, tag_of(wanted)) != 0) {
        return rv_error_set(error, -EEXIST,
                            "holds tag \"%s\", the configuration says "
                            "\"%s\"; use another name, or %s",
                            info->tag, tag_of(wanted),
                            wanted->file ? "another file"
                                         : "`noreuse: on` for an empty one");
    }
    if (info->max_size_bytes != whole_pages(wanted->max_size_bytes)) {
        rv_str_format_size((int64_t)info->max_size_bytes, has);
        rv_str_format_size(wanted->max_size_bytes, wants);
        return rv_error_set(error, -EEXIST,
                            "was made for a max_size of %s, which cannot "
                            "become %s; %s",
                            has, wants, remedy);
    }
    if (info->n_members != (uint32_t)wanted->members) {
        return rv_error_set(error, -EEXIST,
                            "was made for %" PRIu32
                            " members, which cannot become %d; %s",
                            info->n_members, wanted->members, remedy);
    }
    return 0;
}

/* Takes the room of 'size_bytes' of heap on the disk: a worker that finds none
 * when it writes would be killed by SIGBUS. */
static int
reserve(int fd, const struct rv_zone_info *info, uint64_t size_bytes,
        struct rv_error *error)
{
    uint64_t end = info->file_bytes - info->max_size_bytes + size_bytes;
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)end)
        && errno != EOPNOTSUPP) {
        return rv_error_errno(error, -errno, "%" PRIu64 " bytes", end);
    }
    return 0;
}

/* For what a file holds, from a stop and a start ago or from somebody else. */
static int
check_file(int fd, const struct rv_conf_zone *wanted,
           struct rv_zone_info *info, struct rv_error *error)
{
    struct rv_error why;
    int rc = rv_zone_read_info(fd, info, &why);
    if (rc) {
        return rv_error_set(error, rc,
                            "%s: %s; move it away to begin with an empty zone",
                            wanted->file, why.text);
    }
    if (strcmp(info->name, wanted->name) != 0) {
        return rv_error_set(error, -EEXIST,
                            "%s holds the zone \"%s\"; name another file",
                            wanted->file, info->name);
    }
    rc = check_same(info, wanted, error);
    if (!rc) {
        rc = reserve(fd, info, info->size_bytes, error);
    }
    if (rc) {
        rv_error_wrap(error, "%s", wanted->file);
    }
    return rc;
}

static void
destroy(struct rv__zone *zone)
{
    rv_list_remove(&zone->node);
    rv_fd_close(&zone->fd);
    rv_fd_close(&zone->read_fd);
    free(zone->file);
    free(zone);
}

/* Consumes 'fd'.  'info' is what the zone has. */
static int
add(struct rv__master *master, int fd, const struct rv_conf_zone *wanted,
    const struct rv_zone_info *info, uint32_t number, struct rv__zone **zonep,
    struct rv_error *error)
{
    struct rv__zone *zone = calloc(1, sizeof *zone);
    char *file = wanted->file ? strdup(wanted->file) : NULL;
    if (!zone || (wanted->file && !file)) {
        free(zone);
        free(file);
        rv_fd_close(&fd);
        rv_error_errno(error, -ENOMEM, "zone");
        return -ENOMEM; /* Which tools that analyse see is not 0. */
    }
    zone->info = *info;
    zone->number = number;
    zone->file = file;
    zone->fd = fd;
    zone->read_fd = -1;
    rv_list_push_back(&master->zones, &zone->node);
    *zonep = zone;
    return 0;
}

/* A zone that is not there yet; or a file, which may be. */
static int
create(struct rv__master *master, const struct rv_conf_zone *wanted,
       struct rv__zone **zonep, struct rv_error *error)
{
    const struct rv__zone *last = find(master, wanted->name, is_any);
    struct rv_zone_info info;
    int fd = -1;
    bool is_made = false;
    int rc = wanted->file ? open_file(wanted, &fd, &is_made, error)
                          : create_memory(wanted, &fd, error);
    if (!rc) {
        rc = wanted->file ? check_file(fd, wanted, &info, error)
                          : rv_zone_read_info(fd, &info, error);
    }
    if (rc) {
        if (is_made) {
            remove_file(fd, wanted->file);
        }
        rv_fd_close(&fd);
        return rc;
    }
    uint32_t number = last ? last->number + 1 : 0;
    rc = add(master, fd, wanted, &info, number, zonep, error);
    if (!rc) {
        char name[RV_KEEPER_NAME];
        (*zonep)->is_made = is_made;
        (*zonep)->is_noted = is_made;
        if (is_made) { /* First: whoever dies in between leaves no file. */
            rv__zone_made_name(*zonep, name);
            rv__master_put(master, name, fd);
        }
        rv__zone_entry_name(*zonep, name);
        rv__master_put(master, name, fd);
    }
    return rc;
}

/* From the store of the last master.  Whatever workers made of its contents,
 * the zone is the one that it was. */
static int
take_stored(struct rv__master *master, const struct rv_conf_zone *wanted,
            uint32_t number, struct rv__zone **zonep, struct rv_error *error)
{
    struct rv__zone named = {.number = number};
    char name[RV_KEEPER_NAME];
    struct rv_zone_info info = {
        .size_bytes = whole_pages(wanted->size_bytes),
        .max_size_bytes = whole_pages(wanted->max_size_bytes),
        .n_members = (uint32_t)wanted->members,
    };
    rv_str_copy(named.info.name, sizeof named.info.name, wanted->name);
    rv_str_copy(info.name, sizeof info.name, wanted->name);
    rv_str_copy(info.tag, sizeof info.tag, tag_of(wanted));
    rv__zone_entry_name(&named, name);
    int fd = rv__master_take_entry(master, name);
    if (fd < 0) {
        return -ENOENT;
    }
    struct rv_zone_info found;
    if (rv_zone_read_info(fd, &found, error)) {
        rv_log_err("zone \"%s\": %s", wanted->name, error->text);
    } else {
        info.size_bytes = found.size_bytes;
        info.file_bytes = found.file_bytes;
    }
    return add(master, fd, wanted, &info, number, zonep, error);
}

/* Opening what a configuration wants. */

/* Whether the zone that is there may stay for 'wanted'. */
static int
check_kept(struct rv__master *master, const struct rv__zone *zone,
           const struct rv_conf_zone *wanted, struct rv_error *error)
{
    int rc = check_same(&zone->info, wanted, error);
    if (rc) {
        return rc;
    }
    bool is_moved = !zone->file != !wanted->file
                    || (zone->file && strcmp(zone->file, wanted->file) != 0);
    if (is_moved) {
        return rv_error_set(error, -EEXIST,
                            "lies in %s and cannot move to %s; use another "
                            "name, or stop and start reeve",
                            zone->file ? zone->file : "memory",
                            wanted->file ? wanted->file : "memory");
    }
    const struct rv_conf_zone *old =
        rv_conf_find_zone(master->conf->conf, wanted->name);
    if (old && wanted->size_bytes < old->size_bytes
        && whole_pages(wanted->size_bytes) < zone->info.size_bytes) {
        char has[RV_STR_SIZE], wants[RV_STR_SIZE];
        rv_str_format_size((int64_t)zone->info.size_bytes, has);
        rv_str_format_size(wanted->size_bytes, wants);
        return rv_error_set(error, -EEXIST,
                            "has %s, the configuration says %s; make it "
                            "smaller first: reeve zone resize %s %s",
                            has, wants, wanted->name, wants);
    }
    return 0;
}

/* The zone for 'wanted', which is not grown yet. */
static int
open_one(struct rv__master *master, const struct rv_conf_zone *wanted,
         const struct rv__zones_source *source, struct rv__zone **zonep,
         struct rv_error *error)
{
    struct rv_error ignored;
    struct rv__zone *zone = find(master, wanted->name, is_current);
    bool is_fresh = wanted->noreuse && source->is_reload;
    if (zone && !is_fresh) {
        int rc = check_kept(master, zone, wanted, error);
        if (!rc) {
            *zonep = zone;
        }
        return rc;
    }
    zone = is_fresh ? NULL : find(master, wanted->name, is_any);
    if (zone && !check_kept(master, zone, wanted, &ignored)) {
        *zonep = zone; /* It was going, and comes back. */
        return 0;
    }
    for (size_t i = 0; source->state && i < source->state->n_zones; i++) {
        const struct rv__state_zone *known = &source->state->zones[i];
        if (!strcmp(known->name, wanted->name)) {
            int rc = take_stored(master, wanted, known->number, zonep, error);
            if (rc != -ENOENT) {
                return rc;
            }
            rv_log_err("zone \"%s\" was lost, and begins anew", wanted->name);
        }
    }
    return create(master, wanted, zonep, error);
}

/* Makes it at least as large as wanted. */
static int
grow(struct rv__zone *zone, uint64_t size_bytes, struct rv_error *error)
{
    size_bytes = whole_pages((int64_t)size_bytes);
    if (size_bytes <= zone->info.size_bytes) {
        return 0;
    }
    int rc = 0;
    if (zone->file) {
        rc = reserve(zone->fd, &zone->info, size_bytes, error);
    }
    if (!rc) {
        rc = rv_zone_grow(zone->fd, size_bytes, error);
    }
    if (!rc) {
        char text[RV_STR_SIZE];
        zone->info.size_bytes = size_bytes;
        rv_str_format_size((int64_t)size_bytes, text);
        rv_log_info("zone \"%s\" has %s now", zone->info.name, text);
    }
    return rc;
}

static int
open_all(struct rv__master *master, const struct rv_conf *conf,
         const struct rv__zones_source *source, struct rv__zone **zones,
         struct rv_error *error)
{
    int rc = 0;
    size_t i;
    for (i = 0; !rc && i < conf->n_zones; i++) {
        rc = open_one(master, &conf->zones[i], source, &zones[i], error);
        zones[i] = rc ? NULL : zones[i];
        if (!rc) {
            zones[i]->is_wanted = true;
        }
    }
    /* What cannot be taken back comes last. */
    for (size_t k = 0; !rc && source->may_grow && k < conf->n_zones; k++) {
        rc = grow(zones[k], (uint64_t)conf->zones[k].size_bytes, error);
        i = k + 1;
    }
    if (rc) {
        rv_error_wrap(error, "zone \"%s\"", conf->zones[i - 1].name);
    }
    return rc;
}

int
rv__zones_open(struct rv__master *master, const struct rv_conf *conf,
               const struct rv__zones_source *source, struct rv_error *error)
{
    struct rv_list *node;
    struct rv__zone **zones = calloc(conf->n_zones + 1, sizeof *zones);
    if (!zones) {
        return rv_error_errno(error, -ENOMEM, "zones");
    }
    int rc = open_all(master, conf, source, zones, error);
    free(zones);
    RV_LIST_FOR_EACH (node, &master->zones) {
        struct rv__zone *zone = RV_CONTAINER_OF(node, struct rv__zone, node);
        zone->is_next = rc ? zone->is_next : zone->is_wanted;
        zone->is_wanted = false;
    }
    rv__zones_collect(master);
    return rc;
}

/* The next master need not remove the file of the zone any more. */
static void
drop_note(struct rv__master *master, struct rv__zone *zone)
{
    if (zone->is_noted) {
        char name[RV_KEEPER_NAME];
        rv__zone_made_name(zone, name);
        rv__master_drop(master, name);
        zone->is_noted = false;
    }
}

void
rv__zones_commit(struct rv__master *master)
{
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &master->zones) {
        struct rv__zone *zone = RV_CONTAINER_OF(node, struct rv__zone, node);
        zone->is_current = zone->is_next;
        zone->is_next = false;
        zone->is_made = zone->is_made && !zone->is_current;
    }
}

void
rv__zones_roll_back(struct rv__master *master)
{
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &master->zones) {
        RV_CONTAINER_OF(node, struct rv__zone, node)->is_next = false;
    }
    rv__zones_collect(master);
}

void
rv__zones_collect(struct rv__master *master)
{
    struct rv_list *node, *next;
    RV_LIST_FOR_EACH_SAFE (node, next, &master->zones) {
        struct rv__zone *zone = RV_CONTAINER_OF(node, struct rv__zone, node);
        char name[RV_KEEPER_NAME];
        if (!zone->is_made && !master->is_state_stale) {
            drop_note(master, zone); /* The stored state has the zone. */
        }
        if (zone->is_current || zone->is_next || zone->n_workers) {
            continue;
        }
        rv__zone_entry_name(zone, name);
        rv_log_info("closing %s", name);
        rv__master_drop(master, name);
        if (zone->is_made) {
            remove_file(zone->fd, zone->file);
        }
        drop_note(master, zone);
        destroy(zone);
    }
}

void
rv__zones_close_all(struct rv__master *master)
{
    struct rv_list *node, *next;
    RV_LIST_FOR_EACH_SAFE (node, next, &master->zones) {
        destroy(RV_CONTAINER_OF(node, struct rv__zone, node));
    }
}

static bool
has_file(const struct rv__master *master, const struct stat *status)
{
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, &master->zones) {
        struct stat ours;
        if (fstat(RV_CONTAINER_OF(node, struct rv__zone, node)->fd, &ours)
            || (ours.st_dev == status->st_dev
                && ours.st_ino == status->st_ino)) {
            return true; /* Or unknown. */
        }
    }
    return false;
}

void
rv__zones_bury(const struct rv__master *master, const char *name, int fd)
{
    char link[64], path[PATH_MAX];
    struct stat status;
    if (strncmp(name, "made/", strlen("made/")) || fstat(fd, &status)
        || has_file(master, &status)) {
        return;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n > 0) {
        path[n] = '\0';
        if (remove_file(fd, path)) {
            rv_log_info("removed %s, which was made for a configuration that "
                        "never was in force",
                        path);
        }
    }
}

/* For workers. */

bool
rv__zones_are_fresh(const struct rv__master *master,
                    const struct rv_conf_service *service)
{
    for (size_t i = 0; i < service->n_zones; i++) {
        const char *name = service->zones[i].name;
        if (find(master, name, is_next) != find(master, name, is_current)) {
            return true;
        }
    }
    return false;
}

int
rv__zones_hold(struct rv__worker *worker)
{
    struct rv__master *master = worker->master;
    const struct rv_conf_service *service = worker->service;
    bool is_candidate = master->next_conf && worker->conf == master->next_conf;
    worker->zones = calloc(service->n_zones + 1, sizeof(struct rv__zone *));
    if (!worker->zones) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < service->n_zones; i++) {
        struct rv__zone *zone = find(master, service->zones[i].name,
                                     is_candidate ? is_next : is_current);
        if (!zone) {
            return -EBADF;
        }
        worker->zones[worker->n_zones++] = zone;
        zone->n_workers++;
    }
    return 0;
}

void
rv__zones_release(struct rv__worker *worker)
{
    while (worker->n_zones) {
        worker->zones[--worker->n_zones]->n_workers--;
    }
    free(worker->zones);
    worker->zones = NULL;
}

int
rv__zone_worker_fd(struct rv__zone *zone, bool is_read_only)
{
    char path[64];
    if (!is_read_only) {
        return zone->fd;
    }
    if (zone->read_fd < 0) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", zone->fd);
        zone->read_fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    return zone->read_fd < 0 ? -errno : zone->read_fd;
}

/* For people. */

static uint64_t
memory_of(const struct rv__zone *zone)
{
    struct stat status;
    return fstat(zone->fd, &status) ? 0 : (uint64_t)status.st_blocks * 512;
}

static json_t *
services_json(const struct rv_conf *conf, const char *name)
{
    json_t *array = json_array();
    for (size_t i = 0; i < conf->n_services; i++) {
        const struct rv_conf_service *service = &conf->services[i];
        for (size_t k = 0; k < service->n_zones; k++) {
            if (!strcmp(service->zones[k].name, name)) {
                json_array_append_new(array, json_string(service->name));
            }
        }
    }
    return array;
}

json_t *
rv__zones_json(const struct rv__master *master)
{
    const struct rv_conf *conf = master->conf->conf;
    json_t *array = json_array();
    for (size_t i = 0; i < conf->n_zones; i++) {
        const struct rv__zone *zone =
            find(master, conf->zones[i].name, is_current);
        if (!zone) {
            continue; /* Not opened yet: the start is under way. */
        }
        json_t *object = json_pack(
            "{s:s, s:s, s:I, s:I, s:I, s:i, s:b, s:i, s:o}", "name",
            zone->info.name, "tag", zone->info.tag, "size",
            (json_int_t)zone->info.size_bytes, "max_size",
            (json_int_t)zone->info.max_size_bytes, "memory_bytes",
            (json_int_t)memory_of(zone), "members", (int)zone->info.n_members,
            "noreuse", conf->zones[i].noreuse, "workers", zone->n_workers,
            "services", services_json(conf, zone->info.name));
        if (object && zone->file) {
            json_object_set_new(object, "file",
                                json_string_nocheck(zone->file));
        }
        json_array_append_new(array, object);
    }
    return array;
}

int
rv__zone_resize(struct rv__zone *zone, uint64_t size_bytes, bool is_trimmed,
                struct rv_error *error)
{
    uint64_t pages = size_bytes <= RV_ZONE_SIZE_MAX_BYTES
                         ? whole_pages((int64_t)size_bytes)
                         : size_bytes;
    if (pages > zone->info.max_size_bytes || !pages) {
        char text[RV_STR_SIZE];
        rv_str_format_size((int64_t)zone->info.max_size_bytes, text);
        return rv_error_set(error, -ERANGE,
                            "zone \"%s\" can have from one page to %s",
                            zone->info.name, text);
    }
    if (pages >= zone->info.size_bytes) {
        int rc = grow(zone, pages, error);
        if (rc) {
            rv_error_wrap(error, "zone \"%s\"", zone->info.name);
        }
        return rc;
    }
    if (!is_trimmed) {
        return rv_error_set(error, -EBUSY,
                            "only `reeve zone resize` makes a zone smaller, "
                            "for it looks whether the pages are free");
    }
    int rc = rv_zone_shrink(zone->fd, pages, error);
    if (rc) {
        rv_error_wrap(error, "zone \"%s\"", zone->info.name);
    } else {
        zone->info.size_bytes = pages;
    }
    return rc;
}

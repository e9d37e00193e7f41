/* Zones: memory that processes share and that outlives each of them.
 *
 * Room: shm.  Threads: a handle belongs to the thread that attached it.
 * Blocks: only where it says so.  Source: memfd_create(2), mmap(2),
 * get_robust_list(2); the failure model of "timely sufficient persistence"
 * (HPL-2014-70): processes die at any instruction, memory stays coherent.
 *
 * A zone is a file (mostly a sealed memfd) that every member maps whole, each
 * at an address of its own, so that what lies in it is addressed by offsets.
 * All changes are transactions (reeve/tx.h): a process killed at any
 * instruction leaves the state before its transaction or the one after it.
 *
 *     // one process, mostly the master, which never maps the zone
 *     struct rv_zone_settings settings = {.name = "sessions", .tag = "v1",
 *                                         .size_bytes = 8 << 20,
 *                                         .max_size_bytes = 64 << 20};
 *     rc = rv_zone_create(&settings, &fd, &error);
 *
 *     // every thread that takes part
 *     struct rv_zone *zone;
 *     rc = rv_zone_attach(fd, NULL, &zone, &error);
 *     ... transactions ...
 *     rc = rv_zone_detach(&zone);
 *
 * Wrong: to use a handle in a child of fork(2) (it answers -ECHILD; the child
 * attaches anew, and has no mapping of the parent's) or in another thread
 * (rv_zone_join gives that one its own).
 * Wrong: members in different pid namespaces, for lock words hold thread ids
 * (attaching beside a living member of another namespace is refused).
 *
 * The file: a header, a life word and a slot (undo log, magazines) for each
 * member, the page map, the heap.  All but the heap is laid out for the
 * maximal size at once and sparse; bytes that nobody wrote are zero, and zero
 * means empty in every structure.  Growing the zone makes the file longer;
 * nobody maps anything anew.
 */
#ifndef REEVE_ZONE_H
#define REEVE_ZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reeve/base.h"
#include "reeve/error.h"

RV_BEGIN_DECLARATIONS

struct rv_lock;
struct rv_zone;

enum {
    RV_ZONE_PAGE_BYTES = 4096,
    RV_ZONE_NAME_BYTES = 64, /* With the final NUL, as all of these. */
    RV_ZONE_TAG_BYTES = 64,
    RV_ZONE_MEMBERS_DEFAULT = 64,
    RV_ZONE_MEMBERS_MAX = 1024,
    RV_ZONE_ROOTS = 32,
    RV_ZONE_ROOT_NAME_BYTES = 32,
    RV_ZONE_ROOT_WORDS = 6, /* What rv_zone_root_set adds to a transaction. */
};

/* The longest heap: offsets are 36 bits. */
#define RV_ZONE_SIZE_MAX_BYTES ((uint64_t)60 << 30)

/* ------------------------------------------------ by whoever owns the file */

/* How to make a zone.  Zero and NULL: the default. */
struct rv_zone_settings {
    const char *name;        /* Required. */
    const char *tag;         /* Type and version of what lies in it; "". */
    uint64_t size_bytes;     /* Of the heap; required; rounded up to pages. */
    uint64_t max_size_bytes; /* How far it may grow; 'size_bytes'. */
    uint32_t n_members;      /* Threads at one time; 64. */
    bool is_exchange; /* Locks are released by an exchange, which costs some
                       * 6 ns and spares members membarrier(2): for those
                       * that may not call it.  Set by itself where the
                       * kernel refuses it. */
};

/* What a zone says of itself. */
struct rv_zone_info {
    char name[RV_ZONE_NAME_BYTES];
    char tag[RV_ZONE_TAG_BYTES];
    uint64_t size_bytes;
    uint64_t max_size_bytes;
    uint64_t file_bytes; /* That the file has at 'max_size_bytes'. */
    uint32_t n_members;
    bool is_exchange;
    uint64_t identity; /* Random, a zone: two zones of a name differ. */
};

/* Creates a memfd, formats it and seals it against shrinking and further
 * seals; the caller owns '*fdp'.  As rv_zone_format, and as memfd_create(2). */
int rv_zone_create(const struct rv_zone_settings *settings, int *fdp,
                   struct rv_error *error) RV_MUST_CHECK;

/* Makes the empty file 'fd' (borrowed, writable) a zone, by ftruncate(2) and
 * pwrite(2) alone; nothing is mapped.  -EEXIST: the file is not empty;
 * -EINVAL: settings out of range; as ftruncate(2) and pwrite(2).  A file that
 * was not finished is refused by whoever attaches it. */
int rv_zone_format(int fd, const struct rv_zone_settings *settings,
                   struct rv_error *error) RV_MUST_CHECK;

/* Reads and checks the header of 'fd' (borrowed, readable) without mapping
 * it.  -EUCLEAN: foreign, torn, damaged or short, the sentence says what;
 * -EPROTONOSUPPORT: another layout version; as pread(2). */
int rv_zone_read_info(int fd, struct rv_zone_info *info,
                      struct rv_error *error) RV_MUST_CHECK;

/* Grows the heap to 'size_bytes', rounded up to pages, while members use it;
 * they see the new size by themselves.  Its own size again repairs a size
 * that was torn.  -ERANGE beyond the maximum or below the present size; else
 * as rv_zone_read_info, ftruncate(2), pwrite(2).  One process at a time. */
int rv_zone_grow(int fd, uint64_t size_bytes, struct rv_error *error)
    RV_MUST_CHECK;

/* Makes the heap shorter, to 'size_bytes' rounded up to pages, and gives the
 * memory behind it back.  Those pages must be out of use: rv_slab_trim_tail
 * sees to that.  -EBUSY when they are not, or are no longer because another
 * gave them back meanwhile; the zone is as it was.  The file keeps its length.
 * Its own size again gives back what a shrink that was killed left behind it.
 * -ERANGE above the present size and for 0; else as rv_zone_grow. */
int rv_zone_shrink(int fd, uint64_t size_bytes, struct rv_error *error)
    RV_MUST_CHECK;

/* ----------------------------------------------------------------- members */

/* How to attach.  NULL in place of this: all default. */
struct rv_zone_options {
    bool is_read_only; /* Takes no slot, maps without PROT_WRITE, and cannot
                        * begin transactions. */
    const char *name;  /* Refuse another name; NULL: any. */
    const char *tag;   /* Refuse another tag; NULL: any. */
};

/* Maps the zone 'fd' (borrowed; may be closed afterwards) and takes a member
 * slot for the calling thread; the caller owns '*zonep'.  A slot whose member
 * died is taken over, its unfinished transaction undone first; that may wait
 * for a lock.  Members of another boot of the machine are dead, whoever has
 * their thread ids now, in a file that outlived it or came from elsewhere; the
 * first who attaches in a boot sees to that, under an fcntl(2) lock on a byte
 * far behind the end of the file, and others wait for it, at most some 2 s.
 * Wrong: to hold locks of fcntl(2) of one's own on that file: F_SETLK loses
 * them when any descriptor of it is closed, as this does.
 * As rv_zone_read_info, and:
 *   -EEXIST          name or tag differ
 *   -EAGAIN          all members' slots are in use by living threads
 *   -EBUSY           who was first after a boot does not finish
 *   -EXDEV           a living member is of another pid namespace
 *   -EDEADLK         the thread has an open transaction, or is the child of a
 *                    fork within one (reeve/tx.h)
 *   -EOPNOTSUPP      membarrier(2) or get_robust_list(2) is refused
 *   -EACCES, -ENOMEM as mmap(2); after a boot also as fcntl(2) */
int rv_zone_attach(int fd, const struct rv_zone_options *options,
                   struct rv_zone **zonep, struct rv_error *error)
    RV_MUST_CHECK;

/* As rv_zone_attach for the zone that reeve gave this process under 'name':
 * the variable REEVE_ZONES says which descriptor it is.  The descriptor stays
 * open, for other threads and for children.  Where the configuration says
 * `access: read`, 'options' must say is_read_only, or it is -EACCES.
 * -ENOENT: there is no such zone, the sentence says which there are. */
int rv_zone_attach_by_name(const char *name,
                           const struct rv_zone_options *options,
                           struct rv_zone **zonep, struct rv_error *error)
    RV_MUST_CHECK;

/* A handle of the calling thread over the mapping of 'zone', which another
 * thread of the same process has and keeps attached during the call.  Errors
 * as those of rv_zone_attach, and -ECHILD. */
int rv_zone_join(const struct rv_zone *zone, struct rv_zone **zonep,
                 struct rv_error *error) RV_MUST_CHECK;

/* Aborts an open transaction, gives the slot back and sets '*zonep' to NULL;
 * the last handle of a mapping unmaps it.  In a child of fork it only frees
 * the handle.  NULL in '*zonep' is fine.  -EPERM: another thread attached it;
 * nothing is done. */
int rv_zone_detach(struct rv_zone **zonep);

/* Undoes what dead members left unfinished and frees their slots; returns how
 * many there were.  Attaching does so for the slot it takes; this is for
 * whoever learned of a death or lacks memory.  Waits for locks.  -EDEADLK in
 * a transaction, -EROFS, -ECHILD. */
int rv_zone_heal(struct rv_zone *zone);

/* Walks all that the zone itself keeps (header, roots, slots, logs).  Reads
 * only, never crashes and ends on any bytes.  -EUCLEAN and a sentence. */
int rv_zone_check(const struct rv_zone *zone, struct rv_error *error)
    RV_MUST_CHECK;

/* As rv_zone_check, then rv_slab_check, then the check of each dict, queue
 * and metrics that is a root of the zone; the sentence names it.  Exact under
 * the conditions of those.  As they, and -ENOMEM. */
int rv_zone_check_all(struct rv_zone *zone, struct rv_error *error)
    RV_MUST_CHECK;

/* Bytes of heap at present. */
uint64_t rv_zone_size_bytes(const struct rv_zone *zone);

/* What the zone said of itself when it was attached, with the present size. */
void rv_zone_get_info(const struct rv_zone *zone, struct rv_zone_info *info);

/* ----------------------------------------------------------------- places */

/* The first offset of the heap, and the first behind it at present. */
uint64_t rv_zone_heap_begin(const struct rv_zone *zone);
uint64_t rv_zone_heap_end(const struct rv_zone *zone);

/* The address of 'n_bytes' at 'offset' of the zone, or NULL when they do not
 * lie in the heap; 0 is nobody's offset.  Borrowed until detached. */
void *rv_zone_at(const struct rv_zone *zone, uint64_t offset, size_t n_bytes);

/* The offset of 'place', or 0 when it does not lie in the heap. */
uint64_t rv_zone_offset(const struct rv_zone *zone, const void *place);

/* ------------------------------------------------------------------ roots */

/* The lock under which roots are set. */
struct rv_lock *rv_zone_root_lock(struct rv_zone *zone);

/* Finds the root 'name': its offset, and what 'type' was given with it.
 * Takes no lock, so that it also serves read-only handles; it may show what
 * an open transaction of another member set.  Under the root lock it is
 * exact.  -ENOENT. */
int rv_zone_root_get(const struct rv_zone *zone, const char *name,
                     uint64_t *typep, uint64_t *offsetp);

/* Sets the root 'name' (1 to 31 bytes) in the open transaction of 'zone',
 * which must be one on rv_zone_root_lock with RV_ZONE_ROOT_WORDS left.
 * 'offset' lies in the heap, or is 0: the root is gone, but its name keeps
 * its place in the table.  -EINVAL, -EFAULT, -ENOSPC: all names are used;
 * -EPERM: no such transaction; as rv_tx_set64. */
int rv_zone_root_set(struct rv_zone *zone, const char *name, uint64_t type,
                     uint64_t offset) RV_MUST_CHECK;

RV_END_DECLARATIONS

#endif

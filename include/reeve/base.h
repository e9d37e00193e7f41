/* The few macros that every room uses.
 *
 * Room: base.  Blocks: never.  Threads: any.
 *
 * Assertions stay on in production: a broken invariant in the master ends the
 * master, and the keeper starts it again from the store.  Never assert on
 * bytes that a worker or a client can write: check those and return an error.
 */
#ifndef REEVE_BASE_H
#define REEVE_BASE_H

#include <stddef.h>
#include <stdint.h>

/* Around what a public header declares: C names, and exported from the shared
 * library, which hides all others. */
#ifdef __cplusplus
#  define RV_BEGIN_DECLARATIONS                        \
    _Pragma("GCC visibility push(default)") extern "C" \
    {
#  define RV_END_DECLARATIONS \
    }                         \
    _Pragma("GCC visibility pop")
#else
#  define RV_BEGIN_DECLARATIONS _Pragma("GCC visibility push(default)")
#  define RV_END_DECLARATIONS   _Pragma("GCC visibility pop")
#endif

#define RV_PRINTF(FMT, ARGS) __attribute__((format(printf, FMT, ARGS)))
#define RV_NORETURN          __attribute__((noreturn))
#define RV_MUST_CHECK        __attribute__((warn_unused_result))
#define RV_UNUSED            __attribute__((unused))

#define RV_ARRAY_SIZE(A) (sizeof(A) / sizeof((A)[0]))

/* The struct TYPE whose 'MEMBER' is at 'POINTER'. */
#define RV_CONTAINER_OF(POINTER, TYPE, MEMBER) \
  ((TYPE *)(void *)((char *)(POINTER)-offsetof(TYPE, MEMBER)))

#define RV_MIN(A, B) ((A) < (B) ? (A) : (B))
#define RV_MAX(A, B) ((A) > (B) ? (A) : (B))

RV_BEGIN_DECLARATIONS

/* Ends the process by SIGABRT with the place of the broken invariant. */
RV_NORETURN void rv_assert_failed(const char *expression, const char *file,
                                  int line);

RV_END_DECLARATIONS

#define RV_ASSERT(X)                            \
  do {                                          \
    if (!(X)) {                                 \
      rv_assert_failed(#X, __FILE__, __LINE__); \
    }                                           \
  } while (0)

/* "a implies b", which reads better than "!a || b" in an invariant. */
#define RV_IMPLIES(A, B) (!(A) || (B))

#endif

/* The sets of functions that gcc 12 and clang 14 call.  They have no header:
 * the compilers know their types. */
#include "hooks.h"

#include <stdint.h>

#if defined(__clang__)
#  pragma clang diagnostic ignored "-Wmissing-prototypes"
#else
#  pragma GCC diagnostic ignored "-Wmissing-prototypes"
#  pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"
#endif

void
__tsan_init(void)
{
}

void
__tsan_func_entry(void *caller)
{
    (void)caller;
}

void
__tsan_func_exit(void)
{
}

#define NOTHING(NAME)     \
  void NAME(void *place); \
  void NAME(void *place)  \
  {                       \
    (void)place;          \
  }

#define STORE(NAME, N)    \
  void NAME(void *place); \
  void NAME(void *place)  \
  {                       \
    hook_store(place, N); \
  }

#define PLAIN(N)                               \
  NOTHING(__tsan_read##N)                      \
  NOTHING(__tsan_unaligned_read##N)            \
  NOTHING(__tsan_volatile_read##N)             \
  NOTHING(__tsan_unaligned_volatile_read##N)   \
  STORE(__tsan_write##N, N)                    \
  STORE(__tsan_unaligned_write##N, N)          \
  STORE(__tsan_volatile_write##N, N)           \
  STORE(__tsan_unaligned_volatile_write##N, N) \
  STORE(__tsan_read_write##N, N)               \
  STORE(__tsan_unaligned_read_write##N, N)

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

void
__tsan_read_range(void *place, size_t n)
{
    (void)place;
    (void)n;
}

void
__tsan_write_range(void *place, size_t n)
{
    hook_store(place, n);
}

/* One thread only, so nothing here is atomic. */
#define CHANGE(BITS, TYPE, NAME, NEW)                                \
  TYPE __tsan_atomic##BITS##_##NAME(TYPE *place, TYPE value, int o); \
  TYPE __tsan_atomic##BITS##_##NAME(TYPE *place, TYPE value, int o)  \
  {                                                                  \
    (void)o;                                                         \
    hook_store(place, sizeof *place);                                \
    TYPE old = *place;                                               \
    *place = (TYPE)(NEW);                                            \
    return old;                                                      \
  }

#define COMPARE(BITS, TYPE, NAME)                                           \
  int __tsan_atomic##BITS##_##NAME(TYPE *place, TYPE *expected, TYPE value, \
                                   int o, int failed);                      \
  int __tsan_atomic##BITS##_##NAME(TYPE *place, TYPE *expected, TYPE value, \
                                   int o, int failed)                       \
  {                                                                         \
    (void)o;                                                                \
    (void)failed;                                                           \
    if (*place != *expected) {                                              \
      *expected = *place;                                                   \
      return 0;                                                             \
    }                                                                       \
    hook_store(place, sizeof *place);                                       \
    *place = value;                                                         \
    return 1;                                                               \
  }

/* clang's form: returns what was there. */
#define COMPARE_VALUE(BITS, TYPE)                                             \
  TYPE __tsan_atomic##BITS##_compare_exchange_val(                            \
      TYPE *place, TYPE expected, TYPE value, int o, int failed);             \
  TYPE __tsan_atomic##BITS##_compare_exchange_val(                            \
      TYPE *place, TYPE expected, TYPE value, int o, int failed)              \
  {                                                                           \
    __tsan_atomic##BITS##_compare_exchange_strong(place, &expected, value, o, \
                                                  failed);                    \
    return expected;                                                          \
  }

#define ATOMIC(BITS, TYPE)                                          \
  TYPE __tsan_atomic##BITS##_load(const TYPE *place, int o);        \
  TYPE __tsan_atomic##BITS##_load(const TYPE *place, int o)         \
  {                                                                 \
    (void)o;                                                        \
    return *place;                                                  \
  }                                                                 \
  void __tsan_atomic##BITS##_store(TYPE *place, TYPE value, int o); \
  void __tsan_atomic##BITS##_store(TYPE *place, TYPE value, int o)  \
  {                                                                 \
    (void)o;                                                        \
    hook_store(place, sizeof *place);                               \
    *place = value;                                                 \
  }                                                                 \
  CHANGE(BITS, TYPE, exchange, value)                               \
  CHANGE(BITS, TYPE, fetch_add, old + value)                        \
  CHANGE(BITS, TYPE, fetch_sub, old - value)                        \
  CHANGE(BITS, TYPE, fetch_and, old &value)                         \
  CHANGE(BITS, TYPE, fetch_or, old | value)                         \
  CHANGE(BITS, TYPE, fetch_xor, old ^ value)                        \
  COMPARE(BITS, TYPE, compare_exchange_strong)                      \
  COMPARE(BITS, TYPE, compare_exchange_weak)                        \
  COMPARE_VALUE(BITS, TYPE)

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void
__tsan_atomic_thread_fence(int order)
{
    (void)order;
}

void
__tsan_atomic_signal_fence(int order)
{
    (void)order;
}

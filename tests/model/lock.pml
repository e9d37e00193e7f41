/* The lock of src/shm/lock.h, for spin(1): N members take it and release it,
 * and DEATHS of them die, each at any step.  Run by tests/model/run.
 *
 * Modelled: the word, the count of waiters, the pending slot in which the
 * kernel finds what a dead thread held, the plain store that releases and the
 * store buffer that delays it, membarrier(2), futex(2), recovery.  Not: what
 * only saves time (spinning, advice about starvation, healing of the count).
 *
 * Shown: one at a time is inside; who comes in finds nothing half done; and,
 * as sleepers have no timeout here, no wake-up is lost, for else somebody
 * sleeps for ever.  With two deaths a wake-up may be lost (who was woken for a
 * dead owner may die, too), and -DTIMEOUT gives sleepers their timeout.
 *
 * Broken on purpose: -DNO_MEMBARRIER, -DNO_PENDING, -DNO_MARK (a sleeper does
 * not mark the word), -DEARLY_CLEAR (pending ends before the wake-up),
 * -DNO_RECOVERY, -DNO_COUNT.  -DEXCHANGE is the other way to release.
 */
#ifndef N
#  define N 3
#endif
#ifndef ROUNDS
#  define ROUNDS 1
#endif

#ifndef DEATHS
#  define DEATHS 1
#endif

#define NOBODY 255

/* The word: who holds it, and two flags. */
byte holder = NOBODY;
bool marked;     /* FUTEX_WAITERS. */
bool owner_died; /* FUTEX_OWNER_DIED. */
byte waiters;

/* A release that is in the store buffer of member i, not in memory: it reads
 * its own word as free.  One store is enough, for what follows it in the
 * buffer comes later still. */
bool buffered[N];

bool pending[N];  /* The kernel's 'list_op_pending' of i names the lock. */
bool sleeping[N]; /* In futex(2). */
bool woken[N];    /* It slept, and was woken. */
byte n_dead;

/* What the lock guards: 1 while somebody changes it. */
byte inside;
bool half_done;

/* The store buffer of 'i' drains: when the processor likes, or must. */
#define DRAIN(i)                 \
  if                             \
  :: buffered[i] ->              \
     buffered[i] = false;        \
     holder = NOBODY;            \
     marked = false;             \
     owner_died = false          \
  :: else                        \
  fi

/* Wakes one who sleeps, if any; any of them.  'did' says whether. */
inline wake_one(did)
{
  did = true;
  if
  :: sleeping[0] -> sleeping[0] = false; woken[0] = true
  :: sleeping[1] -> sleeping[1] = false; woken[1] = true
#if N > 2
  :: sleeping[2] -> sleeping[2] = false; woken[2] = true
#endif
  :: else -> did = false
  fi
}

/* The count goes down, not below 0. */
inline count_out()
{
  d_step {
    if
    :: waiters > 0 -> waiters--
    :: else
    fi
  }
}

/* The kernel's exit_robust_list() and handle_futex_death(). */
inline die(i)
{
  d_step {
    DRAIN(i)
  }
  if
  :: pending[i] && holder == i ->
     atomic {
       holder = NOBODY;
       owner_died = true;
       if
       :: marked -> wake_one(did)
       :: else
       fi
     }
  :: pending[i] && holder == NOBODY && !marked && !owner_died ->
     atomic { wake_one(did) }
  :: else
  fi;
  pending[i] = false;
  goto end
}

/* Death is possible at each step. */
#define MAY_DIE(i)                             \
  if                                           \
  :: atomic { n_dead < DEATHS -> n_dead++ };   \
     die(i)                                    \
  :: true                                      \
  fi

inline count_in(i)
{
#ifndef NO_COUNT
  d_step {
    DRAIN(i);
    waiters++
  }
#endif
  MAY_DIE(i);
#if !defined(NO_MEMBARRIER) && !defined(EXCHANGE)
  /* Every member passes a full barrier. */
  d_step {
    DRAIN(0);
    DRAIN(1);
#  if N > 2
    DRAIN(2);
#  endif
  }
#endif
}

proctype member(byte i)
{
  byte round = 0;
  byte seen; /* Who held the lock when its word was read. */
  bool seen_died, has_slept; /* And may have to mark the word for others. */
  bool is_counted, did;
  do
  :: round < ROUNDS ->
     round++;
#ifndef NO_PENDING
     pending[i] = true;
#endif
     MAY_DIE(i);
     has_slept = false;
     is_counted = false;

     /* Take it.  An atomic exchange drains the buffer first. */
     do
     :: atomic {
          DRAIN(i);
          if
          :: holder == NOBODY ->
             seen_died = owner_died;
             owner_died = false;
             holder = i;
             marked = marked || has_slept;
             break
          :: else
          fi
        };
        MAY_DIE(i);
        if
        :: !is_counted ->
           count_in(i);
           is_counted = true;
           has_slept = true
        :: else
        fi;
        MAY_DIE(i);
        /* Mark the word, if it is held still. */
        atomic {
          seen = holder;
#ifndef NO_MARK
          if
          :: seen != NOBODY -> marked = true
          :: else
          fi
#endif
        };
        MAY_DIE(i);
        /* Sleep, if the word is as it was. */
        atomic {
          if
#ifdef NO_MARK
          :: seen != NOBODY && holder == seen -> sleeping[i] = true
#else
          :: seen != NOBODY && holder == seen && marked -> sleeping[i] = true
#endif
          :: else
          fi
        };
        do
        :: atomic { n_dead < DEATHS -> n_dead++; sleeping[i] = false };
           die(i)
        :: !sleeping[i] -> break
#ifdef TIMEOUT
        :: timeout -> sleeping[i] = false
#endif
        od;
        /* Who was woken is counted out, by the one who woke it. */
        atomic {
          if
          :: woken[i] -> woken[i] = false; is_counted = false
          :: else
          fi
        }
     od;

     MAY_DIE(i);
     if
     :: is_counted -> count_out()
     :: else
     fi;
     MAY_DIE(i);
#ifndef NO_RECOVERY
     if
     :: seen_died -> half_done = false; MAY_DIE(i)
     :: else
     fi;
#endif

     /* Inside. */
     inside++;
     assert(inside == 1);
     assert(!half_done);
     half_done = true;
     /* Who dies inside is outside; what it left is half done. */
     if
     :: atomic { n_dead < DEATHS -> n_dead++; inside-- }; die(i)
     :: true
     fi;
     assert(inside == 1);
     half_done = false;
     inside--;
     MAY_DIE(i);

     /* Release. */
#ifdef EXCHANGE
     d_step {
       holder = NOBODY;
       marked = false
     };
#else
     buffered[i] = true;
#endif
     MAY_DIE(i);
#ifdef EARLY_CLEAR
     pending[i] = false;
     MAY_DIE(i);
#endif
     if
     :: waiters > 0 ->
        /* A system call is a barrier. */
        d_step { DRAIN(i) };
        MAY_DIE(i);
        atomic { wake_one(did) };
        MAY_DIE(i);
        if
        :: did -> count_out()
        :: else
        fi
     :: else
     fi;
     MAY_DIE(i);
     pending[i] = false;
     MAY_DIE(i)
  :: else -> break
  od;
end:
  skip
}

/* Store buffers drain by themselves. */
active proctype processor()
{
endprocessor:
  do
  :: atomic { buffered[0] -> DRAIN(0) }
  :: atomic { buffered[1] -> DRAIN(1) }
#if N > 2
  :: atomic { buffered[2] -> DRAIN(2) }
#endif
  od
}

init
{
  atomic {
    run member(0);
    run member(1);
#if N > 2
    run member(2)
#endif
  }
}

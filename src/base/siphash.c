#include "base/siphash.h"

#include <stddef.h>
#include <string.h>

struct state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t
rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static inline void
mix(struct state *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 = rotate(s->v2, 32);
}

static inline void
add(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    mix(s);
    s->v0 ^= word;
}

/* Words are little-endian by definition. */
static inline uint64_t
load(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* The last 'n' < 8 of 'all' bytes, which end at 'end'. */
static inline uint64_t
load_rest(const unsigned char *end, size_t n, size_t all)
{
    uint64_t word = 0;
    if (n == 0) {
        return 0;
    }
    if (all >= sizeof word) {
        return load(end - sizeof word) >> (8 * (sizeof word - n));
    }
    for (size_t i = 0; i < n; i++) {
        word |= (uint64_t)end[(ptrdiff_t)i - (ptrdiff_t)n] << (8 * i);
    }
    return word;
}

uint64_t
rv_siphash13(const uint64_t key[2], const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    size_t left = n;
    struct state s = {key[0] ^ UINT64_C(0x736f6d6570736575),
                      key[1] ^ UINT64_C(0x646f72616e646f6d),
                      key[0] ^ UINT64_C(0x6c7967656e657261),
                      key[1] ^ UINT64_C(0x7465646279746573)};
    for (; left >= 8; left -= 8, p += 8) {
        add(&s, load(p));
    }
    add(&s, (uint64_t)n << 56 | load_rest(p + left, left, n));
    s.v2 ^= 0xff;
    mix(&s);
    mix(&s);
    mix(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

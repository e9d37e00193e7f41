#include "base/siphash.h"

#include <string.h>

#include "harness.h"

/* The key of the paper's example, 00 01 ... 0f, and messages 00 01 ... */
static const uint64_t counting_key[2] = {UINT64_C(0x0706050403020100),
                                         UINT64_C(0x0f0e0d0c0b0a0908)};

/* These are also what other implementations say (Rust's tests with this key;
 * CPython with a key of zeros). */
START_TEST(agrees_with_others)
{
    static const uint64_t counting[] = {
        UINT64_C(0xabac0158050fc4dc), UINT64_C(0xc9f49bf37d57ca93),
        UINT64_C(0x82cb9b024dc7d44d), UINT64_C(0x8bf80ab8e7ddf7fb),
        UINT64_C(0xcf75576088d38328), UINT64_C(0xdef9d52f49533b67),
        UINT64_C(0xc50d2b50c59f22a7), UINT64_C(0xd3927d989bb11140),
        UINT64_C(0x369095118d299a8e)};
    static const uint64_t zeros[] = {
        UINT64_C(0x68a914128e01e473), UINT64_C(0x010bac45c41e3669),
        UINT64_C(0x4d4c9a4a8ef6e0ad), UINT64_C(0x7cc43f98813e4dbd),
        UINT64_C(0x5abe2169dff36275), UINT64_C(0xe3c25f87624f1cdb),
        UINT64_C(0x2f098ab0c751325a), UINT64_C(0xead411e67ebe2eea),
        UINT64_C(0x75927f9d95124362)};
    static const uint64_t zero_key[2] = {0, 0};
    unsigned char bytes[16];
    for (unsigned int i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)i;
    }
    for (size_t n = 0; n < RV_ARRAY_SIZE(counting); n++) {
        ck_assert_uint_eq(rv_siphash13(counting_key, bytes, n), counting[n]);
        ck_assert_uint_eq(rv_siphash13(zero_key, bytes, n + 1), zeros[n]);
    }
    ck_assert_uint_eq(rv_siphash13(zero_key, bytes, 16),
                      UINT64_C(0x8972188433a5c5b7));
}
END_TEST

START_TEST(every_bit_matters)
{
    unsigned char bytes[40] = {0};
    for (size_t n = 1; n <= sizeof bytes; n++) {
        uint64_t before = rv_siphash13(counting_key, bytes, n);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1U << bit % 8);
            ck_assert_uint_ne(rv_siphash13(counting_key, bytes, n), before);
            bytes[bit / 8] ^= (unsigned char)(1U << bit % 8);
        }
    }
}
END_TEST

START_TEST(alignment_does_not_matter)
{
    char bytes[64];
    memset(bytes, 'x', sizeof bytes);
    uint64_t first = rv_siphash13(counting_key, bytes, 31);
    for (size_t i = 1; i < 16; i++) {
        ck_assert_uint_eq(rv_siphash13(counting_key, bytes + i, 31), first);
    }
}
END_TEST

int
main(void)
{
    struct rv_test tests[] = {RV_TEST(agrees_with_others),
                              RV_TEST(every_bit_matters),
                              RV_TEST(alignment_does_not_matter)};
    return rv_test_run("siphash", tests, RV_ARRAY_SIZE(tests));
}

/* The setting of the versions of TLS. */
#if RV_WITH_TLS
#  include <errno.h>
#  include <string.h>

#  include "net/tls_internal.h"

static const struct {
    const char *name;
    int version;
} versions[] = {
    {"TLSv1.2", TLS1_2_VERSION},
    {"TLSv1.3", TLS1_3_VERSION},
};

/* The version that the 'length' bytes at 'word' name; 0 if none. */
static int
find_version(const char *word, size_t length)
{
    for (size_t i = 0; i < RV_ARRAY_SIZE(versions); i++) {
        if (strlen(versions[i].name) == length
            && !memcmp(versions[i].name, word, length)) {
            return versions[i].version;
        }
    }
    return 0;
}

static int
add_version(const char *word, size_t length, int *minp, int *maxp,
            struct rv_error *error)
{
    int version = find_version(word, length);
    if (!version) {
        return rv_error_set(error, -EINVAL,
                            "\"%.*s\" is not a TLS protocol that is safe to "
                            "use; write TLSv1.2 or TLSv1.3",
                            (int)RV_MIN(length, (size_t)100), word);
    }
    *minp = *minp ? RV_MIN(*minp, version) : version;
    *maxp = RV_MAX(*maxp, version);
    return 0;
}

int
rv__tls_parse_protocols(const char *text, int *minp, int *maxp,
                        struct rv_error *error)
{
    size_t length = strlen(text);
    bool is_open = length && text[length - 1] == '+';
    bool is_range = !is_open && strchr(text, '-');
    const char *separators = is_range ? "-" : " ,\t";
    const char *end = text + length - is_open;
    int min = 0, max = 0, n = 0;
    while (text < end) {
        size_t n_word =
            RV_MIN(strcspn(text, separators), (size_t)(end - text));
        if (n_word || is_range) {
            int rc = add_version(text, n_word, &min, &max, error);
            if (rc) {
                return rc;
            }
            n++;
        }
        text += n_word;
        text += text < end;
    }
    if (!n || (is_open && n != 1) || (is_range && n != 2)) {
        return rv_error_set(error, -EINVAL,
                            "the TLS protocols are a list as "
                            "\"TLSv1.2,TLSv1.3\" or one range as "
                            "\"TLSv1.2+\"");
    }
    *minp = min;
    *maxp = is_open ? 0 : max;
    return 0;
}
#else
/* A translation unit holds at least one declaration. */
struct rv__tls_protocols_nothing;
#endif

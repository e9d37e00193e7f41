/* The setting of the versions of TLS. */
#if RV_WITH_TLS
#  include <errno.h>
#  include <string.h>

#  include "net/tls_internal.h"

static const struct {
    const char *name;
    int version;
} versions[] = {
    {"TLSv1", TLS1_VERSION},
    {"TLSv1.1", TLS1_1_VERSION},
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
add_version(const char *word, size_t length,
            struct rv__tls_protocols *protocols, struct rv_error *error)
{
    int version = find_version(word, length);
    if (!version) {
        return rv_error_set(error, -EINVAL,
                            "\"%.*s\" is not a TLS protocol; write TLSv1.2 "
                            "or TLSv1.3",
                            (int)RV_MIN(length, (size_t)100), word);
    }
    protocols->min =
        protocols->min ? RV_MIN(protocols->min, version) : version;
    protocols->max = RV_MAX(protocols->max, version);
    return 0;
}

/* Raises the range to what is safe to use, as far as it holds some of that. */
static int
drop_old(const char *text, bool is_open, struct rv__tls_protocols *protocols,
         struct rv_error *error)
{
    if (protocols->min >= TLS1_2_VERSION) {
        return 0;
    }
    if (protocols->max < TLS1_2_VERSION && !is_open) {
        return rv_error_set(error, -EINVAL,
                            "\"%.100s\" names no TLS protocol that is safe "
                            "to use; write TLSv1.2 or TLSv1.3",
                            text);
    }
    protocols->min = TLS1_2_VERSION;
    protocols->has_dropped = true;
    return 0;
}

/* Adds the words of 'text' up to 'end'. */
static int
add_versions(const char *text, const char *end, bool is_range, int *np,
             struct rv__tls_protocols *protocols, struct rv_error *error)
{
    const char *separators = is_range ? "-" : " ,\t";
    while (text < end) {
        size_t n = RV_MIN(strcspn(text, separators), (size_t)(end - text));
        if (n || is_range) {
            int rc = add_version(text, n, protocols, error);
            if (rc) {
                return rc;
            }
            ++*np;
        }
        text += n;
        text += text < end;
    }
    return 0;
}

int
rv__tls_parse_protocols(const char *text, struct rv__tls_protocols *protocolsp,
                        struct rv_error *error)
{
    size_t length = strlen(text);
    bool is_open = length && text[length - 1] == '+';
    bool is_range = !is_open && strchr(text, '-');
    struct rv__tls_protocols protocols = {.min = 0};
    int n = 0;
    int rc = add_versions(text, text + length - is_open, is_range, &n,
                          &protocols, error);
    if (!rc && (!n || (is_open && n != 1) || (is_range && n != 2))) {
        rc = rv_error_set(error, -EINVAL,
                          "the TLS protocols are a list as "
                          "\"TLSv1.2,TLSv1.3\" or one range as "
                          "\"TLSv1.2+\"");
    }
    if (!rc) {
        rc = drop_old(text, is_open, &protocols, error);
    }
    if (!rc) {
        protocols.max = is_open ? 0 : protocols.max;
        *protocolsp = protocols;
    }
    return rc;
}
#else
/* A translation unit holds at least one declaration. */
struct rv__tls_protocols_nothing;
#endif

/* Any bytes as the name of a stream.
 *
 * Whatever comes, what parses has what its kind needs, what does not says why
 * and touches nothing, and the name stays within the text. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_inet(const struct rv_stream_name *name)
{
    RV_ASSERT(memchr(name->host, '\0', sizeof name->host));
    RV_ASSERT(!name->path && name->fd == -1);
    RV_ASSERT(RV_IMPLIES(name->is_passive, name->is_numeric));
    RV_ASSERT(RV_IMPLIES(!name->is_passive, name->host[0]));
    if (name->is_numeric) {
        RV_ASSERT(rv_address_port(&name->address) == name->port);
        char text[RV_ADDRESS_TEXT];
        struct rv_address again;
        rv_address_format(&name->address, text);
        RV_ASSERT(!rv_address_parse(text, &again, NULL));
        RV_ASSERT(again.length == name->address.length);
        RV_ASSERT(!memcmp(&again.u, &name->address.u, again.length));
    }
}

static void
check_name(const struct rv_stream_name *name, const char *text)
{
    switch (name->kind) {
    case RV_STREAM_TCP:
    case RV_STREAM_SSL:
        check_inet(name);
        break;
    case RV_STREAM_UNIX:
        RV_ASSERT(name->path > text && name->path < text + strlen(text));
        break;
    case RV_STREAM_FD:
    default:
        RV_ASSERT(name->kind == RV_STREAM_FD && name->fd >= 0);
        break;
    }
    RV_ASSERT(name->is_passive == (text[0] == 'p'));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    struct rv_stream_name name = {.fd = -77};
    struct rv_error error = {.text = ""};
    RV_ASSERT(text);
    int rc = rv_stream_name_parse(text, 6640, &name, &error);
    if (rc) {
        RV_ASSERT(rc == -EINVAL || rc == -EAFNOSUPPORT);
        RV_ASSERT(error.code == rc && error.text[0] && name.fd == -77);
    } else {
        check_name(&name, text);
    }
    free(text);
    return 0;
}

/* The texts of a TLS configuration: protocols, ciphers and cipher suites, with
 * a NUL between them.
 *
 * Whatever comes, a configuration is made, or refused with a sentence. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reeve/tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next text behind '*textp', which moves on; NULL for an empty one. */
static const char *
next_text(const char **textp, const char *end)
{
    const char *text = *textp;
    if (text >= end) {
        return NULL;
    }
    *textp += strlen(text) + 1;
    return text[0] ? text : NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = malloc(size + 1);
    RV_ASSERT(bytes);
    memcpy(bytes, data, size);
    bytes[size] = '\0';
    const char *text = bytes, *end = bytes + size;
    struct rv_tls_settings settings = {.ca_cert = "none"};
    settings.protocols = next_text(&text, end);
    settings.ciphers = next_text(&text, end);
    settings.ciphersuites = next_text(&text, end);
    struct rv_tls_config *config = NULL;
    struct rv_error error = {.text = ""};
    int rc = rv_tls_config_create(&settings, &config, &error);
    if (rc) {
        RV_ASSERT(rc == -EINVAL || rc == -ENOPROTOOPT);
        RV_ASSERT(!config && error.code == rc && error.text[0]);
    } else {
        const char *warning = rv_tls_config_warning(config);
        RV_ASSERT(RV_IMPLIES(warning[0], strstr(settings.protocols, "v1")));
        RV_ASSERT(!strchr(warning, '\n'));
        RV_ASSERT(rv_tls_config_n_loads(config) == 1);
        rv_tls_config_unref(config);
    }
    free(bytes);
    return 0;
}

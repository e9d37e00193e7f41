/* Any bytes as a configuration.
 *
 * What parses must dump to a text that parses to the same dump; what does not
 * parse must say why, in lines that begin with the name of the text.
 */
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

static const char source[] = "fuzz.yaml";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_errors(const struct rv_conf_errors *errors)
{
    RV_ASSERT(errors->n > 0 && errors->n <= 50);
    const char *line = rv_buf_string(&errors->text);
    for (size_t i = 0; i < errors->n; i++) {
        RV_ASSERT(!strncmp(line, source, sizeof source - 1));
        line = strchr(line, '\n');
        RV_ASSERT(line);
        line++;
    }
    RV_ASSERT(!*line);
}

static int
parse_and_dump(const char *text, size_t length, struct rv_buf *dump)
{
    struct rv_conf *conf;
    struct rv_conf_errors errors;
    rv_conf_errors_init(&errors);
    int rc = rv_conf_parse(text, length, source, "/base", &conf, &errors);
    if (rc) {
        check_errors(&errors);
    } else {
        RV_ASSERT(errors.n == 0);
        RV_ASSERT(!rv_conf_dump(conf, dump));
        rv_conf_destroy(conf);
    }
    rv_conf_errors_deinit(&errors);
    return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rv_buf first, second;
    rv_buf_init(&first, 64 << 20);
    rv_buf_init(&second, 64 << 20);
    if (!parse_and_dump((const char *)data, size, &first)) {
        RV_ASSERT(!parse_and_dump(first.data, first.length, &second));
        RV_ASSERT(first.length == second.length);
        RV_ASSERT(!memcmp(first.data, second.data, first.length));
    }
    rv_buf_deinit(&first);
    rv_buf_deinit(&second);
    return 0;
}

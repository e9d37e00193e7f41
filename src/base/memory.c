#include "reeve/memory.h"

#include <inttypes.h>
#include <string.h>

/* The providers, sorted by name; 'next' NULL before the first one came. */
static struct rv_list the_memory;

static struct rv_memory_provider *
provider_of(struct rv_list *node)
{
    return RV_CONTAINER_OF(node, struct rv_memory_provider, node);
}

static void
begin(void)
{
    if (!the_memory.next) {
        rv_list_init(&the_memory);
    }
}

void
rv_memory_register(struct rv_memory_provider *provider)
{
    struct rv_list *node;
    begin();
    RV_LIST_FOR_EACH (node, &the_memory) {
        if (strcmp(provider_of(node)->name, provider->name) > 0) {
            break;
        }
    }
    rv_list_push_back(node, &provider->node); /* Just before 'node'. */
}

void
rv_memory_unregister(struct rv_memory_provider *provider)
{
    if (provider->node.next) {
        rv_list_remove(&provider->node);
    }
}

void
rv_memory_show(struct rv_buf *text)
{
    struct rv_list *node;
    begin();
    for (node = the_memory.next; node != &the_memory;) {
        const char *name = provider_of(node)->name;
        uint64_t count = 0;
        const char *space = node == the_memory.next ? "" : " ";
        for (; node != &the_memory && !strcmp(provider_of(node)->name, name);
             node = node->next) {
            count += provider_of(node)->count(provider_of(node)->context);
        }
        rv_buf_printf(text, "%s%s:%" PRIu64, space, name, count);
    }
}

#include "reeve/list.h"
#include "harness.h"

struct item {
    struct rv_list node;
    int value;
};

static int
sum(const struct rv_list *list)
{
    int total = 0;
    struct rv_list *node;
    RV_LIST_FOR_EACH (node, list) {
        total = total * 10 + RV_CONTAINER_OF(node, struct item, node)->value;
    }
    return total;
}

START_TEST(keeps_order)
{
    struct rv_list list;
    struct item items[] = {{.value = 1}, {.value = 2}, {.value = 3}};
    rv_list_init(&list);
    ck_assert(rv_list_is_empty(&list));
    for (int i = 0; i < 3; i++) {
        rv_list_push_back(&list, &items[i].node);
    }
    ck_assert(!rv_list_is_empty(&list));
    ck_assert_int_eq(sum(&list), 123);
}
END_TEST

START_TEST(removes_twice)
{
    struct rv_list list;
    struct item items[] = {{.value = 1}, {.value = 2}, {.value = 3}};
    rv_list_init(&list);
    for (int i = 0; i < 3; i++) {
        rv_list_push_back(&list, &items[i].node);
    }
    rv_list_remove(&items[1].node);
    rv_list_remove(&items[1].node);
    ck_assert_int_eq(sum(&list), 13);
    rv_list_push_back(&list, &items[1].node);
    ck_assert_int_eq(sum(&list), 132);
    rv_list_remove(&items[0].node);
    rv_list_remove(&items[2].node);
    rv_list_remove(&items[1].node);
    ck_assert(rv_list_is_empty(&list));
}
END_TEST

START_TEST(removes_while_walking)
{
    struct rv_list list;
    struct item items[5];
    rv_list_init(&list);
    for (int i = 0; i < 5; i++) {
        items[i].value = i + 1;
        rv_list_push_back(&list, &items[i].node);
    }
    struct rv_list *node;
    struct rv_list *next;
    RV_LIST_FOR_EACH_SAFE (node, next, &list) {
        if (RV_CONTAINER_OF(node, struct item, node)->value % 2) {
            rv_list_remove(node);
        }
    }
    ck_assert_int_eq(sum(&list), 24);
    RV_LIST_FOR_EACH_SAFE (node, next, &list) {
        rv_list_remove(node);
    }
    ck_assert(rv_list_is_empty(&list));
}
END_TEST

int
main(void)
{
    const struct rv_test tests[] = {
        RV_TEST(keeps_order),
        RV_TEST(removes_twice),
        RV_TEST(removes_while_walking),
    };
    return rv_test_run("list", tests, RV_ARRAY_SIZE(tests));
}

/* The title is where the kernel put the arguments, so this test is a program
 * of its own: its second start has arguments that it may overwrite. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "reeve/process.h"

static char *program;

/* The command line as ps shows it, with spaces. */
static const char *
command_line(void)
{
    static char text[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    close(fd);
    n = n < 0 ? 0 : n;
    text[n] = '\0';
    for (ssize_t i = 0; i + 1 < n; i++) {
        text[i] = text[i] ? text[i] : ' ';
    }
    while (n > 0 && (text[n - 1] == ' ' || !text[n - 1])) {
        text[--n] = '\0';
    }
    return text;
}

#define REQUIRE(CONDITION)       \
  do {                           \
    if (!(CONDITION)) {          \
      return __LINE__ % 200 + 1; \
    }                            \
  } while (0)

/* In the second start; 0 if all is right. */
static int
check_title(int argc, char **argv)
{
    rv_title_set("nothing happens before init");
    rv_title_restore();
    REQUIRE(strstr(command_line(), "an argument"));
    REQUIRE(!rv_title_init(argc, argv));
    REQUIRE(!rv_title_init(argc, argv));
    rv_title_set("%s: monitoring pid %d (%s)", "x", 7, "healthy");
    REQUIRE(!strcmp(command_line(), "x: monitoring pid 7 (healthy)"));
    REQUIRE(!strcmp(argv[2], "an argument"));
    REQUIRE(getenv("TITLE_TEST") && !strcmp(getenv("TITLE_TEST"), "here"));
    rv_title_set("y");
    REQUIRE(!strcmp(command_line(), "y"));
    rv_title_restore();
    REQUIRE(strstr(command_line(), "--title an argument"));
    REQUIRE(!strncmp(command_line(), argv[0], strlen(argv[0])));
    return 0;
}

START_TEST(set_and_restored)
{
    int status;
    char title[] = "--title", argument[] = "an argument", dots[] = "....";
    char environment[] = "TITLE_TEST=here";
    char *const arguments[] = {program, title, argument, dots, NULL};
    char *const variables[] = {environment, NULL};
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        execve("/proc/self/exe", arguments, variables);
        _exit(201);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_msg(WEXITSTATUS(status) == 0, "line %d",
                  WEXITSTATUS(status) - 1);
}
END_TEST

int
main(int argc, char **argv)
{
    struct rv_test tests[] = {RV_TEST(set_and_restored)};
    if (argc > 1 && !strcmp(argv[1], "--title")) {
        return check_title(argc, argv);
    }
    program = argv[0];
    return rv_test_run("title", tests, RV_ARRAY_SIZE(tests));
}

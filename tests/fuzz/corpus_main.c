/* Feeds each file of the folder named on the command line to a fuzz target,
 * once, each in a process of its own: so that every input that ever found a
 * fault stays a test.  The empty input always comes first.
 *
 *     fuzz_conf tests/fuzz/corpus/conf
 *
 * Ends with a line "N passed, N failed"; exit status 1 if any failed.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIMEOUT_SECONDS = 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Runs in the child; its exit status is the verdict. */
static int
feed_file(const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return EXIT_FAILURE;
    }
    /* Exactly as large as the input, so that a sanitizer sees a read of one
     * byte too many. */
    if (fseek(file, 0, SEEK_END)) {
        return EXIT_FAILURE;
    }
    size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return EXIT_FAILURE;
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return EXIT_SUCCESS;
}

static bool
passes(const char *path)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        return false;
    }
    if (pid == 0) {
        alarm(TIMEOUT_SECONDS);
        exit(feed_file(path));
    }
    int status;
    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status)
        && WEXITSTATUS(status) == EXIT_SUCCESS) {
        return true;
    }
    fprintf(stderr, "FAILED on %s\n", path);
    return false;
}

/* Counts into 'counts[1]' what passed and into 'counts[0]' what failed. */
static void
feed_folder(const char *folder, int counts[2])
{
    DIR *dir = opendir(folder);
    if (!dir) {
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] != '.') {
            char path[PATH_MAX];
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            counts[passes(path)]++;
        }
    }
    closedir(dir);
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return EXIT_FAILURE;
    }
    int counts[2] = {0, 0};
    counts[passes("/dev/null")]++;
    feed_folder(argv[1], counts);
    printf("%d passed, %d failed\n", counts[1], counts[0]);
    return counts[0] ? EXIT_FAILURE : EXIT_SUCCESS;
}

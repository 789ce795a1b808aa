/* Running gnuplot. See figure.h. */
#include "harness/report/figures/figure.h"

#include "harness/error.h"
#include "harness/options.h"
#include "harness/program_files.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void set(figure *one, const char *variable, const char *value)
{
    char *longer = format_text("%s%s=%s; ", one->settings ? one->settings : "", variable, value);
    free(one->settings);
    one->settings = longer;
}

void figure_text(figure *one, const char *variable, const char *value)
{
    /* A single-quoted text of gnuplot, in which a quote is doubled. */
    char *quoted = alloc_or_die(2 * strlen(value) + 3, 1), *to = quoted;
    *to++ = '\'';
    for (; *value; value++) {
        if (*value == '\'')
            *to++ = '\'';
        *to++ = *value == '\n' ? ' ' : *value;
    }
    *to++ = '\'';
    set(one, variable, quoted);
    free(quoted);
}

void figure_number(figure *one, const char *variable, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.9g", value);
    set(one, variable, text);
}

void figure_marks(figure *one, const int64_t *values, int count)
{
    char *lengths = NULL, *names = NULL, size[32];
    size_t length_bytes, name_bytes;
    FILE *numbers = open_memstream(&lengths, &length_bytes);
    FILE *texts = open_memstream(&names, &name_bytes);
    for (int i = 0; i < count; i++) {
        fprintf(numbers, "%lld ", (long long)values[i]);
        fprintf(texts, "%s ", format_size(values[i], size, sizeof size));
    }
    fclose(numbers);
    fclose(texts);
    figure_text(one, "lengths", lengths);
    figure_text(one, "names", names);
    free(lengths);
    free(names);
}

void figure_field(figure *one, const char *text)
{
    fputc('"', one->data);
    for (; *text; text++)
        fputc(*text == '"' ? '\'' : *text, one->data);
    fputc('"', one->data);
}

figure *figure_new(const char *script, char *name, char *heading)
{
    const char *folder = getenv("TMPDIR");
    figure *one = alloc_or_die(1, sizeof *one);
    one->script = script;
    one->name = name;
    one->heading = heading;
    for (char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("._-", *at))
            *at = '-';
    char *path = format_text("%s/apbench-XXXXXX", folder && *folder ? folder : "/tmp");
    int descriptor = mkstemp(path);
    if (descriptor < 0) {
        fail("%s: %s", path, strerror(errno));
        free(path);
        figure_free(one);
        return NULL;
    }
    one->data = fdopen(descriptor, "w");
    one->data_path = path;
    return one;
}

void figure_free(figure *one)
{
    if (!one)
        return;
    if (one->data)
        fclose(one->data);
    if (one->data_path)
        unlink(one->data_path);
    free(one->data_path);
    free(one->name);
    free(one->heading);
    free(one->settings);
    free(one);
}

static int run_gnuplot(const char *settings, const char *script)
{
    int status;
    pid_t child = fork();
    if (child < 0)
        return fail("gnuplot cannot be started: %s", strerror(errno));
    if (child == 0) {
        int nothing = open("/dev/null", O_RDONLY);
        if (nothing >= 0)
            dup2(nothing, STDIN_FILENO);
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execlp("gnuplot", "gnuplot", "-d", "-e", settings, script, (char *)NULL);
        _exit(errno == ENOENT ? 127 : 126);
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return fail("gnuplot was lost: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return fail("gnuplot was not found: install the package gnuplot-nox");
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return fail("gnuplot failed on %s; what it said stands above", script);
    return 0;
}

static int draw(figure *one, const char *format, const char *folder, const char *script)
{
    struct stat made;
    char *path = format_text("%s/%s.%s", folder, one->name, format);
    char *partial = format_text("%s/.%s.%s.partial-%ld", folder, one->name, format,
                                (long)getpid()); /* no other program draws it */
    char *before = copy_text(one->settings);
    figure_text(one, "data", one->data_path);
    figure_text(one, "format", format);
    figure_text(one, "output", partial);
    int result = run_gnuplot(one->settings, script);
    free(one->settings);
    one->settings = before;
    if (result == 0 && (stat(partial, &made) < 0 || made.st_size == 0))
        result = fail("gnuplot drew nothing for %s", path);
    if (result == 0 && rename(partial, path) < 0)
        result = fail("%s: %s", path, strerror(errno));
    if (result == 0)
        printf("%s\n", path);
    else
        unlink(partial);
    free(path);
    free(partial);
    return result;
}

/* Leaves the data beside the figures, with the command that draws them. */
static int keep(figure *one, const char *folder, const char *script)
{
    char *path = format_text("%s/%s.dat", folder, one->name);
    FILE *from = fopen(one->data_path, "r"), *to = fopen(path, "w");
    int result = 0, character;
    figure_text(one, "data", path);
    if (from && to) {
        fprintf(to, "# gnuplot -e \"%sformat='png'; output='new.png'\" %s\n", one->settings,
                script);
        while ((character = fgetc(from)) != EOF)
            fputc(character, to);
    }
    if (from)
        fclose(from);
    if (!from || !to || ferror(to))
        result = fail("%s cannot be written", path);
    if (to && fclose(to) && result == 0)
        result = fail("%s: %s", path, strerror(errno));
    free(path);
    return result;
}

int figure_draw(figure *one, const char *folder, int keep_data)
{
    char *name = format_text("plots/%s.gp", one->script), *script = program_file(name);
    int result = script ? 0 : -1;
    if (result == 0 && fflush(one->data))
        result = fail("%s: %s", one->data_path, strerror(errno));
    if (result == 0) {
        char *scripts = copy_bytes(script, (size_t)(strrchr(script, '/') - script));
        figure_text(one, "scripts", scripts);
        figure_text(one, "heading", one->heading);
        free(scripts);
        if (draw(one, "png", folder, script) < 0 || draw(one, "svg", folder, script) < 0)
            result = -1;
        else if (keep_data)
            result = keep(one, folder, script);
    }
    free(name);
    free(script);
    figure_free(one);
    return result;
}

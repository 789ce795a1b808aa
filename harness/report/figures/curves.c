/* Curves, titles and styles of figures. See curves.h. */
#include "harness/report/figures/curves.h"

#include "harness/error.h"
#include "harness/report/page.h"
#include "methods/method.h"

#include <stdlib.h>
#include <string.h>

/* A method's place in the table, for its own series and the paper's; -1 for variants of it and for
 * methods that are not ours. */
static int own_place(const result_series *one)
{
    for (int i = 0; i < method_count; i++)
        if (!strcmp(method_table[i]->name, one->method) &&
            (one->paper || !strcmp(method_table[i]->title, one->label)))
            return i % STYLES;
    return -1;
}

/* The nth style that no method of these results has by its place: first those behind the table. */
static int free_style(const results *all, int nth)
{
    bool taken[STYLES] = {false};
    int left = STYLES;
    for (int i = 0; i < all->series_count; i++) {
        int place = own_place(&all->series[i]);
        left -= place >= 0 && !taken[place];
        if (place >= 0)
            taken[place] = true;
    }
    if (!left)
        return nth % STYLES;
    for (int style = method_count, skip = nth % left;; style++)
        if (!taken[style % STYLES] && skip-- == 0)
            return style % STYLES;
}

int series_style(const results *all, int series)
{
    const result_series *wanted = &all->series[series];
    int style = own_place(wanted), nth = 0;
    for (int i = 0; style < 0 && i < all->series_count; i++) {
        const result_series *one = &all->series[i];
        bool first = own_place(one) < 0;
        if (!strcmp(one->label, wanted->label))
            break;
        for (int j = 0; j < i && first; j++)
            first = strcmp(all->series[j].label, one->label) != 0;
        nth += first;
    }
    if (style < 0)
        style = free_style(all, nth);
    return style + 1 + (wanted->paper ? PAPER_STYLE : 0);
}

static void begin(curves *to, bool *begun, const char *label, int style)
{
    if (!*begun) {
        size_t used = strlen(to->styles);
        if (to->blocks++)
            fputs("\n\n", to->figure->data);
        figure_field(to->figure, label);
        fputc('\n', to->figure->data);
        snprintf(to->styles + used, sizeof to->styles - used, "%d ", style);
        *begun = true;
    }
}

void curves_point(curves *to, bool *begun, const char *label, int style, double x, double y)
{
    begin(to, begun, label, style);
    fprintf(to->figure->data, "%.9g %.9g\n", x, y);
}

void curves_span(curves *to, bool *begun, const char *label, int style, double x, double y,
                 double low, double high)
{
    begin(to, begun, label, style);
    fprintf(to->figure->data, "%.9g %.9g %.9g %.9g\n", x, y, low, high);
}

int curves_draw(drawing *drawing, curves *made)
{
    figure_text(made->figure, "styles", made->styles);
    if (!made->blocks) {
        figure_free(made->figure);
        return 0;
    }
    drawing->drawn++;
    return figure_draw(made->figure, drawing->folder, drawing->keep_data);
}

figure *figure_start(const char *script, const results *all, const result_group *group,
                     const char *heading)
{
    bool scaled = false;
    for (int i = 0; i < all->row_count; i++)
        scaled |= results_in_group(group, &all->rows[i]) && results_scale(all, &all->rows[i]) > 1;
    char *place = group_title(all, group), *name = NULL;
    const char *remark = scaled && strcmp(script, "breakdown") ? ", from fewer layers" : "";
    char *title = format_text("%s: %s%s", heading, place, remark);
    size_t bytes;
    FILE *out = open_memstream(&name, &bytes);
    fprintf(out, "%s-%s", script, group->model);
    if (strstr(place, ", only "))
        fprintf(out, "-%dlayers", group->layers);
    if (group->hosts)
        fprintf(out, "-%dhosts", group->hosts);
    if (*group->link)
        fprintf(out, "-%s", group->link);
    fclose(out);
    free(place);
    return figure_new(script, name, title);
}

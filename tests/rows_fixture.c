/* See rows_fixture.h. */
#include "tests/rows_fixture.h"

#include "harness/error.h"
#include "tests/results_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

const char *row_remark = "", *row_comm = "sim", *row_link = "nvlink3", *row_variant = "";
double row_exposed_s;

void add_speed_of_layers(records *all, int layers, const char *method, int hosts, int length,
                         const char *status, double prefill_s)
{
    record row = {.kind = RECORD_SPEED};
    bool ok = !strcmp(status, "ok");
    record_text(&row, SPEED_MODEL, "llama-3.1-8b");
    record_integer(&row, SPEED_LAYERS, layers);
    record_integer(&row, SPEED_MODEL_LAYERS, 32);
    record_text(&row, SPEED_METHOD, method);
    record_text(&row, SPEED_DEVICE, "cpu");
    record_text(&row, SPEED_COMM, row_comm);
    record_text(&row, SPEED_LINK, hosts > 1 ? row_link : "");
    record_integer(&row, SPEED_HOSTS, hosts);
    record_integer(&row, SPEED_LENGTH, length);
    record_integer(&row, SPEED_REPS, 3);
    record_text(&row, SPEED_STATUS, status);
    record_text(&row, SPEED_OPTIONS, *row_variant ? row_variant
                                     : !strcmp(method, "apb") ? "anchor=1024:passing=512" : "");
    record_text(&row, SPEED_VARIANT, row_variant);
    if (ok) {
        record_number(&row, SPEED_PREFILL_S, prefill_s);
        record_number(&row, SPEED_SPEED_TOK_S, length / prefill_s);
        record_number(&row, SPEED_QKV_S, prefill_s * 0.25);
        record_number(&row, SPEED_ATTENTION_S, prefill_s * 0.5);
        record_number(&row, SPEED_FFN_S, prefill_s * 0.25);
        record_integer(&row, SPEED_PROJECTED, hosts > 1 && *row_link);
        if (row_exposed_s > 0) {
            record_number(&row, SPEED_COMM_S, row_exposed_s);
            record_number(&row, SPEED_INSTRUMENTED_S, 1.25 * prefill_s);
        }
        record_text(&row, SPEED_DETAIL, row_remark);
    } else {
        record_text(&row, SPEED_DETAIL, "it was too much");
    }
    record_text(&row, SPEED_MACHINE, "a test");
    record_text(&row, SPEED_DATE, "2025-01-01T00:00:00Z");
    cr_assert_eq(records_append(all, &row), 0, "%s", fail_text());
    record_clear(&row);
}

void add_speed(records *all, const char *method, int hosts, int length, const char *status,
               double prefill_s)
{
    add_speed_of_layers(all, length > 65536 ? 4 : 32, method, hosts, length, status, prefill_s);
}

void write_speed(void)
{
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    cr_assert(all, "%s", fail_text());
    add_speed(all, "flash", 1, 32768, "ok", 4);
    add_speed(all, "flash", 1, 65536, "ok", 10);
    add_speed(all, "apb", 8, 32768, "failed", NAN); /* tried again below */
    add_speed(all, "ring", 8, 32768, "ok", 0.8);
    add_speed(all, "ring", 8, 65536, "oom", NAN);
    add_speed(all, "apb", 8, 32768, "ok", 0.5);
    add_speed(all, "apb", 8, 65536, "ok", 1.25);
    add_speed(all, "apb", 8, 131072, "ok", 0.25); /* 4 of 32 layers */
    records_close(all);
}

void add_accuracy(records *all, const char *method, const char *variant, int hosts,
                  const char *task, double score, double kl)
{
    record row = {.kind = RECORD_ACCURACY};
    record_text(&row, ACCURACY_MODEL, "smollm2");
    record_integer(&row, ACCURACY_LAYERS, 30);
    record_integer(&row, ACCURACY_MODEL_LAYERS, 30);
    record_text(&row, ACCURACY_METHOD, method);
    record_text(&row, ACCURACY_VARIANT, variant);
    /* What was not run may have defaults that were never resolved: they are not what is listed. */
    record_text(&row, ACCURACY_OPTIONS, isnan(score) ? "anchor=auto" : variant);
    record_integer(&row, ACCURACY_HOSTS, hosts);
    record_text(&row, ACCURACY_LINK, "nvlink3");
    record_integer(&row, ACCURACY_LENGTH, 1000);
    record_text(&row, ACCURACY_TASK, task);
    record_integer(&row, ACCURACY_SAMPLES, 20);
    record_text(&row, ACCURACY_STATUS, isnan(score) ? "failed" : "ok");
    record_text(&row, ACCURACY_DETAIL, isnan(score) ? "stopped | after 1 s" : row_remark);
    record_number(&row, ACCURACY_SCORE, score);
    record_number(&row, ACCURACY_KL, kl);
    record_text(&row, ACCURACY_DATE, "2025-01-01T00:00:00Z");
    cr_assert_eq(records_append(all, &row), 0, "%s", fail_text());
    record_clear(&row);
}

void write_accuracy(void)
{
    records *all = records_open(results_path, RECORD_ACCURACY, "abc");
    cr_assert(all, "%s", fail_text());
    add_accuracy(all, "apb", "compressor=random", 4, "niah_1", 60, 0.5);
    add_accuracy(all, "apb", "compressor=random", 4, "niah_2", NAN, NAN);
    add_accuracy(all, "apb", "", 4, "niah_1", 80, 0.25);
    add_accuracy(all, "apb", "", 4, "niah_2", 50, 0.75);
    add_accuracy(all, "flash", "", 1, "niah_1", 100, 0);
    add_accuracy(all, "flash", "", 1, "niah_2", 55, 0);
    records_close(all);
}

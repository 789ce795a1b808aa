/* The columns of both kinds of results: names, units and what each means. The files' headers, the
 * key of a cell and the dictionary that users read all come from here. See records.h. */
#include "harness/records/records.h"

static const record_column speed_columns[SPEED_COLUMNS] = {
    [SPEED_ROW] = {"row", false, "", "number of the row in this file; repetitions name it"},
    [SPEED_MODEL] = {"model", true, "", "preset or last part of the model's directory"},
    [SPEED_LAYERS] = {"layers", true, "",
        "layers that were run; fewer than model_layers with --layers"},
    [SPEED_METHOD] = {"method", true, "", "attention method"},
    [SPEED_OPTIONS] = {"options", true, "",
        "the method's options, defaults resolved, joined by ':'; star's anchor=auto is a whole block"},
    [SPEED_DEVICE] = {"device", true, "", "what computes: cpu or cuda"},
    [SPEED_COMM] = {"comm", true, "", "what links the hosts: sim (virtual hosts), mpi or nccl"},
    [SPEED_LINK] = {"link", true, "", "link model of sim; empty for real links and on one host"},
    [SPEED_HOSTS] = {"hosts", true, "", "ranks that share the document"},
    [SPEED_LENGTH] = {"length", true, "tokens", "document and query together"},
    [SPEED_QUERY] = {"query", true, "tokens", "the query, the last part of length"},
    [SPEED_DTYPE] = {"dtype", true, "", "type of activations"},
    [SPEED_WARMUP] = {"warmup", true, "", "untimed repetitions before the timed ones"},
    [SPEED_REPS] = {"reps", true, "", "timed repetitions"},
    [SPEED_THREADS] = {"threads", true, "", "CPU threads a process"},
    [SPEED_SEED] = {"seed", true, "", "seed of random weights and random choices"},
    [SPEED_NEW_TOKENS] = {"new_tokens", true, "tokens", "tokens made: the first ends the prefill, the others are the decode"},
    [SPEED_WEIGHTS] = {"weights", true, "",
        "the model's directory with #HASH of its configuration and the beginning of each tensor, and the "
        "file of retaining heads given; empty for presets; #HASH of the heads' values where the method "
        "looks at them"},
    [SPEED_VARIANT] = {"variant", false, "",
        "the method's options as the command named them; empty: all defaults"},
    [SPEED_MODEL_LAYERS] = {"model_layers", false, "", "layers that the whole model has"},
    [SPEED_STATUS] = {"status", false, "",
        "ok, oom, unsupported, too-big-to-simulate or failed; failed cells are tried again, as are "
        "unsupported ones that can be run now"},
    [SPEED_DETAIL] = {"detail", false, "", "the reason when status is not ok, or a remark"},
    [SPEED_PREFILL_S] = {"prefill_s", false, "s",
        "start to first token (document and query), slowest host; median of the repetitions"},
    [SPEED_PREFILL_MIN_S] = {"prefill_min_s", false, "s", "fastest repetition of prefill_s"},
    [SPEED_PREFILL_MAX_S] = {"prefill_max_s", false, "s", "slowest repetition of prefill_s"},
    [SPEED_DECODE_S] = {"decode_s", false, "s", "first token to last token, slowest host; median"},
    [SPEED_DECODE_MIN_S] = {"decode_min_s", false, "s", "fastest repetition of decode_s"},
    [SPEED_DECODE_MAX_S] = {"decode_max_s", false, "s", "slowest repetition of decode_s"},
    [SPEED_SPEED_TOK_S] = {"speed_tok_s", false, "tokens/s",
        "(input + output tokens) / (prefill_s + decode_s), as the paper counts"},
    [SPEED_TFLOPS] = {"tflops", false, "TFLOP/s",
        "arithmetic up to the first token (query phase too) on the busiest host / prefill_s"},
    [SPEED_UTILISATION] = {"utilisation", false, "", "tflops / gemm_peak_tflops, 0 to 1"},
    [SPEED_GEMM_PEAK_TFLOPS] = {"gemm_peak_tflops", false, "TFLOP/s",
        "matrix product peak measured on this machine"},
    [SPEED_BYTES_SENT] = {"bytes_sent", false, "bytes",
        "payload sent up to the first token (query phase too) by the host that sends most"},
    [SPEED_PEAK_BYTES] = {"peak_bytes", false, "bytes",
        "device memory of the host that holds most"},
    [SPEED_QKV_S] = {"qkv_s", false, "s",
        "instrumented repetition, busiest host: Q, K and V projections"},
    [SPEED_COMPRESS_S] = {"compress_s", false, "s",
        "same: scoring and selecting the passing block"},
    [SPEED_COMM_S] = {"comm_s", false, "s",
        "same: exposed communication, time spent waiting for transfers"},
    [SPEED_ATTENTION_S] = {"attention_s", false, "s", "same: attention"},
    [SPEED_O_PROJ_S] = {"o_proj_s", false, "s", "same: output projection"},
    [SPEED_FFN_S] = {"ffn_s", false, "s", "same: feed-forward network"},
    [SPEED_OTHER_S] = {"other_s", false, "s",
        "same: everything else (embedding, logits, Ulysses' packing; norms and RoPE are in their parts)"},
    [SPEED_INSTRUMENTED_S] = {"instrumented_s", false, "s",
        "prefill of the instrumented repetition, slowest host; the parts above are of the busiest, whose "
        "prefill they add up to"},
    [SPEED_PROJECTED] = {"projected", false, "",
        "1 when times come from virtual hosts and a link model, 0 when measured"},
    [SPEED_LOAD] = {"load", false, "", "load average of the machine when the cell began"},
    [SPEED_MACHINE] = {"machine", false, "", "processor, cores and memory"},
    [SPEED_GPU] = {"gpu", false, "", "GPU, if one was used"},
    [SPEED_DRIVER] = {"driver", false, "", "GPU driver"},
    [SPEED_LIBRARIES] = {"libraries", false, "", "versions of the libraries used"},
    [SPEED_COMMIT] = {"commit", false, "",
        "commit of apbench, with a hash of the sources where they differ; one file holds rows of one"},
    [SPEED_DATE] = {"date", false, "", "when the row was written, UTC"},
};

static const record_column accuracy_columns[ACCURACY_COLUMNS] = {
    [ACCURACY_ROW] = {"row", false, "", "number of the row in this file; samples name it"},
    [ACCURACY_MODEL] = {"model", true, "", "preset or last part of the model's directory"},
    [ACCURACY_LAYERS] = {"layers", true, "", "layers that were run"},
    [ACCURACY_METHOD] = {"method", true, "", "attention method"},
    [ACCURACY_OPTIONS] = {"options", true, "",
        "the method's options, defaults resolved, joined by ':'; star's anchor=auto is a whole block"},
    [ACCURACY_DEVICE] = {"device", true, "", "what computes: cpu or cuda"},
    [ACCURACY_COMM] = {"comm", true, "", "what links the hosts: sim (virtual hosts), mpi or nccl"},
    [ACCURACY_LINK] = {"link", true, "", "empty: answers do not depend on links"},
    [ACCURACY_HOSTS] = {"hosts", true, "", "ranks that share the document"},
    [ACCURACY_LENGTH] = {"length", true, "tokens", "length that the samples were made for"},
    [ACCURACY_TASK] = {"task", true, "", "task, as the benchmark names it"},
    [ACCURACY_SAMPLES] = {"samples", true, "", "samples scored"},
    [ACCURACY_SEED] = {"seed", true, "", "seed of the samples, random weights and random choices"},
    [ACCURACY_GENERATOR] = {"generator", true, "", "who made the samples: apbench or official"},
    [ACCURACY_SCORER] = {"scorer", true, "", "how answers are scored"},
    [ACCURACY_LIMIT] = {"limit", true, "",
        "--limit, the most samples of a task and length that are run; empty: all"},
    [ACCURACY_THREADS] = {"threads", true, "",
        "CPU threads of the device, which workers share out; of mpi those of a process"},
    [ACCURACY_WEIGHTS] = {"weights", true, "",
        "the model's directory with #HASH of its configuration and the beginning of each tensor, and the "
        "file of retaining heads given; empty for presets; #HASH of the heads' values where the method "
        "looks at them"},
    [ACCURACY_SOURCE] = {"source", true, "", "official file or haystack given; empty: own samples from the default text"},
    [ACCURACY_CHAT] = {"chat", true, "", "1 when prompts are in the model's chat template"},
    [ACCURACY_FIDELITY] = {"fidelity", true, "", "1 when first tokens and the last layer's output are compared with flash"},
    [ACCURACY_VARIANT] = {"variant", false, "",
        "the method's options as the command named them; empty: all defaults"},
    [ACCURACY_MODEL_LAYERS] = {"model_layers", false, "", "layers that the whole model has"},
    [ACCURACY_STATUS] = {"status", false, "",
        "ok, oom, unsupported, too-big-to-simulate or failed; failed cells are tried again, as are "
        "unsupported ones that can be run now"},
    [ACCURACY_DETAIL] = {"detail", false, "", "the reason when status is not ok, or a remark"},
    [ACCURACY_SCORE] = {"score", false, "",
        "score of the task in percent, to two decimals (apbench score prints InfiniteBench's from 0 to 1)"},
    [ACCURACY_KL] = {"kl", false, "nats",
        "KL(flash || method) of the first token's distribution, mean over samples"},
    [ACCURACY_TOP1] = {"top1", false, "",
        "share of samples whose first token is the one of flash, 0 to 1"},
    [ACCURACY_ERROR_START] = {"error_start", false, "",
        "error of the last layer's output (the residual stream), norm of x - x of flash by norm of x of "
        "flash: mean over document rows in the first tenth of each host's block, then over samples"},
    [ACCURACY_ERROR_END] = {"error_end", false, "", "same: over the last tenth of each host's block"},
    [ACCURACY_ERROR_DOCUMENT] = {"error_document", false, "", "same: over all rows of the document"},
    [ACCURACY_ERROR_QUERY] = {"error_query", false, "", "same: over the query's rows"},
    [ACCURACY_NULLS] = {"nulls", false, "", "empty predictions"},
    [ACCURACY_SECONDS] = {"seconds", false, "s", "time taken by the samples"},
    [ACCURACY_WORKERS] = {"workers", false, "",
        "processes that shared the samples out and ran at the same time"},
    [ACCURACY_MACHINE] = {"machine", false, "", "processor, cores and memory"},
    [ACCURACY_GPU] = {"gpu", false, "", "GPU, if one was used"},
    [ACCURACY_DRIVER] = {"driver", false, "", "GPU driver"},
    [ACCURACY_LIBRARIES] = {"libraries", false, "", "versions of the libraries used"},
    [ACCURACY_COMMIT] = {"commit", false, "",
        "commit of apbench, with a hash of the sources where they differ; one file holds rows of one"},
    [ACCURACY_DATE] = {"date", false, "", "when the row was written, UTC"},
};

const record_column *record_columns(record_kind kind, int *count)
{
    *count = kind == RECORD_SPEED ? (int)SPEED_COLUMNS : (int)ACCURACY_COLUMNS;
    return kind == RECORD_SPEED ? speed_columns : accuracy_columns;
}

void record_columns_print(FILE *out)
{
    static const char *const titles[] = {"Speed", "Accuracy"};
    for (int kind = RECORD_SPEED; kind <= RECORD_ACCURACY; kind++) {
        int count;
        const record_column *columns = record_columns((record_kind)kind, &count);
        fprintf(out, "%s## %s rows\n\n", kind ? "\n" : "", titles[kind]);
        fprintf(out, "| %-16s | %-3s | %-8s | %s\n", "column", "key", "unit", "meaning |");
        fprintf(out, "|------------------|-----|----------|---------|\n");
        for (int i = 0; i < count; i++)
            fprintf(out, "| %-16s | %-3s | %-8s | %s |\n", columns[i].name,
                    columns[i].key ? "key" : "", columns[i].unit, columns[i].meaning);
    }
    fprintf(out,
            "\nKey columns are the inputs of a cell: a sweep that is started again skips cells "
            "whose key has a\nrow (see status). Empty means not applicable. Beside NAME.csv, "
            "NAME.reps.csv keeps every repetition of\nspeed rows and NAME.samples.jsonl every sample of "
            "accuracy rows; `row` there is `row` here.\n");
}

/* Chat templates of the model families, as data. Each is what the family's published chat template
 * makes of one user message without a system message of its own. Facts of the models' formats, from
 * the chat_template of SmolLM2-135M-Instruct, Llama-3-8B-Instruct and Qwen2.5-14B-Instruct; Yi's
 * base models have none. Llama-3's head brings its own begin-of-text, so text in a template is encoded
 * without add_special. */
#include "datasets/tokenizer/tokenizer.h"

static const char *const smollm2_stop[] = {"<|im_end|>", "<|endoftext|>", NULL};
static const char *const llama3_stop[] = {"<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", NULL};
static const char *const qwen_stop[] = {"<|im_end|>", "<|endoftext|>", NULL};
static const char *const plain_stop[] = {"<|endoftext|>", "</s>", "<|end_of_text|>", NULL};

static const chat_template smollm2 = {
    .family = "smollm2",
    .head = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
            "<|im_end|>\n<|im_start|>user\n",
    .tail = "<|im_end|>\n<|im_start|>assistant\n",
    .end_of_turn = "<|im_end|>",
    .stop = smollm2_stop,
};

static const chat_template llama3 = {
    .family = "llama-3",
    .head = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
    .tail = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    .end_of_turn = "<|eot_id|>",
    .stop = llama3_stop,
};

static const chat_template qwen25 = {
    .family = "qwen2.5",
    .head = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
            "<|im_end|>\n<|im_start|>user\n",
    .tail = "<|im_end|>\n<|im_start|>assistant\n",
    .end_of_turn = "<|im_end|>",
    .stop = qwen_stop,
};

static const chat_template plain = {
    .family = "plain", .head = "", .tail = "", .end_of_turn = "", .stop = plain_stop};

const chat_template *chat_template_for(const tokenizer *t)
{
    if (tokenizer_id(t, "<|start_header_id|>") >= 0 && tokenizer_id(t, "<|eot_id|>") >= 0)
        return &llama3;
    /* Yi's base models know <|im_start|> too, but not just behind <|endoftext|>, as these two do. */
    int32_t end = tokenizer_id(t, "<|endoftext|>");
    if (end < 0 || tokenizer_id(t, "<|im_start|>") != end + 1 ||
        tokenizer_id(t, "<|im_end|>") != end + 2)
        return &plain;
    return tokenizer_id(t, "<gh_stars>") >= 0 ? &smollm2 : &qwen25;
}

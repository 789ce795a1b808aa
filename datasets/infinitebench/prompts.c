/* InfiniteBench's tasks: layouts of the prompts as the official templates for open models have them,
 * in our own words, and what else a task's rows need. */
#include "datasets/infinitebench/infinitebench.h"
#include "datasets/infinitebench/make.h"

/* ---- Synthetic tasks ---- */

static const infinite_prompt passkey_prompt = {
    .instruction = "Somewhere in the text below, among much that does not matter, a pass key is "
                   "given. Find it and remember it, for you will be asked what it is.",
    .gap = "\n\n", .asks = ASKS_INPUT, .lead_gap = "\n\n", .lead_in = "The pass key is"};
const struct infinite_task infinite_passkey = {
    .score = score_first_number, .prompt = &passkey_prompt, .make = make_passkey, .step = 25,
    .short_step = 5};

static const infinite_prompt number_prompt = {
    .instruction = "Somewhere in the text below, among much that does not matter, a sequence of "
                   "digits is given. Find it and remember it, for you will be asked what it is.",
    .gap = "\n\n", .asks = ASKS_INPUT, .lead_gap = "\n\n", .lead_in = "The sequence of digits is"};
const struct infinite_task infinite_number_string = {
    .score = score_first_number, .prompt = &number_prompt, .make = make_number_string, .step = 25,
    .short_step = 5};

static const infinite_prompt kv_prompt = {
    .instruction = "Find the value that belongs to the key asked for in the JSON object below. "
                   "Reply with the value alone.",
    .gap = "\n\n", .asks = ASKS_INPUT, .lead_gap = "", .lead_in = ""};
const struct infinite_task infinite_kv_retrieval = {
    .score = score_kv_retrieval, .unwrap = true, .prompt = &kv_prompt, .make = make_kv_retrieval,
    .step = 25, .short_step = 2};

static const infinite_prompt find_prompt = {
    .instruction = "Which number is %s of this list?",
    .gap = "\n\n", .asks = ASKS_INPUT, .lead_gap = "", .lead_in = "", .draws = DRAWS_SPAN};
const struct infinite_task infinite_math_find = {
    .score = score_math_find, .prompt = &find_prompt, .make = make_math_find, .step = 500,
    .short_step = 20};

/* The examples list the first operand too, as the official ones do although labels leave it out. */
static const infinite_prompt calc_prompt = {
    .instruction = "You add and subtract, one step at a time. Write down the first number and then "
                   "the value after every step, as a list and nothing else.\n\n"
                   "Expression: 3 + 8 - 5 + 20 - 6\nValues: [3, 11, 6, 26, 20]\n\n"
                   "Expression: 40 - 15 - 9 + 1 + 33\nValues: [40, 25, 16, 17, 50]",
    .gap = "\n", .asks = ASKS_NOTHING, .lead_gap = "", .lead_in = "Values:"};
const struct infinite_task infinite_math_calc = {
    .score = score_math_calc, .prompt = &calc_prompt, .make = make_math_calc, .step = 100,
    .short_step = 10};

static const infinite_prompt run_prompt = {
    .instruction = "Below are many small Python functions, which call one another. Work out what "
                   "%s returns.",
    .gap = "\n\n", .asks = ASKS_CALL, .ask = "What is the value of %s?", .lead_gap = " ",
    .lead_in = "The value is:", .draws = DRAWS_FUNCTION};
const struct infinite_task infinite_code_run = {
    .score = score_code_run, .prompt = &run_prompt, .make = make_code_run, .step = 50,
    .short_step = 10};

/* ---- Tasks of books, dialogues and programs, from official files only ---- */

static const infinite_prompt sum_prompt = {
    .instruction = "Read the book below; then summarize it.",
    .gap = "\n\n", .asks = ASKS_NOTHING, .lead_gap = "", .lead_in = "Summary:"};
const struct infinite_task infinite_sum = {.score = score_summary, .prompt = &sum_prompt};

static const infinite_prompt choice_prompt = {
    .instruction = "Read the book below; then choose the one right answer to a question about it.",
    .gap = "\n\n", .asks = ASKS_INPUT, .options = true, .lead_gap = "\n\n",
    .lead_in = "The letter of the right answer is", .carries = CARRIES_QUESTION};
const struct infinite_task infinite_choice = {
    .score = score_choice, .letter = true, .prompt = &choice_prompt};

static const infinite_prompt qa_english_prompt = {
    .instruction = "Read the book below; then answer a question about it in as few words as you "
                   "can, without giving reasons.",
    .gap = "\n\n", .asks = ASKS_INPUT, .lead_gap = "\n", .lead_in = "Answer:"};
const struct infinite_task infinite_qa_english = {
    .score = score_qa_english, .prompt = &qa_english_prompt};

static const infinite_prompt qa_chinese_prompt = {
    .instruction = "阅读下面的书，然后用尽量少的字回答问题，不必解释理由。",
    .gap = "\n\n", .asks = ASKS_INPUT, .lead_gap = "\n", .lead_in = "回答："};
const struct infinite_task infinite_qa_chinese = {
    .score = score_qa_chinese, .prompt = &qa_chinese_prompt};

static const infinite_prompt dialogue_prompt = {
    .instruction = "In the dialogue below the name of one speaker has been replaced by $$MASK$$. "
                   "Find out who that is.",
    .gap = "\n\n", .asks = ASKS_NOTHING, .lead_gap = "",
    .lead_in = "The name replaced by $$MASK$$ is", .carries = CARRIES_LEAD_IN};
const struct infinite_task infinite_dialogue = {
    .score = score_dialogue, .prompt = &dialogue_prompt};

static const infinite_prompt debug_prompt = {
    .instruction = "One function of the program below has been given an obvious error on purpose. "
                   "Choose that function from the options.",
    .gap = "\n\n", .asks = ASKS_NOTHING, .options = true, .lead_gap = "\n\n",
    .lead_in = "The right option is:", .carries = CARRIES_OPTIONS_LEAD_IN};
const struct infinite_task infinite_code_debug = {
    .score = score_code_debug, .letter = true, .prompt = &debug_prompt};

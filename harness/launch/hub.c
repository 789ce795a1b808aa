/* Collective calls over the control sockets: every process sends its contribution to the leader,
 * which answers all of them when the last has come. Since a process waits for each answer, it has at
 * most one contribution pending. See state.h. */
#include "harness/launch/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/timeline.h"

static contribution *head_of(const message *m)
{
    return (contribution *)m->body;
}

static char *payload_of(const message *m)
{
    return (char *)m->body + sizeof(contribution);
}

const char *hub_sentence(const message *m)
{
    return payload_of(m); /* checked: ends with a NUL */
}

static void answer_rank(int rank, message *answer)
{
    message_drop(control.pending[rank]);
    control.pending[rank] = NULL;
    if (rank == control.rank) {
        answer->users++;
        control_deliver(answer);
    } else {
        connection_queue(&control.peers[rank].link, answer);
    }
}

static message *new_answer(message_kind kind, int status, const void *payload, size_t bytes)
{
    message *answer = message_new(kind, sizeof(contribution) + bytes);
    *head_of(answer) = (contribution){.status = status};
    if (bytes)
        memcpy(payload_of(answer), payload, bytes);
    return answer;
}

static void answer_all(int group, message *answer)
{
    for (int rank = 0; rank < group; rank++)
        answer_rank(rank, answer);
    message_drop(answer);
}

static bool all_pending(int group, int kind)
{
    for (int rank = 0; rank < group; rank++)
        if (!control.pending[rank] || control.pending[rank]->kind != kind)
            return false;
    return true;
}

/* ---- The three calls, all contributions being there ---- */

static void finish_agreement(void)
{
    int first = -1;
    for (int rank = control.size - 1; rank >= 0; rank--)
        if (head_of(control.pending[rank])->status == OWN_FAILURE)
            first = rank;
    for (int rank = control.size - 1; rank >= 0 && first < 0; rank--)
        if (head_of(control.pending[rank])->status == CONSEQUENCE)
            first = rank;
    char *sentence = first < 0 ? copy_text("")
                               : format_text("host %d: %s", first,
                                             hub_sentence(control.pending[first]));
    control.failed_at = 0;
    answer_all(control.size,
               new_answer(MESSAGE_AGREE, first < 0 ? 0 : -1, sentence, strlen(sentence) + 1));
    free(sentence);
}

static void finish_gather(void)
{
    size_t bytes = control.pending[0]->bytes - sizeof(contribution);
    char *all = alloc_or_die((size_t)control.size, bytes);
    for (int rank = 0; rank < control.size; rank++) {
        if (control.pending[rank]->bytes != sizeof(contribution) + bytes) {
            char sentence[120];
            snprintf(sentence, sizeof sentence, "host %d gathers another number of bytes than host 0",
                     rank);
            ending_lead(sentence);
        }
        memcpy(all + (size_t)rank * bytes, payload_of(control.pending[rank]), bytes);
    }
    answer_all(control.size, new_answer(MESSAGE_GATHER, 0, all, (size_t)control.size * bytes));
    free(all);
}

static void refuse(int group, const char *sentence)
{
    message *answer = new_answer(MESSAGE_REDUCE, -1, sentence, strlen(sentence) + 1);
    for (int rank = 0; rank < group; rank++)
        if (control.pending[rank] && control.pending[rank]->kind == MESSAGE_REDUCE)
            answer_rank(rank, answer);
    message_drop(answer);
}

static void finish_reduce(int group)
{
    int count = head_of(control.pending[0])->count;
    double *best = alloc_or_die((size_t)count, sizeof *best);
    for (int rank = 0; rank < group; rank++) {
        const message *m = control.pending[rank];
        if (head_of(m)->group != group || head_of(m)->count != count) {
            free(best);
            refuse(group, "reduce_max: hosts call it with different numbers of values");
            return;
        }
        for (int i = 0; i < count; i++) {
            double value;
            memcpy(&value, payload_of(m) + (size_t)i * sizeof value, sizeof value);
            if (rank == 0 || value > best[i])
                best[i] = value;
        }
    }
    answer_all(group, new_answer(MESSAGE_REDUCE, 0, best, (size_t)count * sizeof *best));
    free(best);
}

/* ---- What comes ---- */

static bool well_formed(const message *m)
{
    if (m->bytes < sizeof(contribution))
        return false;
    const contribution *head = head_of(m);
    size_t bytes = m->bytes - sizeof *head;
    if (m->kind == MESSAGE_REDUCE)
        return head->group >= 1 && head->group <= control.size && head->count >= 0 &&
               bytes == (size_t)head->count * sizeof(double);
    if (m->kind == MESSAGE_AGREE)
        return bytes > 0 && !payload_of(m)[bytes - 1];
    return m->kind == MESSAGE_GATHER;
}

/* Some of a group reduce while another of them has come to the end of the run: they are told, so
 * that they come there too. */
static void release_reducers(void)
{
    for (int rank = 0; rank < control.size; rank++) {
        const message *m = control.pending[rank];
        if (!m || m->kind != MESSAGE_REDUCE)
            continue;
        int group = head_of(m)->group;
        for (int other = 0; other < group; other++) {
            const message *left = control.pending[other];
            if (!left || left->kind != MESSAGE_AGREE)
                continue;
            char sentence[120];
            snprintf(sentence, sizeof sentence, "reduce_max: host %d has %s", other,
                     head_of(left)->status ? "failed" : "returned without it");
            refuse(group, sentence);
            return;
        }
    }
}

void hub_contribute(int rank, message *m)
{
    if (control.pending[rank] || !well_formed(m)) {
        char sentence[120];
        snprintf(sentence, sizeof sentence, "host %d broke the protocol of the control socket "
                 "(message %d)", rank, m->kind);
        message_drop(m);
        ending_lead(sentence);
    }
    control.pending[rank] = m;
    if (m->kind == MESSAGE_AGREE && head_of(m)->status == OWN_FAILURE && !control.failed_at) {
        control.failed_at = monotonic_seconds();
        control.failed_rank = rank;
    }
    if (all_pending(control.size, MESSAGE_AGREE))
        finish_agreement();
    else if (all_pending(control.size, MESSAGE_GATHER))
        finish_gather();
    else if (m->kind == MESSAGE_REDUCE && all_pending(head_of(m)->group, MESSAGE_REDUCE))
        finish_reduce(head_of(m)->group);
    else
        release_reducers();
}

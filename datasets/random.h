/* Random numbers by counter: the k-th number of a stream is a hash of the stream's key and k, and a
 * key is a hash of what the stream is for (seed, task, length, sample). So a sample never depends on
 * how many others were made before it. The hash is the finaliser of splitmix64 (Steele, Lea and
 * Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). */
#ifndef DATASETS_RANDOM_H
#define DATASETS_RANDOM_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t key, counter;
} random_stream;

static inline uint64_t random_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* A stream of its own for every (seed, label, a, b). */
static inline random_stream random_stream_for(uint64_t seed, const char *label, uint64_t a,
                                              uint64_t b)
{
    uint64_t key = random_mix(seed + 0x9e3779b97f4a7c15u);
    for (; *label; label++)
        key = random_mix(key ^ (unsigned char)*label) + 0x9e3779b97f4a7c15u;
    key = random_mix(key ^ a) + 0x9e3779b97f4a7c15u;
    key = random_mix(key ^ b) + 0x9e3779b97f4a7c15u;
    return (random_stream){random_mix(key), 0};
}

static inline uint64_t random_next(random_stream *stream)
{
    return random_mix(stream->key + ++stream->counter * 0x9e3779b97f4a7c15u);
}

/* Uniform over 0 .. limit-1 (limit > 0), without bias: numbers below 2^64 mod limit are drawn
 * again, so that whole multiples of limit remain. */
static inline uint64_t random_below(random_stream *stream, uint64_t limit)
{
    uint64_t past = (UINT64_MAX - limit + 1) % limit; /* 2^64 mod limit */
    uint64_t x;
    do
        x = random_next(stream);
    while (x < past);
    return (x - past) % limit;
}

/* `count` distinct numbers of 0 .. limit-1 in random order; count <= limit, and count small. */
static inline void random_choose(random_stream *stream, uint64_t limit, int count,
                                 uint64_t *chosen)
{
    for (int i = 0; i < count; i++) {
        int seen;
        do {
            chosen[i] = random_below(stream, limit);
            seen = 0;
            for (int j = 0; j < i; j++)
                seen |= chosen[j] == chosen[i];
        } while (seen);
    }
}

/* Puts the items in a random order (Fisher and Yates): all orders are alike likely. */
static inline void random_shuffle(random_stream *stream, uint32_t *items, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = (size_t)random_below(stream, i);
        uint32_t item = items[i - 1];
        items[i - 1] = items[other];
        items[other] = item;
    }
}
#endif

/* The element-wise operations, on one row or range each. */

static void transpose(float *to, int64_t to_stride, const float *from, int64_t from_stride,
                      int64_t rows, int64_t columns, float scale)
{
    transpose_block(to, to_stride, from, from_stride, rows, columns, scale, 0);
}

static float dot(const float *a, const float *b, int count)
{
    vector sum = {0};
    int i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        sum += load(a + i) * load(b + i);
    float total = lane_sum(sum);
    for (; i < count; i++)
        total += a[i] * b[i];
    return total;
}

static void rmsnorm(float *out, const float *x, const float *weight, int count, float epsilon)
{
    vector sums[4] = {{0}, {0}, {0}, {0}};
    int i = 0;
    for (; i + 4 * WIDTH <= count; i += 4 * WIDTH)
        for (int j = 0; j < 4; j++) {
            vector part = load(x + i + j * WIDTH);
            sums[j] += part * part;
        }
    float squares = lane_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
    for (; i < count; i++)
        squares += x[i] * x[i];
    float scale = 1.0f / sqrtf(squares / (float)count + epsilon);
    for (i = 0; i < count; i++)
        out[i] = x[i] * scale * weight[i];
}

/* x * e^x / (1 + e^x). The exponent is cut off at 87.3, from where on the quotient is 1, and at
 * -88, where it is 0; it is reduced with ln 2 in two parts, of which the first has so few bits that
 * its products with n are exact. */
INLINE vector silu_lanes(vector x)
{
    vector exponent = larger(splat(-88.0f), -larger(splat(-87.3f), -x));
    vector shifted = exponent * 1.44269504088896341f + INTEGER_SHIFT;
    vector n = shifted - INTEGER_SHIFT;
    vector rest = (exponent - n * 0.693359375f) - n * -2.12194440e-4f;
    vector power = power_of_two(shifted, rest * 1.44269504088896341f);
    return x * (power / (1.0f + power));
}

static void silu(float *x, int64_t count)
{
    int64_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        store(x + i, silu_lanes(load(x + i)));
    if (i < count) {
        float rest[WIDTH] = {0};
        memcpy(rest, x + i, (size_t)(count - i) * sizeof *x);
        store(rest, silu_lanes(load(rest)));
        memcpy(x + i, rest, (size_t)(count - i) * sizeof *x);
    }
}

static void swiglu(float *out, const float *gate, const float *up, int64_t count)
{
    int64_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH)
        store(out + i, silu_lanes(load(gate + i)) * load(up + i));
    if (i < count) {
        float rest[WIDTH] = {0};
        memcpy(rest, gate + i, (size_t)(count - i) * sizeof *gate);
        store(rest, silu_lanes(load(rest)));
        for (int64_t j = i; j < count; j++)
            out[j] = rest[j - i] * up[j];
    }
}

static void rotate(float *out, const float *in, const float *table, int half)
{
    for (int i = 0; i < half; i++) {
        float lo = in[i], hi = in[i + half], cosine = table[2 * i], sine = table[2 * i + 1];
        out[i] = lo * cosine - hi * sine;
        out[i + half] = hi * cosine + lo * sine;
    }
}

static void widen_bf16(float *out, const char *in, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * i, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

/* Half precision by integer arithmetic: exponent and mantissa moved into float32's place are too
 * small by 2^112 (also where they are subnormal); infinities and NaN get the full exponent. */
static void widen_f16(float *out, const char *in, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * i, sizeof half);
        uint32_t magnitude = half & 0x7fffu;
        uint32_t moved = magnitude << 13;
        float value;
        memcpy(&value, &moved, sizeof value);
        value *= 0x1p112f;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        bits = magnitude >= 0x7c00u ? moved | 0x7f800000u : bits;
        bits |= (uint32_t)(half & 0x8000u) << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

static void random_lanes(float *out, int64_t first, int64_t count, uint64_t seed, float bound)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = hash_uniform(seed, (uint64_t)(first + i), bound);
}

static void blend(float *out, float b, const float *x, float a, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = a * x[i] + b * out[i];
}

static float largest(const float *x, int64_t count)
{
    vector best[4];
    for (int j = 0; j < 4; j++)
        best[j] = splat(-INFINITY);
    int64_t i = 0;
    for (; i + 4 * WIDTH <= count; i += 4 * WIDTH)
        for (int j = 0; j < 4; j++)
            best[j] = larger(load(x + i + j * WIDTH), best[j]);
    best[0] = larger(larger(best[0], best[1]), larger(best[2], best[3]));
    float top = -INFINITY;
    for (int j = 0; j < WIDTH; j++)
        top = best[0][j] > top ? best[0][j] : top;
    for (; i < count; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

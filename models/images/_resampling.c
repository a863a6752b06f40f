/* Resizes RGB images: exactly the pixels of Pillow's bilinear resize, in AVX2.
 *
 * The arithmetic has to be Pillow's (its Resample.c): triangle weights as wide as the
 * reduction, rounded to 22 bits; along rows and along columns, in the order that is
 * asked for; each result rounded to 8 bits. Within a pass the order of sums is free,
 * because they are of whole numbers.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PRECISION 22 /* bits of a weight */
#define HALF (1 << (PRECISION - 1))
#define IN_BYTES 4 /* Pillow keeps R, G, B and an unused byte */
#define OUT_BYTES 3
#define LANES 16 /* bytes of a row that are mixed at a time */
#define LEAST_WIDTH (LANES / IN_BYTES)
#define AVX2 __attribute__((target("avx2")))

/* The Arrow C data interface (arrow.apache.org/docs/format/CDataInterface.html). */
struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

/* For each output position: from which input on how many count, and how much. */
typedef struct {
    int inputs, outputs, taps;
    float start; /* of the part that is resized, in inputs */
    int *first, *count;
    int32_t *weights; /* [outputs * taps] */
} Filter;

static void
free_filter(Filter *filter)
{
    free(filter->first);
    free(filter->count);
    free(filter->weights);
}

static void
weigh(Filter *filter, int output, double scale, double *share)
{
    double reach = scale < 1.0 ? 1.0 : scale; /* to enlarge, neighbours suffice */
    double centre = filter->start + (output + 0.5) * scale, total = 0.0;
    int first = (int)(centre - reach + 0.5), end = (int)(centre + reach + 0.5);
    first = first < 0 ? 0 : first;
    end = end > filter->inputs ? filter->inputs : end;
    for (int tap = 0; tap < end - first; tap++) {
        double distance = fabs((tap + first - centre + 0.5) * (1.0 / reach));
        share[tap] = distance < 1.0 ? 1.0 - distance : 0.0;
        total += share[tap];
    }
    filter->first[output] = first;
    filter->count[output] = end - first;
    int32_t *weights = filter->weights + (size_t)output * filter->taps;
    for (int tap = 0; tap < end - first; tap++)
        weights[tap] = (int32_t)(0.5 + share[tap] / total * (1 << PRECISION));
}

/* 0, or -1 where there is no memory. */
static int
make_filter(Filter *filter, int inputs, int outputs, float start, float end)
{
    double scale = (double)(end - start) / outputs;
    filter->inputs = inputs;
    filter->outputs = outputs;
    filter->start = start;
    filter->taps = (int)ceil(scale < 1.0 ? 1.0 : scale) * 2 + 1;
    filter->first = malloc(outputs * sizeof(int));
    filter->count = malloc(outputs * sizeof(int));
    filter->weights = malloc((size_t)outputs * filter->taps * sizeof(int32_t));
    double *share = malloc(filter->taps * sizeof(double));
    int enough = filter->first && filter->count && filter->weights && share;
    for (int output = 0; enough && output < outputs; output++)
        weigh(filter, output, scale, share);
    free(share);
    return enough ? 0 : -1;
}

AVX2 static inline __m256i
weighted(__m256i sums, __m128i bytes, int32_t weight)
{
    __m256i values = _mm256_cvtepu8_epi32(bytes);
    values = _mm256_mullo_epi32(values, _mm256_set1_epi32(weight));
    return _mm256_add_epi32(sums, values);
}

/* Sums to bytes; weights may add up to a little above one, so 255 is the most. */
AVX2 static inline __m128i
rounded(__m256i sums)
{
    __m256i values = _mm256_srai_epi32(sums, PRECISION);
    __m128i low = _mm256_castsi256_si128(values);
    __m128i words = _mm_packus_epi32(low, _mm256_extracti128_si256(values, 1));
    return _mm_packus_epi16(words, words);
}

static inline int32_t
load_pixel(const uint8_t *from)
{
    int32_t pixel;
    memcpy(&pixel, from, IN_BYTES);
    return pixel;
}

/* Two rows side by side: the same weights count for both. */
AVX2 static void
narrow_two(const uint8_t *const rows[2], uint8_t *const out[2], const Filter *across)
{
    for (int x = 0; x < across->outputs; x++) {
        const int32_t *weights = across->weights + (size_t)x * across->taps;
        size_t at = (size_t)across->first[x] * IN_BYTES, to = (size_t)x * IN_BYTES;
        __m256i sums = _mm256_set1_epi32(HALF);
        for (int tap = 0; tap < across->count[x]; tap++, at += IN_BYTES) {
            __m128i pixel = _mm_cvtsi32_si128(load_pixel(rows[0] + at));
            pixel = _mm_insert_epi32(pixel, load_pixel(rows[1] + at), 1);
            sums = weighted(sums, pixel, weights[tap]);
        }
        int64_t pixels = _mm_cvtsi128_si64(rounded(sums));
        memcpy(out[0] + to, &pixels, IN_BYTES);
        memcpy(out[1] + to, (uint8_t *)&pixels + IN_BYTES, IN_BYTES);
    }
}

/* One row out of `count` rows of `bytes` bytes, at least LANES. */
AVX2 static void
mix(const uint8_t *rows, size_t bytes, uint8_t *out, const int32_t *weights, int count)
{
    for (size_t start = 0; start < bytes; start += LANES) {
        /* The last ones end with the row, and some of them are mixed twice. */
        size_t at = start + LANES > bytes ? bytes - LANES : start;
        __m256i low = _mm256_set1_epi32(HALF), high = low;
        for (int tap = 0; tap < count; tap++) {
            const uint8_t *from = rows + tap * bytes + at;
            __m128i values = _mm_loadu_si128((const __m128i *)from);
            low = weighted(low, values, weights[tap]);
            high = weighted(high, _mm_srli_si128(values, LANES / 2), weights[tap]);
        }
        __m128i mixed = _mm_unpacklo_epi64(rounded(low), rounded(high));
        _mm_storeu_si128((__m128i *)(out + at), mixed);
    }
}

static void
narrow_rows(const uint8_t *pixels, int height, uint8_t *out, const Filter *across)
{
    size_t bytes = (size_t)across->inputs * IN_BYTES;
    size_t out_bytes = (size_t)across->outputs * IN_BYTES;
    for (int y = 0; y < height; y += 2) {
        int other = y + 1 < height ? y + 1 : y;
        const uint8_t *rows[] = {pixels + y * bytes, pixels + other * bytes};
        uint8_t *narrow[] = {out + y * out_bytes, out + other * out_bytes};
        narrow_two(rows, narrow, across);
    }
}

static void
mix_rows(const uint8_t *pixels, int width, uint8_t *out, const Filter *down)
{
    size_t bytes = (size_t)width * IN_BYTES;
    for (int y = 0; y < down->outputs; y++)
        mix(pixels + down->first[y] * bytes, bytes, out + y * bytes,
            down->weights + (size_t)y * down->taps, down->count[y]);
}

/* 0, or -1 where there is no memory. */
static int
resize(const uint8_t *pixels, const Filter *across, const Filter *down,
       int columns_first, uint8_t *out)
{
    size_t pixel_count = (size_t)across->outputs * down->outputs;
    size_t half_done = columns_first ? (size_t)across->inputs * down->outputs
                                     : (size_t)across->outputs * down->inputs;
    uint8_t *between = malloc((half_done + pixel_count) * IN_BYTES);
    if (between == NULL)
        return -1;
    uint8_t *resized = between + half_done * IN_BYTES;
    if (columns_first) {
        mix_rows(pixels, across->inputs, between, down);
        narrow_rows(between, down->outputs, resized, across);
    } else {
        narrow_rows(pixels, down->inputs, between, across);
        mix_rows(between, across->outputs, resized, down);
    }
    for (size_t pixel = 0; pixel < pixel_count; pixel++)
        memcpy(out + pixel * OUT_BYTES, resized + pixel * IN_BYTES, OUT_BYTES);
    free(between);
    return 0;
}

static int
is_within(float start, float end, int inputs)
{
    return 0.0f <= start && start < end && end <= (float)inputs;
}

static int
fill(const struct ArrowArray *array, const int size[2], const float box[4],
     const int out_size[2], int columns_first, uint8_t *out)
{
    int failed;
    Filter across = {0}, down = {0};
    Py_BEGIN_ALLOW_THREADS
    failed = make_filter(&across, size[0], out_size[0], box[0], box[2]) ||
             make_filter(&down, size[1], out_size[1], box[1], box[3]) ||
             resize(array->children[0]->buffers[1], &across, &down, columns_first, out);
    free_filter(&across);
    free_filter(&down);
    Py_END_ALLOW_THREADS
    return failed;
}

static PyObject *
resize_rgb(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *answer = NULL;
    Py_buffer out;
    int size[2], out_size[2], columns_first;
    float box[4]; /* left, top, right and bottom */
    if (!PyArg_ParseTuple(arguments, "O(ii)(ffff)w*(ii)p", &capsule, &size[0], &size[1],
                          &box[0], &box[1], &box[2], &box[3], &out, &out_size[0],
                          &out_size[1], &columns_first))
        return NULL;
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, "arrow_array");
    if (array == NULL)
        goto done;
    if (size[0] < LEAST_WIDTH || size[1] < 1 || out_size[0] < LEAST_WIDTH ||
        out_size[1] < 1 || array->offset != 0 || array->n_children != 1 ||
        array->length != (int64_t)size[0] * size[1] ||
        array->children[0]->length != array->length * IN_BYTES ||
        array->children[0]->offset != 0 || array->children[0]->n_buffers != 2 ||
        !is_within(box[0], box[2], size[0]) || !is_within(box[1], box[3], size[1]) ||
        out.len != (Py_ssize_t)out_size[0] * out_size[1] * OUT_BYTES)
        PyErr_SetString(PyExc_ValueError, "the pixels do not fit the sizes");
    else if (fill(array, size, box, out_size, columns_first, out.buf))
        PyErr_NoMemory();
    else
        answer = Py_NewRef(Py_None);
done:
    PyBuffer_Release(&out);
    return answer;
}

static PyMethodDef methods[] = {
    {"resize_rgb", resize_rgb, METH_VARARGS,
     "resize_rgb(pixels, (width, height), box, out, (width, height), columns_first)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_resampling", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__resampling(void)
{
    if (!__builtin_cpu_supports("avx2")) {
        PyErr_SetString(PyExc_ImportError, "this processor lacks AVX2");
        return NULL;
    }
    return PyModule_Create(&definition);
}

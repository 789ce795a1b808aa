/* Sizes as flags take them: what is one, what it is worth, and how it is written. */
#include "harness/error.h"
#include "harness/options.h"

#include <criterion/criterion.h>

Test(options, sizes_read_and_written)
{
    static const struct {
        const char *text;
        int64_t value;
        const char *written;
    } sizes[] = {
        {"0", 0, "0"},
        {"1023", 1023, "1023"},
        {"32K", 32768, "32K"},
        {"32k", 32768, "32K"},
        {"2048", 2048, "2K"},
        {"1024K", 1 << 20, "1M"},
        {"3m", 3 << 20, "3M"},
        {"1025M", 1025ll << 20, "1025M"},
        {"1024M", 1 << 30, "1G"},
        {"1G", 1 << 30, "1G"},
        {"7g", 7ll << 30, "7G"},
        {"8589934591G", 8589934591ll << 30, "8589934591G"},
        {"9223372036854775807", INT64_MAX, "9223372036854775807"},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t value = -1;
        char written[32];
        cr_assert_eq(parse_size(sizes[i].text, &value), 0, "%s", fail_text());
        cr_expect_eq(value, sizes[i].value, "%s is %lld", sizes[i].text, (long long)value);
        cr_expect_str_eq(format_size(value, written, sizeof written), sizes[i].written);
    }
}

Test(options, what_is_no_size_is_refused)
{
    static const char *const wrong[] = {
        "", "K", "G", "-1", "+1", " 1", "1 ", "1T", "1GB", "1KM", "1.5G", "0x10", "1e3",
        "9223372036854775808", "9007199254740992K", "8796093022208M", "8589934592G",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int64_t value = 7;
        cr_expect_eq(parse_size(wrong[i], &value), -1, "'%s' was taken", wrong[i]);
        cr_expect_eq(value, 7);
        cr_expect(strstr(fail_text(), "is not a size: a whole number of at least 0, with K, M or G"), "%s",
                  fail_text());
    }
}

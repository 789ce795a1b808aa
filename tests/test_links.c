/* Link models: as text and back, faulty text, and those fitted to measured times. */
#include "harness/comm/link.h"
#include "harness/error.h"
#include "harness/machine/links.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Test(links, presets_and_text)
{
    link_model link;
    for (int i = 0; i < link_count; i++) {
        cr_assert_eq(link_find(link_table[i].name, &link), 0);
        cr_assert_str_eq(link.name, link_table[i].name);
        cr_assert(link.bandwidth > 0 && link.latency > 0 && link.source[0] && link.title[0]);
    }
    cr_assert_eq(link_find("custom:latency=5us:bandwidth=50G:hosts_per_node=8:node_latency=8e-6:"
                           "node_bandwidth=25.5G", &link), 0, "%s", fail_text());
    cr_assert_float_eq(link.latency, 5e-6, 1e-18);
    cr_assert_float_eq(link.bandwidth, 50e9, 1);
    cr_assert_eq(link.hosts_per_node, 8);
    cr_assert_float_eq(link.node_latency, 8e-6, 1e-18);
    cr_assert_float_eq(link.node_bandwidth, 25.5e9, 1);
    cr_assert_eq(link_find("custom:latency=5us:bandwidth=50G:hosts_per_node=1048576:node_latency=5us:"
                           "node_bandwidth=50G", &link), 0, "%s", fail_text());
    cr_assert_eq(link.hosts_per_node, 1 << 20);
    cr_assert_eq(link_find("nvlink4:latency=0", &link), 0);
    cr_assert_eq(link.latency, 0);
    cr_assert_float_eq(link.bandwidth, 370e9, 1);
    cr_assert_eq(link_find("nvlink4:slowdown=1.25", &link), 0, "%s", fail_text());
    cr_assert_eq(link.slowdown, 1.25);
    cr_assert_eq(link.collectives, 0, "as bandwidth");
    cr_assert_eq(link_find("nvlink4:collectives=280.5G", &link), 0, "%s", fail_text());
    cr_assert_float_eq(link.collectives, 280.5e9, 1);
    cr_assert_float_eq(link.bandwidth, 370e9, 1);
}

/* Four digits of each quantity are kept. */
Test(links, written_and_read)
{
    static const link_model links[] = {
        {.latency = 0, .bandwidth = 1.5e6},
        {.latency = 3.4e-6, .bandwidth = 370e9},
        {.latency = 0.0123456, .bandwidth = 98.7654e12},
        {.latency = 3.4e-6, .bandwidth = 370e9, .slowdown = 1.0375},
        {.latency = 3.4e-6, .bandwidth = 82.25e9, .collectives = 242.5e9},
        {.latency = 1.234e-17, .bandwidth = 1.234e-7, .collectives = 1.234e+21, .slowdown = 1.234e9},
    };
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        char text[LINK_TEXT];
        link_model read;
        cr_assert_eq(link_find(link_write(&links[i], text, sizeof text), &read), 0, "%s", fail_text());
        cr_expect_float_eq(read.latency, links[i].latency, 1e-3 * links[i].latency + 1e-15, "%s", text);
        cr_expect_float_eq(read.bandwidth, links[i].bandwidth, 1e-3 * links[i].bandwidth, "%s", text);
        cr_expect_float_eq(read.collectives, links[i].collectives, 1e-3 * links[i].collectives, "%s", text);
        cr_expect_float_eq(read.slowdown, links[i].slowdown, 1e-3 * links[i].slowdown, "%s", text);
    }
}

Test(links, fitted_to_times)
{
    enum { SIZES = 10 };
    link_point points[SIZES];
    double worst;
    link_model link;
    for (int i = 0; i < SIZES; i++) { /* 1 KB to 256 MB, of a link exactly */
        double bytes = 1024 * pow(4, i);
        points[i] = (link_point){false, 1, bytes, 14e-6 + bytes / 48e9};
    }
    cr_assert_eq(links_fit(points, SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect_float_eq(link.latency, 14e-6, 1e-12);
    cr_expect_float_eq(link.bandwidth, 48e9, 1e4);
    cr_expect_eq(link.collectives, 0);
    cr_expect(worst < 1e-9, "%g", worst);
    /* Times that are off by 10 % either way move neither figure by more than that. */
    for (int i = 0; i < SIZES; i++)
        points[i].seconds *= i % 2 ? 1.1 : 0.9;
    cr_assert_eq(links_fit(points, SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect_float_eq(link.latency, 14e-6, 1.4e-6, "%g", link.latency);
    cr_expect_float_eq(link.bandwidth, 48e9, 4.8e9, "%g", link.bandwidth);
    cr_expect(worst > 0.08 && worst < 0.25, "%g", worst);
    /* Faster than in proportion: no latency, not one below 0. */
    for (int i = 0; i < SIZES; i++)
        points[i].seconds = pow(points[i].bytes, 1.1) * 1e-10;
    cr_assert_eq(links_fit(points, SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect_eq(link.latency, 0);
    cr_expect(link.bandwidth > 0 && isfinite(link.bandwidth));
    for (int i = 0; i < SIZES; i++)
        points[i].seconds = 1 / points[i].bytes;
    cr_expect_eq(links_fit(points, SIZES, &link, &worst), -1);
    cr_expect(strstr(fail_text(), "times do not grow with bytes"), "%s", fail_text());
    cr_expect_eq(links_fit(points, 1, &link, &worst), -1, "one size tells nothing");
    cr_expect(strstr(fail_text(), "one size"), "%s", fail_text());
    points[1] = points[0];
    cr_expect_eq(links_fit(points, 2, &link, &worst), -1, "nor does one twice");
    cr_expect_eq(links_distances(1), 0);
    cr_expect_eq(links_distances(2), 1);
    cr_expect_eq(links_distances(5), 3);
    cr_expect_eq(links_distances(8), 3);
}

/* On 8 hosts of a link whose collectives are faster: an all_gather's 7 steps and an all_to_all's rounds, as
 * the clock charges them, have one bandwidth, messages the other, and all one latency. */
Test(links, fitted_to_messages_and_collectives)
{
    enum { SIZES = 5 };
    link_point points[3 * SIZES];
    double worst;
    link_model link;
    for (int i = 0; i < SIZES; i++) {
        double bytes = 1024 * pow(16, i);
        points[i] = (link_point){false, 1, bytes, 14e-6 + bytes / 48e9};
        points[SIZES + i] = (link_point){true, 7, 7 * bytes, 7 * (14e-6 + bytes / 120e9)};
        points[2 * SIZES + i] = (link_point){true, 1, 7 * bytes, 14e-6 + 7 * bytes / 120e9};
    }
    cr_assert_eq(links_fit(points, 3 * SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect_float_eq(link.latency, 14e-6, 1e-12);
    cr_expect_float_eq(link.bandwidth, 48e9, 1e4);
    cr_expect_float_eq(link.collectives, 120e9, 1e4);
    cr_expect(worst < 1e-9, "%g", worst);
    /* Without messages the one bandwidth is that of the collectives. */
    cr_assert_eq(links_fit(points + SIZES, 2 * SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect_float_eq(link.bandwidth, 120e9, 1e4);
    cr_expect_eq(link.collectives, 0);
    /* Collectives of one duration whatever their size: the misfit shows. */
    for (int i = SIZES; i < 3 * SIZES; i++)
        points[i].seconds = 1e-3;
    cr_assert_eq(links_fit(points, 3 * SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect(worst > 0.5, "%g", worst);
}

Test(links, faulty_text)
{
    static const struct {
        const char *text, *sentence;
    } faulty[] = {
        {"", "is no link; known are"},
        {"nvlink", "is no link; known are"},
        {"custom", "bandwidth is missing"},
        {"custom:", "'' is not of the form key=value"},
        {"custom:bandwidth", "'bandwidth' is not of the form"},
        {"nvlink4:slowdown=0.9", "slowdown=0.9 is not a number of at least 1"},
        {"nvlink4:slowdown=5%", "slowdown=5% is not a number of at least 1"},
        {"nvlink4:slowdown=inf", "slowdown=inf is not a number of at least 1"},
        {"custom:collectives=5G", "bandwidth is missing"},
        {"custom:bandwidth=5G:collectives=", "collectives= is not a positive number"},
        {"custom:bandwidth=5G:collectives=0", "collectives=0 is not a positive number"},
        {"custom:bandwidth=5G:collectives=-1G", "collectives=-1G is not a positive number"},
        {"custom:bandwidth=5G:collectives=inf", "collectives=inf is not a positive number"},
        {"custom:bandwidth=5G:collectives=5s", "units are K, M, G, T"},
        {"custom:bandwidth=5G:collective=5G", "there is no 'collective'; keys are latency, bandwidth, "
                                              "collectives"},
        {"custom:bandwidth=0", "bandwidth=0 is not a positive number"},
        {"custom:bandwidth=-5G", "bandwidth=-5G is not a positive number"},
        {"custom:bandwidth=nan", "bandwidth=nan is not a positive number"},
        {"custom:bandwidth=1e999", "is not a positive number"},
        {"custom:bandwidth=5Gb", "units are K, M, G, T"},
        {"custom:bandwidth=G", "bandwidth=G is not"},
        {"custom:bandwidth=5G:latency=3m", "latency=3m is not a number of at least 0; units are s, "
                                           "ms, us, ns"},
        {"custom:bandwidth=5G:speed=3", "there is no 'speed'; keys are"},
        {"custom:bandwidth=5G:hosts_per_node=1.5", "hosts_per_node=1.5 is not a number of hosts"},
        {"custom:bandwidth=5G:hosts_per_node=2", "node_bandwidth is missing"},
        {"custom:latency=5us:bandwidth=5G:hosts_per_node=2:node_bandwidth=1G", "node_latency is missing"},
        {"custom:bandwidth=5G:hosts_per_node=99999999999", "is not a number of hosts"},
    };
    for (size_t i = 0; i < sizeof faulty / sizeof *faulty; i++) {
        link_model link;
        cr_expect_eq(link_find(faulty[i].text, &link), -1, "%s", faulty[i].text);
        cr_expect(strstr(fail_text(), faulty[i].sentence), "%s", fail_text());
    }
}

# How many times faster than FlashAttn on one host, by hosts; both axes logarithmic. See style.gp
# for the variables; lengths and names hold the numbers of hosts here.
load scripts . '/style.gp'
set logscale xy 2
set xlabel 'hosts' offset 0, 0.4
set ylabel 'prefill: times faster than FlashAttn on one host'
set xtics ()
do for [i = 1:words(lengths)] {
    set xtics add (word(names, i) real(word(lengths, i)))
}
set xrange [real(word(lengths, 1)) / 1.15 : real(word(lengths, words(lengths))) * 1.15]
set autoscale yfix
set offsets graph 0, graph 0, graph 0.06, graph 0.06
plot for [i = 0:series - 1] data index i using 1:2 with linespoints \
     linestyle style_of(i) title columnheader(1)

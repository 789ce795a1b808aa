# How many times faster than FlashAttn on one host, by hosts. See style.gp for the variables; lengths
# and names hold the numbers of hosts here.
load scripts . '/style.gp'
set logscale x 2
set xlabel 'hosts'
set ylabel 'prefill: times faster than FlashAttn on one host'
set xtics ()
do for [i = 1:words(lengths)] {
    set xtics add (word(names, i) real(word(lengths, i)))
}
set xrange [real(word(lengths, 1)) / 1.15 : real(word(lengths, words(lengths))) * 1.15]
set yrange [0 : *]
plot for [i = 0:series - 1] data index i using 1:2 with linespoints linestyle style_of(i) title columnheader(1)

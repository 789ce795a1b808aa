# How many times faster than FlashAttn on one host, by length. See style.gp for the variables.
load scripts . '/style.gp'
load scripts . '/length.gp'
set ylabel 'prefill: times faster than FlashAttn on one host'
set yrange [0 : *]
plot for [i = 0:series - 1] data index i using 1:2 with linespoints \
     linestyle style_of(i) title columnheader(1)

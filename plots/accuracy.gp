# Score by length, mean over the tasks. See style.gp for the variables.
load scripts . '/style.gp'
load scripts . '/length.gp'
set ylabel 'score, mean over tasks'
set yrange [0 : *]
plot for [i = 0:series - 1] data index i using 1:2 with linespoints \
     linestyle style_of(i) title columnheader(1)

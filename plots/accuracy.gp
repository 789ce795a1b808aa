# Score by length, mean over the tasks, with 95 % intervals. See style.gp for the variables. A line of
# data has: length, mean, low, high. Series stand a little apart, so that their intervals can be told.
load scripts . '/style.gp'
load scripts . '/length.gp'
set xlabel 'prompt and answer, tokens' offset 0, 0.4
set ylabel 'score, mean over tasks, with 95 % interval'
set yrange [0 : *]
apart(x, i) = x * 1.012 ** (i - (series - 1) / 2.0)
plot for [i = 0:series - 1] data index i using (apart($1, i)):2:3:4 with yerrorbars \
         linecolor rgb colour[style_of(i)] linewidth 1.2 dashtype 1 pointtype 0 notitle, \
     for [i = 0:series - 1] data index i using (apart($1, i)):2 with linespoints \
         linestyle style_of(i) title columnheader(1)

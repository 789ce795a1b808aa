# Prefill seconds by length, both axes logarithmic. See style.gp for the variables.
load scripts . '/style.gp'
load scripts . '/length.gp'
set logscale y
set ylabel 'prefill, seconds'
set ytics ()
do for [e = -4:6] {
    do for [m in '1 2 5'] {
        set ytics add (sprintf('%g', m * 10.0 ** e) m * 10.0 ** e)
    }
}
set autoscale yfix
set offsets graph 0, graph 0, graph 0.06, graph 0.06
plot for [i = 0:series - 1] data index i using 1:2 with linespoints \
     linestyle style_of(i) title columnheader(1)

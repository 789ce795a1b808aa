# Prefill seconds by length, both axes logarithmic. See style.gp for the variables.
load scripts . '/style.gp'
stats data using 2 name 'seconds' nooutput
load scripts . '/length.gp'
set logscale y
set ylabel 'prefill, seconds'
set ytics ()
set autoscale yfix
set offsets graph 0, graph 0, graph 0.06, graph 0.06
inside = 0
below = seconds_min
above = seconds_max
do for [e = -4:6] {
    do for [m in '1 2 5'] {
        mark = m * 10.0 ** e
        set ytics add (sprintf('%g', mark) mark)
        if (mark < seconds_min) {
            below = mark
        } else { if (mark <= seconds_max) {
            inside = inside + 1
        } else { if (above == seconds_max) {
            above = mark
        } } }
    }
}
# Points that lie between two marks would have none beside them: then the axis goes on to the next ones.
if (inside < 2) {
    set yrange [below : above]
}
plot for [i = 0:series - 1] data index i using 1:2 with linespoints \
     linestyle style_of(i) title columnheader(1)

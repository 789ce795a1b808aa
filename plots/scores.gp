# Scores at one length as bars, with 95 % intervals; beside each the score and how far it is from
# FlashAttn on the same samples. See style.gp for the variables; the data has one line a bar: label,
# mean, low, high, style, remark. `reference` is FlashAttn's score (-1: none), `top` the highest end of
# an interval, `bars` how many there are.
load scripts . '/style.gp'
unset key
unset title
set label 1 heading at screen 0.5, 0.95 center font heading_font
stats data using (strlen(stringcolumn(1))) name 'names' nooutput
names_font = fitting(small_size, names_max, 43)
set lmargin at screen 0.40
set rmargin at screen 0.77
set tmargin at screen 0.86
set bmargin at screen 0.13
set xlabel 'score, mean over tasks, with 95 % interval' offset 0, 0.4
set label 2 "score   less FlashAttn on\n             the same samples" at graph 1.02, screen 0.90 left font small
set xrange [0 : top * 1.03]
set yrange [bars - 0.4 : -0.6]
set y2range [bars - 0.4 : -0.6]
set ytics nomirror scale 0 font names_font
set y2tics nomirror scale 0 font small
set xtics auto
unset grid
if (reference >= 0) set arrow 1 from reference, graph 0 to reference, graph 1 nohead \
    linecolor rgb '#000000' linewidth 1 dashtype 2
shade(i) = int(real('0x' . substr(colour[int(i)], 2, 7)))
set style fill solid 0.45 border linecolor rgb '#333333'
plot data using 2:0:(0):2:($0 - 0.34):($0 + 0.34):(shade(column(5))):ytic(1):y2tic(6) \
         with boxxyerror linecolor rgb variable, \
     data using 2:0:3:4 with xerrorbars linecolor rgb '#000000' linewidth 1.3 pointtype 7 pointsize 0.6

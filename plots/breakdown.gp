# Milliseconds a layer by part, as stacked bars that lie: long names stand whole beside them. See
# style.gp for the variables; the data has one line a bar: its name, then the parts, then their sum.
# The axis ends at `top`: a bar longer than that is cut, and its sum written at the cut.
load scripts . '/style.gp'
stats data using (strlen(stringcolumn(1))) name 'names' nooutput
names_font = fitting(small_size, names_max, 48)
unset title
set label 1 heading at screen 0.5, 0.95 center font heading_font
set lmargin at screen 0.04 + 0.0087 * (names_max < 48 ? names_max : 48)
set rmargin at screen 0.92
set tmargin at screen 0.80
set bmargin at screen 0.12
set key at screen 0.5, 0.81 center bottom horizontal maxcols 7 samplen 2 font small
set xlabel 'milliseconds a layer'
set xrange [0 : top]
set yrange [names_records - 1.4 : -0.6] # its first line has the names of the parts
set ytics nomirror scale 0 font names_font
set grid x noy
array shade[7] = ['#56b4e9', '#000000', '#d55e00', '#0072b2', '#e69f00', '#bbbbbb', '#ffffff']
array fills[7] = [2, 3, 1, 3, 4, 3, 5]
before(i) = i < 3 ? 0 : sum [k = 2 : i - 1] column(k)
at_most(x) = x < top ? x : top
sum_text(x) = sprintf(x < 100 ? '%.3g' : '%.0f', x) . (x < top ? '' : ', cut')
plot for [i = 2:8] data using (before(i)):0:(at_most(before(i))):(at_most(before(i) + column(i))): \
         ($0 - 0.35):($0 + 0.35):ytic(1) with boxxyerror title columnheader(i) \
         linecolor rgb shade[i - 1] fillstyle pattern fills[i - 1] border linecolor rgb '#000000', \
     data using (at_most(column(9))):($0 - 1):(sum_text(column(9))) \
         with labels left offset 0.4, 0 font small notitle

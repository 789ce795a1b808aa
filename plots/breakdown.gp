# Milliseconds a layer by part, as stacked bars. See style.gp for the variables; the data has one
# line a bar: its name, then the parts, then their sum. The axis ends at `top`: a bar higher than
# that is cut, and its sum written at the cut.
load scripts . '/style.gp'
set style data histograms
set style histogram rowstacked
set boxwidth 0.7
set key outside right top vertical Left reverse invert maxcols 1
set ylabel 'milliseconds a layer'
set xtics rotate by -30 scale 0
array shade[7] = ['#56b4e9', '#000000', '#d55e00', '#0072b2', '#e69f00', '#bbbbbb', '#ffffff']
array fills[7] = [2, 3, 1, 3, 4, 3, 5]
set yrange [0 : top]
sum_text(x) = sprintf(x < 100 ? '%.3g' : '%.0f', x) . (x < top ? '' : ', cut')
plot for [i = 2:8] data using i:xtic(1) title columnheader(i) \
         linecolor rgb shade[i - 1] fillstyle pattern fills[i - 1] border linecolor rgb '#000000', \
     data using ($0 - 1):(column(9) < top ? column(9) : top):(sum_text(column(9))) \
         with labels offset 0,0.6 notitle
